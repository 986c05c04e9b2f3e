"""`Place`: where a stage computes, and where it keeps what an interrupt must not lose."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

_STATE, _METRICS = "state.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class Place:
    """A device, and the folder of the stage under way; without one, nothing is kept."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    folder: Path | None = None

    @property
    def state(self) -> Path | None:
        """Where the checkpoint of the stage lies."""
        return self.folder and self.folder / _STATE

    @property
    def metrics(self) -> Path | None:
        """Where the stage appends its numbers, a line of JSON each."""
        return self.folder and self.folder / _METRICS
