"""Weights & Biases, offline unless WANDB_MODE says otherwise; `wandb sync` uploads it later."""

import os
from collections.abc import Mapping
from typing import Any

import yaml
from PIL import Image

from decoct.core.extras import import_extra
from decoct.report.logs.logger import Start


class _Wandb:
    def __init__(self, wandb: Any, run: Any) -> None:
        self._wandb, self._run = wandb, run
        self.identity = str(run.id)
        self._stages: set[str] = set()

    def scalars(self, stage: str, step: int, values: Mapping[str, float], *, time: float) -> None:
        if stage not in self._stages:  # each stage counts its own steps
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages.add(stage)
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self._run.log({**named, f"{stage}/step": step})

    def picture(self, name: str, image: Image.Image) -> None:
        self._run.log({name: self._wandb.Image(image)})

    def close(self) -> None:
        self._run.finish()


def open_in(start: Start) -> _Wandb:
    """An offline run in the folder; a continued one has the identity of the first."""
    wandb = import_extra("wandb", extra="wandb", package="wandb")
    run = wandb.init(
        project="decoct",
        name=start.name,
        config=yaml.safe_load(start.recipe),
        dir=start.folder,
        id=start.identity or None,
        resume="allow" if start.identity else None,
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
    )
    return _Wandb(wandb, run)
