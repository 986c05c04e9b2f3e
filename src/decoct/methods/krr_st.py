"""KRR-ST: kernel ridge regression on the synthetic set says what the teacher says of real images.

Lee et al., "Self-supervised dataset distillation for transfer learning", ICLR 2024. Features are
those of a pool of networks in training on the synthetic set; images and targets are learnt.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, TrainingRule, versions
from decoct.artefacts.targets import Targets
from decoct.core import checkpoint, seeding
from decoct.core.console import Metrics, note, progress
from decoct.core.device import arithmetic
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.matching.kernel_ridge import exact, predict, ridge_penalty, with_bias
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.population import Pool


@dataclass(frozen=True)
class KRRSTConfig:
    """How a set is distilled; the defaults are the published ones for CIFAR-100.

    That is weeks of a CPU. A short run needs a higher `lr`, for a pixel moves by `lr` an iteration
    at the most: 300 iterations at 0.02, of a pool of 4 networks of width 32, living 100 steps.
    """

    iterations: int = 160_000
    batch: int = 1024  # real images an iteration
    lr: float = 1e-4  # of AdamW, for images and targets, falling linearly to 0; published also 1e-5
    weight_decay: float = 0.0  # of AdamW
    ridge: float = 1e-6  # lambda over the trace of the kernel
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="convnet-bn"))
    pool: int = 10  # networks
    pool_steps: int = 1000  # steps a network lives for
    pool_lr: float = 0.1  # of SGD, on the whole synthetic set
    pool_momentum: float = 0.9
    pool_weight_decay: float = 1e-3
    reset_counter: bool = True  # False: as released, networks made anew never train again
    precision: Literal["float32", "tf32"] = "float32"  # of convolutions; tf32 is for CUDA
    checkpoint_every: int = 200  # iterations

    def __post_init__(self) -> None:
        least = {"iterations": 1, "batch": 1, "pool": 1, "pool_steps": 2, "checkpoint_every": 1}
        for name, count in least.items():
            if getattr(self, name) < count:
                raise DecoctError(
                    f"krr_st.{name} is {getattr(self, name)}; at least {count} is needed"
                )
        for name in ("lr", "pool_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise DecoctError(f"krr_st.{name} is {getattr(self, name)}; give a positive one")
        for name in ("weight_decay", "pool_weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise DecoctError(f"krr_st.{name} is {getattr(self, name)}; give 0 or more")
        if not 0 <= self.pool_momentum < 1:
            raise DecoctError(f"krr_st.pool_momentum is {self.pool_momentum}; give one in [0, 1)")
        if not 1e-12 <= self.ridge < math.inf:  # below, float64 cannot tell it from rounding
            raise DecoctError(f"krr_st.ridge is {self.ridge}; at least 1e-12 is needed")


# As real images are pre-trained on, so that methods differ in their sets alone. KRR-ST's own
# evaluation has ten times the weight decay, made for 1,000 epochs.
_RULE = TrainingRule(lr=0.1, momentum=0.9, weight_decay=1e-4, batch=256)


def krr_st(
    *,
    images: Images,
    targets: Targets,
    start: Tensor,
    config: KRRSTConfig | None = None,
    rule: TrainingRule = _RULE,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `start` (int64, m) and their targets; the set carries `rule`.

    Real images are not augmented, unlike as published: the teacher would have to see each crop,
    and may not be here (targets come from a file). A crop with the whole image's target is a wrong
    pair, so there is no such option. A network whose life of `pool_steps` is over is made anew with
    its counter at 0, untrained; only the first ones start at ages drawn from [1, pool_steps).

    `state` is where a checkpoint is kept; with one there, distilling goes on from it, to the same
    bits. Where the loss becomes non-finite it stops, with the last good state. Raises `DecoctError`
    where there are no images or too few targets, a network of the pool diverges, or the very first
    loss is not finite.
    """
    config, device = config or KRRSTConfig(), torch.device(device)
    if len(start) < 1:
        raise DecoctError("a distilled set of 0 images was asked for")
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    real = images.subset(start).to(device).normalised()
    values = targets.values.to(device)
    pool = _pool(images, targets, config, seed, device)
    learner = _Learner(real, values[start.to(device)], pool, weight_decay=config.weight_decay)
    saved = checkpoint.load(state)
    if saved is not None:
        learner.restore(*saved)
    with arithmetic(config.precision):
        learner.fill_pool(config.pool, state)
        _learn(learner, images.to(device), values, config, seed, state, Metrics(metrics))
    return DistilledSet(
        images=learner.images.cpu(),
        targets=learner.targets.cpu(),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        rule=rule,
        method="krr-st",
        start=real.cpu(),
        index=start,
        network=config.network,
        history={"loss": torch.tensor(learner.losses)},
        story={"config": asdict(config), "seed": seed, "images": images.name, **versions()},
    )


