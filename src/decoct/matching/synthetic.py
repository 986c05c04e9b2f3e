"""`Synthetic`: what matching learns (images, targets, log learning rate), and its optimiser."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from decoct.core import checkpoint, failing_step
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
        self.log_lr = images.new_zeros(())
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
        self._remember()

    @property
    def lr(self) -> float:
        """The inner learning rate."""
        return math.exp(self.log_lr.item())

    def begin_with(self, lr: float) -> None:
        """Set the inner learning rate before the first step."""
        self.log_lr.fill_(math.log(lr))
        self._remember()

    @property
    def iterations(self) -> int:
        """How many steps were taken."""
        return len(self.history["loss"])

    def step(self, gradient: MatchingGradient) -> None:
        """Record and take one step of the outer optimiser."""
        self._remember()
        self.history["loss"].append(gradient.loss.item())
        self.history["lr"].append(self.lr)
        self.images.grad, self.targets.grad = gradient.images, gradient.targets
        self.log_lr.grad = gradient.lr * self.log_lr.exp()
        self.optimiser.step()

    @property
    def stands_still(self) -> bool:
        """Whether the inner learning rate has become too small for a number."""
        return bool(self.log_lr.exp() == 0)

    def is_finite(self) -> bool:
        """Whether all that was learnt is finite, and a rate that one can train with."""
        rate = self.log_lr.exp()
        return not self.stands_still and failing_step.all_finite([rate, *self.tensors().values()])

    def back_to_last_good(self, *, done: int | None = None) -> None:
        """Undo the step that led to numbers that are not finite; `done` losses stay on record."""
        self._restore(self._good, done=self.good_at if done is None else done)

    def _remember(self) -> None:
        """Keep the state whose loss is known to be finite."""
        self.good_at = self.iterations
        self._good = {name: tensor.clone() for name, tensor in self.tensors().items()}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, apart from the history."""
        own = {"images": self.images, "targets": self.targets, "log_lr": self.log_lr}
        return own | checkpoint.optimiser_tensors("optimiser", self.optimiser)

    def save(self, path: Path | None) -> None:
        """Write a checkpoint, if there is a path for one."""
        checkpoint.save(path, self.tensors(), meta=self.history)

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.history = {name: list(meta[name]) for name in self.history}
        self._restore(tensors, done=self.iterations)
        self._remember()

    def _restore(self, tensors: Mapping[str, Tensor], *, done: int) -> None:
        for name in ("images", "targets", "log_lr"):
            checkpoint.restore(getattr(self, name), tensors[name])
        moments = {name: tensor.clone() for name, tensor in tensors.items()}
        checkpoint.restore_optimiser("optimiser", self.optimiser, moments)
        self.history = {name: values[:done] for name, values in self.history.items()}
