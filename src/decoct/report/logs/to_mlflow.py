"""MLflow, in a file store; `mlflow ui --backend-store-uri RUN/logs/mlflow` shows it."""

import os
from collections.abc import Mapping
from typing import Any

from PIL import Image

from decoct.core.extras import import_extra
from decoct.report.logs.logger import Start


class _MLflow:
    def __init__(self, mlflow: Any, client: Any, identity: str) -> None:
        self._metric = mlflow.entities.Metric
        self._client, self.identity = client, identity

    def scalars(self, stage: str, step: int, values: Mapping[str, float], *, time: float) -> None:
        when = round(1000 * time)
        metrics = [self._metric(f"{stage}/{n}", v, when, step) for n, v in values.items()]
        self._client.log_batch(self.identity, metrics=metrics, synchronous=True)

    def picture(self, name: str, image: Image.Image) -> None:
        self._client.log_image(self.identity, image, artifact_file=f"{name}.png")

    def close(self) -> None:
        self._client.set_terminated(self.identity)


def open_in(start: Start) -> _MLflow:
    """A run of the experiment `decoct` in the folder's store; a continued one is opened again."""
    # A store of files needs no database; MLflow has kept it, but asks for this word.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = import_extra("mlflow", extra="mlflow", package="mlflow")
    client = mlflow.MlflowClient(tracking_uri=start.folder.resolve().as_uri())
    if start.identity:
        return _MLflow(mlflow, client, start.identity)
    found = client.get_experiment_by_name("decoct")
    experiment = found.experiment_id if found else client.create_experiment("decoct")
    identity = client.create_run(experiment, run_name=start.name).info.run_id
    client.log_text(identity, start.recipe, "recipe.yaml")
    return _MLflow(mlflow, client, identity)
