"""The only training loop: epochs of losses, an optimiser and a checkpoint.

Teacher, assistant and pre-training all use this loop, each with its own losses. Of every batch each
rank takes its rows; all ranks take the same steps, and rank 0 keeps the checkpoint.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from decoct.artefacts.rule import TrainingRule
from decoct.core import checkpoint, failing_step, ranks
from decoct.core.console import note, progress
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.forms import understood
from decoct.core.metrics import Metrics
from decoct.training.divided import divided
from decoct.training.optimiser import Optimiser

CHECKPOINT_EVERY_S = 5.0  # minimum time between two checkpoints
# What computes a batch's loss (a scalar), so that a batch can be passed over, and its weight in the
# epoch's mean
Step = tuple[Callable[[], Tensor], int]
Steps = Callable[[int], Iterable[Step]]  # maps an epoch's number to its steps
# The same, given what computes the network's outputs for this rank's rows. The loss of a batch, and
# its gradient, are the means over ranks.
Losses = Callable[[nn.Module, int], Iterable[Step]]
State = tuple[dict[str, Tensor], dict[str, Any]]  # as in a checkpoint


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

    `losses` yields what computes an epoch's losses, and a step follows each. `state` is the
    checkpoint's path; if one exists, training resumes from it, bit-identically on one process.

    At the end of an epoch all numbers must be finite. If not, the steps since the last good state
    are taken again, one by one. If they are finite this time, training goes on; otherwise the state
    before the first that is not is kept, and `DivergedError` raised with the text `on_divergence`,
    after filling in {epoch}.
    """
    optimiser = Optimiser(
        rule,
        network.parameters(),
        steps=length.steps,
        steps_per_epoch=length.steps_per_epoch,
    )
    course, log = _Course(network, optimiser), Metrics(metrics)
    steps = partial(losses, divided(network))
    repeat = partial(_repeat, course, steps, state=state, on_divergence=on_divergence)
    saved = checkpoint.load(state)
    if saved is not None and "schedules" in saved[1]:  # otherwise of an earlier version
        with understood(state):
            course.restore(*saved)
    _check_same_start(course, state)
    if saved is not None and failing_step.is_kept(saved[1]):
        repeat(last=len(course.means), draws=saved[0])
    good, kept = course.copy(), time.monotonic()
    with progress(f"{label}, epochs", total=length.epochs, done=len(course.means)) as advance:
        for epoch in range(len(course.means), length.epochs):
            network.train()
            for step in steps(epoch):
                course.step(*step)
            if course.is_finite():
                course.end_epoch()
            else:
                note(f"{label}: not finite in epoch {epoch}; repeating the steps that led there")
                course.restore(*good)
                repeat(last=epoch)
                note(f"{label}: finite this time; going on")
            log.write(epoch=epoch, loss=course.means[-1])
            if ranks.first_says(partial(_is_due, kept)):
                tensors, meta = course.state()
                checkpoint.save(state, tensors, meta=meta)
                good, kept = course.copy(), time.monotonic()
            advance(f"loss {course.means[-1]:.4g}")
    return course.means


def _is_due(kept: float) -> bool:
    """Whether it is time for another checkpoint."""
    return time.monotonic() - kept >= CHECKPOINT_EVERY_S


def _check_same_start(course: "_Course", state: Path | None) -> None:
    """Raise `DecoctError` unless all ranks have read the same checkpoint, or none."""
    epochs = ranks.all_say(str(len(course.means)))
    if len(set(epochs)) > 1:
        ranks.all_refuse(
            f"{state} is not the same file for all processes: by it they have finished "
            f"{', '.join(epochs)} epochs; put the run in a folder that all machines share"
        )


