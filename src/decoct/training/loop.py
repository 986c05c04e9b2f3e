"""The only training loop: epochs of losses, an optimiser, a schedule and a checkpoint.

Teacher, assistant and pre-training all use this loop, each with its own losses.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from decoct.artefacts.rule import TrainingRule
from decoct.core import checkpoint
from decoct.core.console import Metrics, progress
from decoct.core.errors import DivergedError

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
    optimiser = make_optimiser(rule, network.parameters())
    schedule = make_schedule(rule, optimiser, length)
    means, log = _restore(state, network, optimiser, schedule), Metrics(metrics)
    kept = time.monotonic()
    with progress(f"{label}, epochs", total=length.epochs, done=len(means)) as advance:
        for epoch in range(len(means), length.epochs):
            network.train()
            means.append(_epoch(losses(epoch), optimiser, schedule))
            if not math.isfinite(means[-1]):
                raise DivergedError(on_divergence.format(loss=means[-1], epoch=epoch))
            log.write(epoch=epoch, loss=means[-1])
            if time.monotonic() - kept >= CHECKPOINT_EVERY_S:
                _save(state, network, optimiser, schedule, means)
                kept = time.monotonic()
            advance(f"loss {means[-1]:.4g}")
    return means


def make_optimiser(rule: TrainingRule, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that the rule describes."""
    if rule.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=rule.lr, weight_decay=rule.weight_decay)
    return torch.optim.SGD(
        parameters, lr=rule.lr, momentum=rule.momentum, weight_decay=rule.weight_decay
    )


def make_schedule(
    rule: TrainingRule, optimiser: torch.optim.Optimizer, length: Length
) -> torch.optim.lr_scheduler.LambdaLR:
    """The rule's schedule; step it once after each step of the optimiser."""
    epochs = length.steps / length.steps_per_epoch

    def factor(step: int) -> float:
        return lr_factor(rule, step / length.steps_per_epoch, epochs)

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def lr_factor(rule: TrainingRule, epoch: float, epochs: float) -> float:
    """The learning rate at a (fractional) epoch, as a fraction of the full rate.

    >>> lr_factor(TrainingRule(schedule="cosine", warm_up=1), 2.0, 3.0)
    0.5
    """
    if epoch < rule.warm_up:
        return (epoch + 0.1) / (rule.warm_up + 0.1)
    done = min(1.0, (epoch - rule.warm_up) / max(1e-9, epochs - rule.warm_up))
    if rule.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if rule.schedule == "linear" else 1.0


def _epoch(
    losses: Iterable[tuple[Tensor, int]],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """Take a step for each loss; returns their weighted mean."""
    total: Tensor | float = 0.0
    weights = 0
    for loss, weight in losses:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total = total + loss.detach() * weight
        weights += weight
    return float(total) / weights


def _save(
    state: Path | None,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    means: list[float],
) -> None:
    tensors = checkpoint.module_tensors("network", network)
    tensors |= checkpoint.optimiser_tensors("optimiser", optimiser)
    meta = {"losses": means, "schedule": schedule.state_dict()}
    checkpoint.save(state, tensors, meta=meta)


def _restore(
    state: Path | None,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> list[float]:
    """Load a checkpoint, if any; returns the mean losses of the finished epochs."""
    saved = checkpoint.load(state)
    if saved is None:
        return []
    tensors, meta = saved
    checkpoint.restore_module("network", network, tensors)
    checkpoint.restore_optimiser("optimiser", optimiser, tensors)
    schedule.load_state_dict(meta["schedule"])
    for group, lr in zip(optimiser.param_groups, schedule.get_last_lr(), strict=True):
        group["lr"] = lr
    return list(meta["losses"])
