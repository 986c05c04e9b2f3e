"""`Logger`: what follows a run asks of a logger; and the loggers by name."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

LoggerName = Literal["tensorboard", "wandb", "mlflow"]


@dataclass(frozen=True)
class Start:
    """What a logger is opened with. A run that continues gives the identity it had before."""

    folder: Path  # for everything that the logger writes
    name: str  # of the recipe
    recipe: str  # YAML
    identity: str = ""  # by which the logger knows the run; "": it is new


class Logger(Protocol):
    """A place where numbers and pictures of a run go; it must not need the network."""

    identity: str

    def scalars(self, stage: str, step: int, values: Mapping[str, float], *, time: float) -> None:
        """Numbers of a stage after a step, and when they were measured (seconds since 1970)."""

    def picture(self, name: str, image: Image.Image) -> None:
        """A picture of a set, by the name of its stage."""

    def close(self) -> None:
        """Write what is still in memory."""


def open_logger(name: LoggerName, start: Start) -> Logger:
    """Open a logger in a folder; raises `DecoctError` if its extra is not installed."""
    module = importlib.import_module(f"decoct.report.logs.to_{name}")
    logger: Logger = module.open_in(start)
    return logger
