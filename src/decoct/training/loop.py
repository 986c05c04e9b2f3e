"""The only training loop: epochs of losses, an optimiser and a checkpoint.

Teacher, assistant and pre-training all use this loop, each with its own losses.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from decoct.artefacts.rule import TrainingRule
from decoct.core import checkpoint
from decoct.core.console import progress
from decoct.core.errors import DivergedError
from decoct.core.forms import understood
from decoct.core.metrics import Metrics
from decoct.training.optimiser import Optimiser

CHECKPOINT_EVERY_S = 5.0  # minimum time between two checkpoints
# maps an epoch's number to each batch's loss (a scalar) and its weight in the mean
Losses = Callable[[int], Iterable[tuple[Tensor, int]]]


@dataclass(frozen=True)
class Length:
    """How long training lasts: steps in all and per epoch; the last epoch may be short."""

    steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> int:
        """The number of epochs; the last one may be short."""
        return math.ceil(self.steps / self.steps_per_epoch)

    def steps_of(self, epoch: int) -> int:
        """How many steps an epoch has.

        >>> [Length(5, 2).steps_of(epoch) for epoch in range(3)]
        [2, 2, 1]
        """
        return min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)


def train(
    network: nn.Module,
    losses: Losses,
    *,
    rule: TrainingRule,
    length: Length,
    label: str,
    on_divergence: str,
    state: Path | None = None,
    metrics: Path | None = None,
) -> list[float]:
    """Train `network` in place; returns the mean loss of each epoch.

    `losses` yields an epoch's losses one at a time, and a step follows each. `state` is the
    checkpoint's path; if one exists, training resumes from it, bit-identically. If a loss is not
    finite it raises `DivergedError` with the text `on_divergence`, after filling in {loss} and
    {epoch}.
    """
    optimiser = Optimiser(
        rule,
        network.parameters(),
        steps=length.steps,
        steps_per_epoch=length.steps_per_epoch,
    )
    means, log = _restore(state, network, optimiser), Metrics(metrics)
    kept = time.monotonic()
    with progress(f"{label}, epochs", total=length.epochs, done=len(means)) as advance:
        for epoch in range(len(means), length.epochs):
            network.train()
            means.append(_epoch(losses(epoch), optimiser))
            if not math.isfinite(means[-1]):
                raise DivergedError(on_divergence.format(loss=means[-1], epoch=epoch))
            log.write(epoch=epoch, loss=means[-1])
            if time.monotonic() - kept >= CHECKPOINT_EVERY_S:
                _save(state, network, optimiser, means)
                kept = time.monotonic()
            advance(f"loss {means[-1]:.4g}")
    return means


def _epoch(losses: Iterable[tuple[Tensor, int]], optimiser: Optimiser) -> float:
    """Take a step for each loss; returns their weighted mean."""
    total: Tensor | float = 0.0
    weights = 0
    for loss, weight in losses:
        optimiser.step(loss)
        total = total + loss.detach() * weight
        weights += weight
    return float(total) / weights


def _save(state: Path | None, network: nn.Module, optimiser: Optimiser, means: list[float]) -> None:
    moments, schedules = optimiser.state()
    tensors = checkpoint.module_tensors("network", network) | moments
    checkpoint.save(state, tensors, meta={"losses": means, "schedules": schedules})


def _restore(state: Path | None, network: nn.Module, optimiser: Optimiser) -> list[float]:
    """Load a checkpoint, if any; returns the mean losses of the finished epochs."""
    saved = checkpoint.load(state)
    if saved is None or "schedules" not in saved[1]:  # of an earlier version
        return []
    tensors, meta = saved
    with understood(state):
        checkpoint.restore_module("network", network, tensors)
        optimiser.restore(tensors, meta["schedules"])
        return [float(loss) for loss in meta["losses"]]
