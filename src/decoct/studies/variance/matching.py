"""Does trajectory matching work for an objective? Its loss by iteration, and how images move."""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core.device import arithmetic
from decoct.matching.loop import MatchingConfig, match_trajectories
from decoct.matching.unroll import matching_gradient
from decoct.methods.mkdt import mkdt
from decoct.methods.mtt_ssl import mtt_ssl
from decoct.models.registry import create_network
from decoct.studies.variance.objectives import Problem
from decoct.training.objective import Objective


@dataclass(frozen=True)
class Matching:
    """The outcome of matching one objective."""

    loss: tuple[float, ...]  # by iteration
    lr: tuple[float, ...]  # the inner learning rate, by iteration
    moved: float  # root mean square change of a pixel, in standard deviations of the images

    @property
    def first(self) -> float:
        """The mean loss of the first tenth of the iterations, or of five if that is more."""
        return _mean(self.loss[: self._window])

    @property
    def last(self) -> float:
        """The mean loss of the last tenth of the iterations, or of five if that is more."""
        return _mean(self.loss[-self._window :])

    @property
    def ratio(self) -> float:
        """The remaining fraction of the loss: 1 if matching makes no progress."""
        return self.last / self.first

    @property
    def _window(self) -> int:
        count = len(self.loss)
        return max(1, min(max(5, count // 10), count // 2))


def _mean(values: tuple[float, ...]) -> float:
    return math.fsum(values) / len(values)


def match_objective(
    problem: Problem,
    trajectories: Trajectories,
    *,
    index: Tensor,
    config: MatchingConfig,
    objective: Objective,
    lr: float,
    seed: int,
    device: torch.device,
    state: Path | None = None,
) -> Matching:
    """Learn the images at `index` (int64, m) by matching experts of the same objective.

    Self-supervision uses `mtt_ssl`, distillation `mkdt`. With labels the loop is the same, and the
    labels are fixed. `lr` is the experts'. `state` is the checkpoint's path.
    """
    common: dict[str, Any] = {"seed": seed, "device": device, "state": state}
    if problem.name == "supervised":
        return _match_labels(problem, trajectories, index, config, **common)
    if problem.name == "distillation":
        # only their values matter here, not where the targets came from
        as_they_are = torch.zeros(0), torch.zeros(0, 0), torch.ones(problem.values.shape[1])
        found = mkdt(
            images=problem.images,
            targets=Targets(problem.values, *as_they_are),
            trajectories=trajectories,
            index=index,
            config=config,
            **common,
        )
    else:
        found = mtt_ssl(
            images=problem.images,
            trajectories=trajectories,
            index=index,
            matching=config,
            objective=replace(objective, algorithm=problem.name),
            lr=lr,
            **common,
        )
    assert found.initial is not None
    history = {name: found.history[name].tolist() for name in ("loss", "lr")}
    return _matching(history, found.images, found.initial)


def _match_labels(
    problem: Problem,
    trajectories: Trajectories,
    index: Tensor,
    config: MatchingConfig,
    *,
    seed: int,
    device: torch.device,
    state: Path | None,
) -> Matching:
    """As `mkdt`, but with cross-entropy to fixed labels."""
    config = replace(config, lr_targets=0.0)
    real = problem.images.subset(index).to(device).normalised()
    network = create_network(
        trajectories.network,
        channels=problem.images.channels,
        size=problem.images.size,
        outputs=problem.outputs,
    ).to(device)
    inner = problem.inner(network)
    match = partial(matching_gradient, inner, momentum=config.inner_momentum)
    with arithmetic(config.precision):
        found = match_trajectories(
            lambda *_: match,
            inner,
            images=real,
            targets=problem.values[index].to(device),
            trajectories=trajectories,
            config=config,
            seed=seed,
            label="matching, supervised",
            state=state,
        )
    return _matching(found.history, found.images, real)


def _matching(history: dict[str, list[float]], images: Tensor, initial: Tensor) -> Matching:
    moved = float((images.cpu() - initial.cpu()).square().mean().sqrt())
    return Matching(tuple(history["loss"]), tuple(history["lr"]), moved)
