"""`Place`: where a stage computes, and where it keeps what must survive an interrupt."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

STATE = "state.safetensors"  # the checkpoint of a stage
FAILING_STEP = "failing-step.safetensors"  # the state before a step that is not finite
_METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Place:
    """A device and the folder of the current stage; without a folder, nothing is kept."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    folder: Path | None = None
    repeats: bool = False  # the stage is to repeat the step that it failed at, and no other

    @property
    def state(self) -> Path | None:
        """The path of the stage's checkpoint."""
        return self.folder and self.folder / (FAILING_STEP if self.repeats else STATE)

    @property
    def metrics(self) -> Path | None:
        """The JSON-lines file to which the stage appends its metrics."""
        return None if self.repeats else self.folder and self.folder / _METRICS