def _repeat(
    course: "_Course",
    losses: Steps,
    *,
    last: int,
    state: Path | None,
    on_divergence: str,
    draws: Mapping[str, Tensor] | None = None,
) -> None:
    """Take the steps to the end of epoch `last`, and look at each; raise if one is not finite.

    With `draws`, the generators' states before the first, take only that one, and raise anyhow.
    """
    for epoch in range(len(course.means), last + 1):
        course.network.train()
        steps = iter(losses(epoch))
        for _ in range(course.steps):
            next(steps)  # passed over
        if draws is not None:
            failing_step.restore_draws(draws)
        before = course.copy()
        for step in steps:
            drawn = failing_step.with_draws({})
            course.step(*step)
            if not course.is_finite():
                raise _diverged(course, step, before, drawn, state, on_divergence)
            if draws is not None:
                raise failing_step.FiniteThisTime(f"step {course.steps - 1} of epoch {epoch}")
            before = course.copy()
        course.end_epoch()


def _diverged(
    course: "_Course",
    step: Step,
    before: State,
    drawn: Mapping[str, Tensor],
    state: Path | None,
    on_divergence: str,
) -> DecoctError:
    """The error for a step, whose state before it is kept; `drawn` is what it draws from."""
    course.restore(*before)
    failing_step.restore_draws(drawn)
    found = failing_step.where_not_finite(lambda: course.step(*step))
    where = next(filter(None, ranks.all_say(found)), "")  # it may be in another rank's rows
    epoch, (tensors, meta) = len(before[1]["losses"]), before
    said = failing_step.keep(
        state,
        tensors,
        meta=meta,
        step=f"step {meta['steps']} of epoch {epoch}",
        where=where,
    )
    kind = DivergedError if ranks.is_first() else ranks.SaidByFirstError
    return kind(f"{on_divergence.format(epoch=epoch)} ({said})")


class _Course:
    """How far training has come: the network, its optimiser, and the losses."""

    def __init__(self, network: nn.Module, optimiser: Optimiser) -> None:
        self.network, self.optimiser = network, optimiser
        self.means: list[float] = []  # of the finished epochs
        self._begin_epoch()

    def _begin_epoch(self, *, steps: int = 0, total: float = 0.0, weights: int = 0) -> None:
        self.steps, self.weights = steps, weights
        self.total: Tensor | float = total  # a tensor after the first step: no wait for the GPU

    def step(self, loss: Callable[[], Tensor], weight: int) -> None:
        """Compute a batch's loss and take a step."""
        found = loss()
        self.optimiser.step(found)
        self.total = self.total + found.detach() * weight
        self.weights += weight
        self.steps += 1

    def end_epoch(self) -> None:
        """Record the weighted mean of the epoch's losses."""
        self.means.append(float(self._total_of_ranks()) / self.weights)
        self._begin_epoch()

    def _total_of_ranks(self) -> Tensor:
        return ranks.total(torch.as_tensor(self.total)) / ranks.world()

    def is_finite(self) -> bool:
        """Whether the epoch's losses are finite, and what they have made of the network."""
        return failing_step.all_finite([self._total_of_ranks(), *self.state()[0].values()])

    def state(self) -> State:
        """What a checkpoint keeps."""
        moments, schedules = self.optimiser.state()
        tensors = checkpoint.module_tensors("network", self.network) | moments
        meta = {"losses": self.means, "schedules": schedules, "steps": self.steps}
        return tensors, meta | {"total": float(self.total), "weights": self.weights}

    def copy(self) -> State:
        """The same, with the generators' states, and unchanged by what follows."""
        tensors, meta = self.state()
        return copy.deepcopy((failing_step.with_draws(tensors), meta))

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Continue from what `state` or `copy` returned."""
        tensors, meta = copy.deepcopy((dict(tensors), dict(meta)))
        checkpoint.restore_module("network", self.network, tensors)
        self.optimiser.restore(tensors, meta["schedules"])
        self.means = meta["losses"]
        self._begin_epoch(
            steps=meta.get("steps", 0), total=meta.get("total", 0.0), weights=meta.get("weights", 0)
        )
