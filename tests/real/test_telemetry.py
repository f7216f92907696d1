"""`[telemetry]`: a trace that OpenTelemetry's SDK began goes on through the gateway, and MLflow's server, as the collector, has it."""

import json
import os
import sqlite3

import pytest

from processes import ROOT, Process, eventually, python

CONFIG = """
[admin]
address = "127.0.0.1:0"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
[telemetry]
otlp = "${{env:COLLECTOR}}"
sample = 0.0
headers = {{ x-mlflow-experiment-id = "0" }}
[upstreams.echo]
urls = ["{upstream}"]
[[routes]]
name = "echo"
paths = ["/*"]
upstream = "echo"
auth = "none"
"""


@pytest.fixture(scope="module")
def collector(start, port, tmp_path_factory):
    """Where it listens, and the spans that it stored."""
    folder = tmp_path_factory.mktemp("collector")
    command = [python("mlflow"), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", "sqlite:///store.db", "--artifacts-destination", str(folder / "artifacts")]
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
    start(*command, *stores, cwd=folder, env=env).says("Uvicorn running on|startup complete")

    def spans(trace):
        query = "select span_id, parent_span_id, name from spans where trace_id = ?"
        with sqlite3.connect(folder / "store.db", timeout=60) as store:
            return store.execute(query, [f"tr-{trace}"]).fetchall()

    return f"http://127.0.0.1:{port}", spans


def test_a_collector_of_others_has_the_span_between_client_and_upstream(start, serve, collector, tmp_path):
    url, spans = collector
    echo = serve("echo.py")
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG.format(upstream=echo.url))
    gateway = start(os.environ["GATEWAY_BINARY"], "--config", config, "run", env={"COLLECTOR": url})
    address = gateway.says(r'"message":"listening".*"address":"([^"]+)"')[1]
    with Process([python("mlflow"), ROOT / "tests/real/clients/traced.py", f"http://{address}/a?query=1"]) as client:
        said = json.loads(client.says(r"^(\{.*\})$")[1])
    stored = eventually("the span is stored", lambda: spans(said["trace"]) or None)
    ((span, parent, name),) = stored
    assert (parent, name) == (said["span"], "GET echo")
    # The upstream was told of the same trace, within that span.
    assert f"00-{said['trace']}-{span}-" in said["body"]
