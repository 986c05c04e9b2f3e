"""The matching loop: learn images, targets and a learning rate so that a student follows an expert.

A student that starts at an expert's epoch s and trains for T steps on the learnt images should end
where the expert was at epoch s + expert_epochs. The caller chooses the student's loss: `mkdt`
matches distillation, `mtt_ssl` self-supervision.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from decoct.artefacts.placed import Placed
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.trajectories import Trajectories
from decoct.core import checkpoint, failing_step, ranks, seeding
from decoct.core.compilation import Compile
from decoct.core.device import Precision
from decoct.core.errors import DecoctError
from decoct.core.forms import understood
from decoct.core.metrics import Metrics
from decoct.core.settings import (
    OF_SPEED,
    Bounds,
    Count,
    Few,
    Momentum,
    NonNegative,
    Settings,
)
from decoct.core.shapes import Index, Parameters, Pictures, Rows
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.cuda_graph import Match
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.iterations import Iterations
from decoct.matching.synthetic import Synthetic
from decoct.matching.unroll import MatchingGradient, matching_loss, train

# maps (iteration, expert) to how to match then: a loss with random draws makes new ones each time
MatchAt = Callable[[int, int], Match]


@dataclass(frozen=True)
class MatchingConfig(Settings):
    """How trajectories are matched; the defaults are the paper's for CIFAR at 2 %."""

    section: ClassVar[str] = "matching"

    iterations: Count = 5000  # steps on the images and targets
    inner_steps: Annotated[int, Bounds(at_least=1, at_most=10_000)] = 40  # T
    expert_epochs: Count = 2  # from an expert's start to its goal
    max_start_epoch: Count = 2  # s is uniform in [0, max_start_epoch)
    batch: Count = 256  # synthetic images in an inner step
    inner_momentum: Momentum = 0.0  # of the inner loop, so also of pre-training; published: none
    experts_per_step: Few = 1  # the gradient is averaged over this many experts
    optimiser: Literal["sgd", "adam"] = "sgd"  # of images, targets and rate
    lr_images: NonNegative = 1e3  # of the images; 0: they stay as they are
    lr_targets: NonNegative = 1.0  # of the targets; 0: they stay as they are
    lr_log_lr: NonNegative = 1e-2  # of log lr; at lr = 0.1 it equals the published 1e-4 for lr
    momentum: Momentum = 0.5  # of SGD
    inner_lr: NonNegative = 0.0  # the initial inner learning rate; 0: a line search chooses it
    memory: NonNegative = 2.0  # GB for the tapes of inner steps; each tape saves recomputing a step
    # GB of a GPU for experts; the others are copied from the CPU at each use
    expert_memory: NonNegative = field(default=4.0, metadata=OF_SPEED)
    compile: Compile = "auto"  # use torch.compile; auto: if the run is long enough to pay for it
    precision: Precision = "float32"  # tf32 and bfloat16 are for CUDA: faster, but less exact
    cuda_graphs: bool = False  # on CUDA, replay each iteration as one graph
    checkpoint_every: Count = 20  # iterations

    @property
    def last_epoch(self) -> int:
        """The last epoch of an expert that matching reads."""
        return self.max_start_epoch - 1 + self.expert_epochs


def match_trajectories(
    match_at: MatchAt,
    inner: InnerGradient | Sequence[InnerGradient],
    *,
    images: Pictures,
    targets: Rows,
    trajectories: Trajectories,
    config: MatchingConfig,
    seed: int,
    label: str,
    first_lr: float = 0.02,
    state: Path | None = None,
    metrics: Path | None = None,
) -> Synthetic:
    """Learn images, targets and a rate, starting from `images` (normalised) and `targets` (m x D).

    `match_at` says how to match at an iteration. Unless `config` gives the initial rate, it is
    searched for with `inner`, from `first_lr` upwards. If there is a checkpoint at `state`,
    learning resumes from it, bit-identically. Numbers that are not finite make it go back to the
    last good state and try again; if they come again, it stops there, and the state before the
    failing iteration is kept beside `state`. Raises `DecoctError` if the trajectories are too
    short, there are no images, or the very first iteration is not finite. Call it inside
    `arithmetic(config.precision)`.
    """
    _check(config, trajectories, images)
    synthetic = Synthetic(
        images,
        targets,
        optimiser=config.optimiser,
        lr_images=config.lr_images,
        lr_targets=config.lr_targets,
        lr_log_lr=config.lr_log_lr,
        momentum=config.momentum,
    )
    experts = Placed(trajectories, like=synthetic.images, memory=config.expert_memory)
    saved = checkpoint.load(state)
    alone = saved is not None and failing_step.is_kept(saved[1])
    if saved is None:
        lr = config.inner_lr or search_inner_lr(
            inner, synthetic, experts, config, seed, first=first_lr
        )
        synthetic.begin_with(lr)
    else:
        with understood(state):
            synthetic.restore(*saved)

    def gradient() -> MatchingGradient:
        return _gradient(synthetic, match_at, experts, config, seed, synthetic.iterations)

    iterations = Iterations(
        synthetic,
        gradient,
        total=config.iterations,
        checkpoint_every=config.checkpoint_every,
        label=label,
        state=state,
        log=Metrics(metrics),
    )
    if alone:
        iterations.repeat()
    iterations.to_the_end()
    return synthetic


