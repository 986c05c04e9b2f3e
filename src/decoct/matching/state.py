"""What distillation learns (images, targets, log learning rate), and the optimiser that does."""

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from decoct.core import checkpoint
from decoct.matching.unroll import MatchingGradient


class Learner:
    """What is learnt, its optimiser, and the history of its loss."""

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        optimiser: Literal["sgd", "adam"],
        lr_images: float,
        lr_targets: float,
        lr_log_rate: float,
        momentum: float,
    ) -> None:
        self.images, self.targets = images.clone(), targets.clone()
        self.log_rate = torch.zeros((), device=images.device)
        groups = [
            {"params": [self.images], "lr": lr_images},
            {"params": [self.targets], "lr": lr_targets},
            {"params": [self.log_rate], "lr": lr_log_rate},
        ]
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(groups)
            if optimiser == "adam"
            else torch.optim.SGD(groups, momentum=momentum)
        )
        self.history: dict[str, list[float]] = {"loss": [], "rate": []}
        self._good = self._copy()

    @property
    def rate(self) -> float:
        """The inner learning rate."""
        return math.exp(self.log_rate.item())

    def step(self, gradient: MatchingGradient) -> None:
        """One step of the outer optimiser, recorded."""
        self._good = self._copy()
        self.history["loss"].append(gradient.loss.item())
        self.history["rate"].append(self.rate)
        self.images.grad, self.targets.grad = gradient.images, gradient.targets
        self.log_rate.grad = gradient.lr * self.log_rate.exp()
        self.optimiser.step()

    def back_to_last_good(self) -> None:
        """Undo the step that led to a non-finite loss."""
        self.images, self.targets, self.log_rate = self._good

    def _copy(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.images.clone(), self.targets.clone(), self.log_rate.clone()

    def save(self, path: Path | None) -> None:
        """Keep a checkpoint, where there is a path for one."""
        tensors = {"images": self.images, "targets": self.targets, "log_rate": self.log_rate}
        tensors |= checkpoint.optimiser_tensors("optimiser", self.optimiser)
        checkpoint.save(path, tensors, meta=self.history)

    def restore(self, tensors: dict[str, Tensor], history: dict[str, list[float]]) -> None:
        """Go on from a checkpoint."""
        for name in ("images", "targets", "log_rate"):
            getattr(self, name).copy_(tensors[name])
        checkpoint.restore_optimiser("optimiser", self.optimiser, tensors)
        self.history, self._good = history, self._copy()
