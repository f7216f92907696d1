"""A training script as its author writes it, who knows of MLflow only: run, metrics, artifacts, model, registry."""

import json
import sys
from pathlib import Path

import mlflow
from mlflow import MlflowClient


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[float]) -> list[float]:
        return [2 * number for number in model_input]


experiment, folder = sys.argv[1], Path(sys.argv[2])
model_name = f"{experiment}-doubler"

mlflow.set_experiment(experiment)
with mlflow.start_run(run_name="first try") as run:
    mlflow.log_params({"learning_rate": 0.1, "layers": 3})
    for step in range(20):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    notes = folder / "notes on äpfel & 100%.txt"
    notes.write_text("grew well\n")
    mlflow.log_artifact(str(notes), "notes/first week")
    mlflow.pyfunc.log_model(
        name="doubler", python_model=Doubler(), pip_requirements=[], registered_model_name=model_name
    )

client = MlflowClient()
client.set_registered_model_alias(model_name, "champion", 1)
client.update_model_version(model_name, 1, description="doubles")
model = mlflow.pyfunc.load_model(f"models:/{model_name}@champion")
there = [item.path for item in client.list_artifacts(run.info.run_id, "notes/first week")]
print(
    json.dumps(
        {
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "losses": len(client.get_metric_history(run.info.run_id, "loss")),
            "artifacts": there,
            "notes": Path(client.download_artifacts(run.info.run_id, there[0])).read_text(),
            "predicted": model.predict([1.0, 2.5]),
            "versions": [version.version for version in client.search_model_versions(f"name='{model_name}'")],
            "found": len(client.search_runs([run.info.experiment_id], "metrics.loss < 0.1")),
        }
    )
)
