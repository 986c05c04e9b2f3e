"""`Synthetic`: what matching learns (images, targets, log learning rate), and its optimiser."""

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from decoct.core import checkpoint
from decoct.core.shapes import Pictures, Rows
from decoct.matching.unroll import MatchingGradient


class Synthetic:
    """The learnt variables, their optimiser, and the history of the loss."""

    def __init__(
        self,
        images: Pictures,
        targets: Rows,
        *,
        optimiser: Literal["sgd", "adam"],
        lr_images: float,
        lr_targets: float,
        lr_log_lr: float,
        momentum: float,
    ) -> None:
        self.images, self.targets = images.clone(), targets.clone()
        self.log_lr = torch.zeros((), device=images.device)
        groups = [
            {"params": [self.images], "lr": lr_images},
            {"params": [self.targets], "lr": lr_targets},
            {"params": [self.log_lr], "lr": lr_log_lr},
        ]
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(groups)
            if optimiser == "adam"
            else torch.optim.SGD(groups, momentum=momentum)
        )
        self.history: dict[str, list[float]] = {"loss": [], "lr": []}
        self._good = self._copy()

    @property
    def lr(self) -> float:
        """The inner learning rate."""
        return math.exp(self.log_lr.item())

    def step(self, gradient: MatchingGradient) -> None:
        """Record and take one step of the outer optimiser."""
        self._good = self._copy()
        self.history["loss"].append(gradient.loss.item())
        self.history["lr"].append(self.lr)
        self.images.grad, self.targets.grad = gradient.images, gradient.targets
        self.log_lr.grad = gradient.lr * self.log_lr.exp()
        self.optimiser.step()

    def back_to_last_good(self) -> None:
        """Undo the step that led to a non-finite loss."""
        self.images, self.targets, self.log_lr = self._good

    def _copy(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.images.clone(), self.targets.clone(), self.log_lr.clone()

    def save(self, path: Path | None) -> None:
        """Write a checkpoint, if there is a path for one."""
        tensors = {"images": self.images, "targets": self.targets, "log_lr": self.log_lr}
        tensors |= checkpoint.optimiser_tensors("optimiser", self.optimiser)
        checkpoint.save(path, tensors, meta=self.history)

    def restore(self, tensors: dict[str, Tensor], history: dict[str, list[float]]) -> None:
        """Resume from a checkpoint."""
        for name in ("images", "targets", "log_lr"):
            checkpoint.restore(getattr(self, name), tensors[name])
        checkpoint.restore_optimiser("optimiser", self.optimiser, tensors)
        self.history, self._good = history, self._copy()