def outer_gradient(
    network: Network,
    images: Tensor,
    targets: Tensor,
    *,
    real: Tensor,
    goal: Tensor,
    ridge: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (scalar), and its gradients for images (m x C x H x W) and targets (m x D).

    The loss is the mean squared error between what the regression from (images, targets) predicts
    for `real` (B x C x H x W), and `goal` (B x D). `network` must be in eval mode.
    """
    x, y = images.detach().requires_grad_(), targets.detach().requires_grad_()
    with torch.no_grad():
        seen = with_bias(exact(network.features(real)))
    synthetic = with_bias(exact(network.features(x)))
    penalty = ridge_penalty(synthetic, ridge=ridge)
    loss = F.mse_loss(predict(seen, synthetic, exact(y), penalty=penalty), exact(goal))
    slopes = torch.autograd.grad(loss, [x, y])
    return loss.detach(), slopes[0], slopes[1]


class _Learner:
    """What is learnt, its optimiser, the pool, and the history of the loss."""

    def __init__(self, images: Tensor, targets: Tensor, pool: Pool, *, weight_decay: float) -> None:
        self.images, self.targets, self.pool = images.clone(), targets.clone(), pool
        self.optimiser = torch.optim.AdamW([self.images, self.targets], weight_decay=weight_decay)
        self.losses: list[float] = []
        self._good = self._copy()

    def fill_pool(self, count: int, state: Path | None) -> None:
        """Train the networks that are not there yet, and keep each."""
        with progress("KRR-ST, networks", total=count, done=len(self.pool)) as advance:
            while len(self.pool) < count:
                self.pool.grow(self.images, self.targets)
                self.save(state)
                advance(f"{self.pool.ages[-1]} steps")

    def step(self, loss: Tensor, images: Tensor, targets: Tensor, *, lr: float) -> None:
        """One step along the gradients for images and targets, recorded."""
        self._good = self._copy()
        self.losses.append(loss.item())
        self.images.grad, self.targets.grad = images, targets
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.step()

    def back_to_last_good(self) -> None:
        """Undo the step that led to a non-finite loss."""
        self.images, self.targets = self._good

    def _copy(self) -> tuple[Tensor, Tensor]:
        return self.images.clone(), self.targets.clone()

    def save(self, path: Path | None) -> None:
        """Keep a checkpoint, where there is a path for one."""
        if path is not None:
            tensors = {"images": self.images, "targets": self.targets, **self.pool.tensors()}
            tensors |= checkpoint.optimiser_tensors("optimiser", self.optimiser)
            checkpoint.save(path, tensors, meta={"losses": self.losses, "ages": self.pool.ages})

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.images.copy_(tensors["images"])
        self.targets.copy_(tensors["targets"])
        checkpoint.restore_optimiser("optimiser", self.optimiser, tensors)
        self.pool.restore(tensors, meta["ages"])
        self.losses, self._good = meta["losses"], self._copy()


def _pool(
    images: Images, targets: Targets, config: KRRSTConfig, seed: int, device: torch.device
) -> Pool:
    def create() -> Network:
        return create_network(
            config.network, channels=images.channels, size=images.size, outputs=targets.dimensions
        ).to(device)

    sgd = partial(
        torch.optim.SGD,
        lr=config.pool_lr,
        momentum=config.pool_momentum,
        weight_decay=config.pool_weight_decay,
    )
    return Pool(
        create, sgd, lifetime=config.pool_steps, reset_counter=config.reset_counter, seed=seed
    )


def _learn(
    learner: _Learner,
    images: Images,
    values: Tensor,
    config: KRRSTConfig,
    seed: int,
    state: Path | None,
    log: Metrics,
) -> None:
    pool, done = learner.pool, len(learner.losses)
    batches = _batches(len(images), config, seed, done)
    with progress("KRR-ST, iterations", total=config.iterations, done=done) as advance:
        for iteration, (index, real) in enumerate(
            stream(images, batches, device=values.device), done
        ):
            draws = seeding.generator(seed, "krr-st", iteration)
            k = int(torch.randint(config.pool, (), generator=draws))
            gradient = outer_gradient(
                pool.networks[k],
                learner.images,
                learner.targets,
                real=real,
                goal=values[index],
                ridge=config.ridge,
            )
            if not all(bool(tensor.isfinite().all()) for tensor in gradient):
                if iteration == 0:
                    raise DecoctError("KRR-ST's first loss is not finite; lower krr_st.pool_lr")
                note(f"KRR-ST: non-finite loss at iteration {iteration}; kept the state before it")
                learner.back_to_last_good()
                return
            if iteration > done and iteration % config.checkpoint_every == 0:
                learner.save(state)  # before the step: what is kept is known to be good
            log.write(iteration=iteration, loss=gradient[0].item(), network=k, age=pool.ages[k])
            learner.step(*gradient, lr=config.lr * (1 - iteration / config.iterations))
            pool.advance(k, learner.images, learner.targets, iteration=iteration)
            advance(f"loss {learner.losses[-1]:.4g}")


def _batches(count: int, config: KRRSTConfig, seed: int, done: int) -> Iterator[Tensor]:
    """A batch of real images' indices for each iteration that is left, without replacement."""
    for iteration in range(done, config.iterations):
        draws = seeding.generator(seed, "krr-st", iteration, "batch")
        yield torch.randperm(count, generator=draws)[: config.batch]