def learnt(synthetic: Synthetic, config: MatchingConfig) -> dict[str, Any]:
    """The learnt fields of a `DistilledSet`; the set's rule is the inner loop's optimiser."""
    return {
        "images": synthetic.images.detach().cpu(),
        "targets": synthetic.targets.detach().cpu(),
        "rule": TrainingRule(
            lr=synthetic.lr, momentum=config.inner_momentum, weight_decay=0.0, batch=config.batch
        ),
        "history": {k: torch.tensor(v) for k, v in synthetic.history.items()},
    }


def count_tapes(gradient: ConvNetGradient, config: MatchingConfig, images: int, size: int) -> int:
    """How many of T steps' tapes fit in `config.memory`, for `images` of `size` pixels."""
    kept = int(config.memory * 1e9) // gradient.tape_bytes(min(config.batch, images), size)
    return min(kept, config.inner_steps)


def _check(config: MatchingConfig, trajectories: Trajectories, images: Pictures) -> None:
    if config.last_epoch > trajectories.epochs:
        raise DecoctError(
            f"max_start_epoch {config.max_start_epoch} and expert_epochs {config.expert_epochs} "
            f"read epoch {config.last_epoch}, but the experts were trained for "
            f"{trajectories.epochs}"
        )
    if len(images) < 1:
        raise DecoctError("a distilled set of 0 images was requested; ask for at least 1")


def _gradient(
    synthetic: Synthetic,
    match_at: MatchAt,
    experts: Placed,
    config: MatchingConfig,
    seed: int,
    iteration: int,
) -> MatchingGradient:
    """The mean over `experts_per_step` experts, each drawn at random, divided over ranks.

    A rank holds the gradients of its own experts and their mean, each as large as what is learnt:
    for 25,000 images of 224 px that is 15 GB each. What it hears of the others is added up piece
    by piece (`ranks.mean_in_order`).
    """
    gradients = []
    for i in ranks.share(range(config.experts_per_step)):
        draws = seeding.generator(seed, "mkdt", iteration, i)
        start, goal = draw_expert(experts, config, draws)
        batches = draw_batches(len(synthetic.images), config, draws, synthetic.images.device)
        gradients.append(
            match_at(iteration, i)(
                start=start,
                goal=goal,
                images=synthetic.images,
                targets=synthetic.targets,
                lr=synthetic.log_lr.exp(),
                batches=batches,
            )
        )
    number = synthetic.log_lr
    like = {"loss": number, "images": synthetic.images, "targets": synthetic.targets, "lr": number}
    return MatchingGradient(
        **{
            name: ranks.mean_in_order(
                [getattr(g, name) for g in gradients], total=config.experts_per_step, like=one
            )
            for name, one in like.items()
        }
    )


def draw_expert(
    experts: Placed, config: MatchingConfig, draws: torch.Generator
) -> tuple[Parameters, Parameters]:
    """An expert's parameters at a random epoch s, and at s + expert_epochs."""
    k = int(torch.randint(len(experts), (), generator=draws))
    s = int(torch.randint(config.max_start_epoch, (), generator=draws))
    return experts.at(k, s), experts.at(k, s + config.expert_epochs)


def draw_batches(
    count: int, config: MatchingConfig, draws: torch.Generator, device: torch.device
) -> list[Index]:
    """T batches of indices without replacement, reshuffled after each pass over the images."""
    batches: list[Tensor] = []
    while len(batches) < config.inner_steps:
        batches += torch.randperm(count, generator=draws).to(device).split(config.batch)
    return batches[: config.inner_steps]


def search_inner_lr(
    inner: InnerGradient | Sequence[InnerGradient],
    synthetic: Synthetic,
    experts: Placed,
    config: MatchingConfig,
    seed: int,
    tries: int = 3,
    first: float = 0.02,
) -> float:
    """The inner rate that minimises the initial matching loss, averaged over `tries` experts.

    Doubles the rate from `first` until the loss has risen; a parabola through the best three, in
    log rate, gives the minimum. `inner` is as in `matching_gradient`; experts are divided over
    ranks.
    """
    device = synthetic.images.device
    cases = []
    for i in ranks.share(range(tries)):
        draws = seeding.generator(seed, "mkdt", "rate", i)
        start, goal = draw_expert(experts, config, draws)
        cases.append((start, goal, draw_batches(len(synthetic.images), config, draws, device)))

    def mean_loss(candidate: float) -> float:
        lr = torch.full_like(synthetic.log_lr, candidate)
        values = [
            matching_loss(
                train(
                    inner,
                    start=start,
                    images=synthetic.images,
                    targets=synthetic.targets,
                    lr=lr,
                    batches=batches,
                    momentum=config.inner_momentum,
                ),
                start,
                goal,
            )
            for start, goal, batches in cases
        ]
        return float(torch.stack(ranks.in_order(values, total=tries, like=lr)).mean())

    return minimum_by_doubling(mean_loss, first=first, doublings=10)


def minimum_by_doubling(value: Callable[[float], float], *, first: float, doublings: int) -> float:
    """The positive argument that minimises a unimodal function.

    >>> round(minimum_by_doubling(lambda x: math.log(x / 0.3) ** 2, first=0.02, doublings=10), 6)
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
