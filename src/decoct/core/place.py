"""`Place`: where a stage computes, and where it keeps what must survive an interrupt."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

_STATE, _METRICS = "state.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class Place:
    """A device and the folder of the current stage; without a folder, nothing is kept."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    folder: Path | None = None

    @property
    def state(self) -> Path | None:
        """The path of the stage's checkpoint."""
        return self.folder and self.folder / _STATE

    @property
    def metrics(self) -> Path | None:
        """The JSON-lines file to which the stage appends its metrics."""
        return self.folder and self.folder / _METRICS
