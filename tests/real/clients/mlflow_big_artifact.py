"""Uploads a file of so many MiB as an artifact, downloads it, and says whether it came back as it was."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import mlflow
from mlflow import MlflowClient


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


size_mib, folder = int(sys.argv[1]), Path(sys.argv[2])
big = folder / "weights.bin"
with open(big, "wb") as file:
    for _ in range(size_mib):
        file.write(os.urandom(1 << 20))

mlflow.set_experiment("weights")
with mlflow.start_run() as run:
    began = time.monotonic()
    mlflow.log_artifact(str(big))
    uploaded = time.monotonic()
back = MlflowClient().download_artifacts(run.info.run_id, "weights.bin", str(folder / "back"))
downloaded = time.monotonic()
print(
    json.dumps(
        {
            "bytes": os.path.getsize(back),
            "same": digest(big) == digest(back),
            "upload_s": round(uploaded - began, 1),
            "download_s": round(downloaded - uploaded, 1),
        }
    )
)
