"""MKDT: match the trajectories of students trained by knowledge distillation (section 5).

Images, targets and learning rate are learnt so that a student that starts at an expert's epoch s
and trains on them for T steps lands where the expert was at epoch s + expert_epochs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, TrainingRule, versions
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import checkpoint, seeding
from decoct.core.compilation import Compile, pays
from decoct.core.console import Metrics, note, progress
from decoct.core.device import Precision, arithmetic
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.cuda_graph import Match, captured
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.state import Learner
from decoct.matching.unroll import MatchingGradient, matching_gradient, matching_loss, train
from decoct.models.registry import create_network

# (iteration, expert) to how to match then: a loss that draws does so afresh each time
MatchAt = Callable[[int, int], Match]
_PASSES = 11  # through a network's convolutions an inner step takes, forward and back


@dataclass(frozen=True)
class MKDTConfig:
    """How a set is distilled; the defaults are the paper's for CIFAR at 2 %."""

    start: Literal["high-loss", "random"] = "high-loss"
    iterations: int = 5000
    inner_steps: int = 40  # T
    expert_epochs: int = 2
    max_start: int = 2  # s is uniform in [0, max_start)
    batch: int = 256
    inner_momentum: float = 0.0  # of the inner loop, and so of pre-training; published: none
    experts_per_step: int = 1  # the gradient is averaged over so many
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr_images: float = 1e3
    lr_targets: float = 1.0
    lr_log_rate: float = 1e-2  # of log lr; at lr = 0.1 this is the published 1e-4 of lr itself
    momentum: float = 0.5  # of SGD
    rate: float = 0.0  # the first inner learning rate; 0: searched for along the line
    memory: float = 2.0  # GB for the tapes of inner steps: each kept spares a pass through one
    compile: Compile = "auto"  # through torch.compile, where the run is long enough to earn it
    precision: Precision = "float32"  # tf32 and bfloat16 are for CUDA: faster, and less exact
    graphs: bool = False  # on CUDA, replay each iteration as one graph
    checkpoint_every: int = 20  # iterations

    def __post_init__(self) -> None:
        for name in (
            "iterations",
            "inner_steps",
            "expert_epochs",
            "max_start",
            "batch",
            "experts_per_step",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise DecoctError(f"distill.{name} is {getattr(self, name)}; at least 1 is needed")
        if not 0 <= self.memory < math.inf:
            raise DecoctError(f"distill.memory is {self.memory} GB; give 0 or more")
        if not 0 <= self.rate < math.inf:
            raise DecoctError(f"distill.rate is {self.rate}; give a positive one, or 0 to search")


def mkdt(
    *,
    images: Images,
    targets: Targets,
    trajectories: Trajectories,
    start: Tensor,
    config: MKDTConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `start` (int64, m) and their targets.

    `state` is where a checkpoint is kept; with one there, distilling goes on from it, to the same
    bits. Where the loss becomes non-finite it stops, with the last good state. Raises `DecoctError`
    where the trajectories are too short, or the very first loss is not finite.
    """
    config = config or MKDTConfig()
    check_matching(config, trajectories, start)
    device = torch.device(device)
    real = images.subset(start).to(device).normalised()
    network = create_network(
        trajectories.network,
        channels=images.channels,
        size=images.size,
        outputs=targets.dimensions,
    ).to(device)
    learner = create_learner(real, targets.values[start].to(device), config)
    saved = checkpoint.load(state)
    with arithmetic(config.precision) as dtype:
        gradient = ConvNetGradient(network, dtype=dtype)
        inner = _inner_gradient(gradient, real, config)
        if saved is None:
            rate = config.rate or search_rate(inner, learner, trajectories, config, seed)
            learner.log_rate.data.fill_(math.log(rate))
        else:
            learner.restore(*saved)
        match: Match = partial(
            matching_gradient,
            inner,
            momentum=config.inner_momentum,
            kept_tapes=count_tapes(gradient, config, len(real), images.size),
        )
        if config.graphs and device.type == "cuda":
            match = captured(match)
        learn(
            learner,
            lambda *_: match,
            trajectories,
            config,
            seed=seed,
            state=state,
            metrics=metrics,
            method="MKDT",
        )
    story = {"config": asdict(config), "seed": seed, "images": images.name, **versions()}
    return DistilledSet(
        **learnt(learner, config),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        method="mkdt",
        start=real.cpu(),
        index=start,
        network=trajectories.network,
        story=story,
    )


def create_learner(images: Tensor, targets: Tensor, config: MKDTConfig) -> Learner:
    """What learns from normalised images and targets on, as `config` has it."""
    return Learner(
        images,
        targets,
        optimiser=config.optimiser,
        lr_images=config.lr_images,
        lr_targets=config.lr_targets,
        lr_log_rate=config.lr_log_rate,
        momentum=config.momentum,
    )


def learnt(learner: Learner, config: MKDTConfig) -> dict[str, Any]:
    """What a `DistilledSet` has of its learner; its rule is the inner loop's optimiser."""
    rule = TrainingRule(
        lr=learner.rate, momentum=config.inner_momentum, weight_decay=0.0, batch=config.batch
    )
    return {
        "images": learner.images.detach().cpu(),
        "targets": learner.targets.detach().cpu(),
        "rule": rule,
        "history": {k: torch.tensor(v) for k, v in learner.history.items()},
    }


def check_matching(config: MKDTConfig, trajectories: Trajectories, start: Tensor) -> None:
    """Raise `DecoctError` for trajectories that are too short, and for a set of no images."""
    last = config.max_start - 1 + config.expert_epochs
    if last > trajectories.epochs:
        raise DecoctError(
            f"max_start {config.max_start} and expert_epochs {config.expert_epochs} read epoch "
            f"{last}, but the experts were trained for {trajectories.epochs}"
        )
    if len(start) < 1:
        raise DecoctError("a distilled set of 0 images was asked for")


def _inner_gradient(gradient: ConvNetGradient, images: Tensor, config: MKDTConfig) -> InnerGradient:
    """Compiled where that pays."""
    batch, size = min(config.batch, len(images)), images.shape[-1]
    steps = config.iterations * config.experts_per_step * config.inner_steps
    work = _PASSES * sum(gradient.multiply_adds(batch, size)) * steps
    inner = InnerGradient.by_hand(gradient)
    worth = pays(config.compile, multiply_adds=work, device=images.device)
    return inner.compiled() if worth else inner


def count_tapes(gradient: ConvNetGradient, config: MKDTConfig, images: int, size: int) -> int:
    """How many of T steps' tapes `config.memory` holds, for so many images of so many pixels."""
    kept = int(config.memory * 1e9) // gradient.tape_bytes(min(config.batch, images), size)
    return min(kept, config.inner_steps)


def learn(
    learner: Learner,
    match_at: MatchAt,
    trajectories: Trajectories,
    config: MKDTConfig,
    *,
    seed: int,
    state: Path | None,
    metrics: Path | None,
    method: str,
) -> None:
    """All iterations that are left, or as many as have a finite gradient; raises at the first."""
    done, log = len(learner.history["loss"]), Metrics(metrics)
    with progress(f"{method}, iterations", total=config.iterations, done=done) as advance:
        for iteration in range(done, config.iterations):
            gradient = _gradient(learner, match_at, trajectories, config, seed, iteration)
            if not _is_finite(gradient):
                if iteration == 0:
                    raise DecoctError(
                        "the first matching loss is not finite; give a smaller distill.rate"
                    )
                note(f"{method}: non-finite loss at iteration {iteration}; kept what was before it")
                learner.back_to_last_good()
                return
            if iteration > done and iteration % config.checkpoint_every == 0:
                learner.save(state)  # before the step: what is kept is known to be good
            learner.step(gradient)
            values = {name: values[-1] for name, values in learner.history.items()}
            log.write(iteration=iteration, **values)
            advance(f"loss {values['loss']:.4f}, rate {values['rate']:.3f}")


def _gradient(
    learner: Learner,
    match_at: MatchAt,
    trajectories: Trajectories,
    config: MKDTConfig,
    seed: int,
    iteration: int,
) -> MatchingGradient:
    """The mean over `experts_per_step` experts, each drawn afresh."""
    gradients = []
    for i in range(config.experts_per_step):
        draws = seeding.generator(seed, "mkdt", iteration, i)
        start, goal = draw_expert(trajectories, config, draws, learner.images.device)
        batches = draw_batches(len(learner.images), config, draws, learner.images.device)
        gradients.append(
            match_at(iteration, i)(
                start=start,
                goal=goal,
                images=learner.images,
                targets=learner.targets,
                lr=learner.log_rate.exp(),
                batches=batches,
            )
        )
    names = ("loss", "images", "targets", "lr")
    return MatchingGradient(
        **{n: torch.stack([getattr(g, n) for g in gradients]).mean(0) for n in names}
    )


def _is_finite(gradient: MatchingGradient) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in vars(gradient).values())


def draw_expert(
    trajectories: Trajectories, config: MKDTConfig, draws: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """An expert's parameters at a random epoch s, and at s + expert_epochs."""
    k = int(torch.randint(len(trajectories), (), generator=draws))
    s = int(torch.randint(config.max_start, (), generator=draws))
    expert = trajectories.expert(k)
    return expert[s].to(device), expert[s + config.expert_epochs].to(device)


def draw_batches(
    count: int, config: MKDTConfig, draws: torch.Generator, device: torch.device
) -> list[Tensor]:
    """T batches of indices without replacement, reshuffled when the images are used up."""
    batches: list[Tensor] = []
    while len(batches) < config.inner_steps:
        batches += torch.randperm(count, generator=draws).to(device).split(config.batch)
    return batches[: config.inner_steps]


def search_rate(
    inner: InnerGradient | Sequence[InnerGradient],
    learner: Learner,
    trajectories: Trajectories,
    config: MKDTConfig,
    seed: int,
    tries: int = 3,
    first: float = 0.02,
) -> float:
    """The inner rate that minimises the matching loss at the start, mean over `tries` experts.

    Rates double from `first` until the loss has risen; a parabola through the best three, in log
    rate, gives the minimum. `inner` is as `matching_gradient` takes it.
    """
    device = learner.images.device
    cases = []
    for i in range(tries):
        draws = seeding.generator(seed, "mkdt", "rate", i)
        start, goal = draw_expert(trajectories, config, draws, device)
        cases.append((start, goal, draw_batches(len(learner.images), config, draws, device)))

    def mean_loss(rate: float) -> float:
        lr = torch.tensor(rate, device=device)
        values = [
            matching_loss(
                train(
                    inner,
                    start=start,
                    images=learner.images,
                    targets=learner.targets,
                    lr=lr,
                    batches=batches,
                    momentum=config.inner_momentum,
                ),
                start,
                goal,
            )
            for start, goal, batches in cases
        ]
        return float(torch.stack(values).mean())

    return _minimum_by_doubling(mean_loss, first=first, doublings=10)


def _minimum_by_doubling(value: Callable[[float], float], *, first: float, doublings: int) -> float:
    """The positive argument that minimises a function with one valley.

    >>> round(_minimum_by_doubling(lambda x: math.log(x / 0.3) ** 2, first=0.02, doublings=10), 6)
    0.3
    """
    points = [(first, value(first))]
    for i in range(1, doublings + 1):
        x = first * 2**i
        y = value(x)
        points.append((x, y if math.isfinite(y) else math.inf))
        if points[-1][1] > points[-2][1]:
            break
    best = min(range(len(points)), key=lambda i: points[i][1])
    if best in (0, len(points) - 1) or math.isinf(points[best + 1][1]):
        return points[best][0]
    left, middle, right = (points[best + i][1] for i in (-1, 0, 1))
    offset = 0.5 * (left - right) / (left - 2 * middle + right)
    return points[best][0] * math.exp2(offset)
