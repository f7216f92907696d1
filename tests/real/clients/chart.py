"""Lints and renders a Helm chart with the values that it is given as JSON, and says what came out, and what Kubernetes' schemas say of it."""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

# The oldest that the chart says it is for, and the newest whose schemas there are.
KUBERNETES = ["1.25", "1.37"]

# Of the Prometheus operator, which brings the schema with it.
FOREIGN = {"ServiceMonitor"}

chart_folder, values = sys.argv[1], json.loads(sys.argv[2])
# 1 is for advice.
linted = helm_python.lint(chart_folder, values)
wrong = linted["errors"] + [message for message in linted["messages"] if message["severity"] > 1]
with helm_python.Chart.load(chart_folder) as chart:
    files = chart.render(values, name="demo", namespace="prod")
objects = [found for text in files.values() for found in yaml.safe_load_all(text) if found]
for found in objects:
    for version in KUBERNETES if found["kind"] not in FOREIGN else []:
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{found['kind']} in Kubernetes {version}: {error}")
print(json.dumps({"wrong": wrong, "objects": objects}))
