"""KRR-ST: kernel ridge regression on the synthetic set predicts the targets of real images.

Lee et al., "Self-supervised dataset distillation for transfer learning", ICLR 2024. The features
come from a population of networks that train on the synthetic set; images and targets are learnt.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, versions
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.core import checkpoint, seeding
from decoct.core.console import Metrics, note, progress
from decoct.core.device import arithmetic
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.core.settings import Bounds, Count, Momentum, NonNegative, Positive
from decoct.core.shapes import Index, Pictures, Rows, Scalar
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.matching.kernel_ridge import exact, predict, ridge_penalty, with_bias
from decoct.methods.axis import Axis, one_of, scaled
from decoct.methods.inputs import Inputs, images_of
from decoct.methods.method import FLOAT, Method, Shared, shared
from decoct.methods.random import Random
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit, training_step
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.population import Population


@dataclass(frozen=True)
class KRRST(Method):
    """How a set is distilled; the defaults are the published ones for CIFAR-100.

    On a CPU those take weeks. A short run needs a higher `lr`, because a pixel moves by at most
    `lr` per iteration: 300 iterations at 0.02, and a population of 4 networks of width 32 and
    lifetime 100.

    Pre-training follows the rule for real images, so that methods differ only in their sets.
    KRR-ST's own evaluation uses ten times the weight decay, chosen for 1,000 epochs.
    """

    name: ClassVar[str] = "krr-st"
    summary: ClassVar[str] = "images and targets learnt by kernel ridge regression"
    paper: ClassVar[str] = "Lee et al., ICLR 2024"
    synthetic: ClassVar[bool] = True
    section: ClassVar[str] = "krr_st"

    iterations: Count = 160_000
    batch: Count = 1024  # real images per iteration
    lr: Positive = 1e-4  # of AdamW, for images and targets, decaying linearly to 0; also 1e-5
    weight_decay: NonNegative = 0.0  # of AdamW
    ridge: Annotated[float, Bounds(at_least=1e-12)] = 1e-6  # lambda / trace of the kernel
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="convnet-bn"))
    population: Count = 10  # number of networks
    lifetime: Annotated[int, Bounds(at_least=2)] = 1000  # steps before a re-initialisation
    network_lr: Positive = 0.1  # of SGD, on the whole synthetic set
    network_momentum: Momentum = 0.9
    network_weight_decay: NonNegative = 1e-3
    reset_counter: bool = True  # False: as released, re-initialised networks never train again
    precision: Literal["float32", "tf32"] = "float32"  # of convolutions; tf32 is for CUDA
    checkpoint_every: Count = 200  # iterations
    rule: Shared[TrainingRule] = shared(TrainingRule)

    def needs(self) -> tuple[str, ...]:
        """The random images that it starts from."""
        return ("images", "targets", images_of(Random.name))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """Learn images and targets, starting from random images."""
        return krr_st(
            images=inputs.images,
            targets=inputs.targets,
            index=inputs.images_of(Random.name),
            config=self,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
            metrics=place.metrics,
        )

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """Images that networks process, forward and backward; real ones forward only."""
        m = sizes.count
        an_iteration = 2 * m + min(self.batch, sizes.images) / 3
        first = self.population * self.lifetime / 2 * m
        return {training_step(self.network, m): self.iterations * an_iteration + first}

    def memory(self, sizes: Sizes) -> Mapping[str, int]:
        """The networks with their momentum, and the activations of a step on the whole set."""
        parameters = sizes.parameters(self.network, sizes.dimensions)
        activations = sizes.activations(self.network, sizes.dimensions)
        numbers = 2 * self.population * parameters + 2 * sizes.count * activations
        return {"networks and step of krr-st": numbers * FLOAT}

    def networks(self, dimensions: int) -> tuple[tuple[NetworkConfig, int], ...]:
        """The population's network."""
        return ((self.network, dimensions),)

    def axes(self) -> tuple[Axis, ...]:
        """The settings that an ablation may vary."""
        return (
            Axis("population", "how many networks", "krr_st.population", one_of(1, 4, 10)),
            Axis("lifetime", "a network's steps", "krr_st.lifetime", scaled(0.5, 1, 2)),
        )


def krr_st(
    *,
    images: Images,
    targets: Targets,
    index: Index,
    config: KRRST | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    metrics: Path | None = None,
) -> DistilledSet:
    """Distil the images at `index` (int64, m) and their targets.

    Unlike in the paper, real images are not augmented: the teacher would have to embed each crop,
    and there may be no teacher (targets can come from a file). A crop with the whole image's target
    is a wrong pair, so there is no such option. A network that has taken `lifetime` steps is
    re-initialised, untrained, with its counter at 0; only the initial networks start at ages drawn
    from [1, lifetime).

    `state` is the checkpoint's path; if one exists, distillation resumes from it, bit-identically.
    If the loss becomes non-finite, it stops with the last good state. Raises `DecoctError` if there
    are no images or too few targets, a network diverges, or the very first loss is not finite.
    """
    config, device = config or KRRST(), torch.device(device)
    if len(index) < 1:
        raise DecoctError("a distilled set of 0 images was requested; ask for at least 1")
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    real = images.subset(index).to(device).normalised()
    values = targets.values.to(device)
    population = _population(images, targets, config, seed, device)
    synthetic = _Synthetic(
        real, values[index.to(device)], population, weight_decay=config.weight_decay
    )
    saved = checkpoint.load(state)
    if saved is not None:
        synthetic.restore(*saved)
    with arithmetic(config.precision):
        synthetic.fill_population(config.population, state)
        _learn(synthetic, images.to(device), values, config, seed, state, Metrics(metrics))
    return DistilledSet(
        images=synthetic.images.cpu(),
        targets=synthetic.targets.cpu(),
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        rule=config.rule,
        method=KRRST.name,
        initial=real.cpu(),
        index=index,
        network=config.network,
        history={"loss": torch.tensor(synthetic.losses)},
        provenance={"config": asdict(config), "seed": seed, "images": images.name, **versions()},
    )


def outer_gradient(
    network: Network,
    images: Pictures,
    targets: Rows,
    *,
    real: Float[Tensor, "real channel height width"],
    goal: Float[Tensor, "real dimension"],
    ridge: float,
) -> tuple[Scalar, Pictures, Rows]:
    """The loss (scalar), and its gradients for images (m x C x H x W) and targets (m x D).

    The loss is the mean squared error between `goal` (B x D) and the prediction, by regression from
    (images, targets), for `real` (B x C x H x W). `network` must be in eval mode.
    """
    x, y = images.detach().requires_grad_(), targets.detach().requires_grad_()
    with torch.no_grad():
        seen = with_bias(exact(network.features(real)))
    synthetic = with_bias(exact(network.features(x)))
    penalty = ridge_penalty(synthetic, ridge=ridge)
    loss = F.mse_loss(predict(seen, synthetic, exact(y), penalty=penalty), exact(goal))
    slopes = torch.autograd.grad(loss, [x, y])
    return loss.detach(), slopes[0], slopes[1]


class _Synthetic:
    """The learnt variables, their optimiser, the networks, and the history of the loss."""

    def __init__(
        self, images: Tensor, targets: Tensor, population: Population, *, weight_decay: float
    ) -> None:
        self.images, self.targets, self.population = images.clone(), targets.clone(), population
        self.optimiser = torch.optim.AdamW([self.images, self.targets], weight_decay=weight_decay)
        self.losses: list[float] = []
        self._good = self._copy()

    def fill_population(self, count: int, state: Path | None) -> None:
        """Train the networks that are still missing, with a checkpoint after each."""
        with progress("KRR-ST, networks", total=count, done=len(self.population)) as advance:
            while len(self.population) < count:
                self.population.grow(self.images, self.targets)
                self.save(state)
                advance(f"{self.population.ages[-1]} steps")

    def step(self, loss: Tensor, images: Tensor, targets: Tensor, *, lr: float) -> None:
        """Take and record one step along the gradients for images and targets."""
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
        """Write a checkpoint, if there is a path for one."""
        if path is not None:
            tensors = {"images": self.images, "targets": self.targets, **self.population.tensors()}
            tensors |= checkpoint.optimiser_tensors("optimiser", self.optimiser)
            checkpoint.save(
                path, tensors, meta={"losses": self.losses, "ages": self.population.ages}
            )

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.images.copy_(tensors["images"])
        self.targets.copy_(tensors["targets"])
        checkpoint.restore_optimiser("optimiser", self.optimiser, tensors)
        self.population.restore(tensors, meta["ages"])
        self.losses, self._good = meta["losses"], self._copy()


def _population(
    images: Images, targets: Targets, config: KRRST, seed: int, device: torch.device
) -> Population:
    def create() -> Network:
        return create_network(
            config.network, channels=images.channels, size=images.size, outputs=targets.dimensions
        ).to(device)

    sgd = partial(
        torch.optim.SGD,
        lr=config.network_lr,
        momentum=config.network_momentum,
        weight_decay=config.network_weight_decay,
    )
    return Population(
        create, sgd, lifetime=config.lifetime, reset_counter=config.reset_counter, seed=seed
    )


def _learn(
    synthetic: _Synthetic,
    images: Images,
    values: Tensor,
    config: KRRST,
    seed: int,
    state: Path | None,
    log: Metrics,
) -> None:
    population, done = synthetic.population, len(synthetic.losses)
    batches = _batches(len(images), config, seed, done)
    with progress("KRR-ST, iterations", total=config.iterations, done=done) as advance:
        for iteration, (index, real) in enumerate(
            stream(images, batches, device=values.device), done
        ):
            draws = seeding.generator(seed, "krr-st", iteration)
            k = int(torch.randint(config.population, (), generator=draws))
            gradient = outer_gradient(
                population.networks[k],
                synthetic.images,
                synthetic.targets,
                real=real,
                goal=values[index],
                ridge=config.ridge,
            )
            if not all(bool(tensor.isfinite().all()) for tensor in gradient):
                if iteration == 0:
                    raise DecoctError("KRR-ST's first loss is not finite; lower krr_st.network_lr")
                note(f"KRR-ST: non-finite loss at iteration {iteration}; kept the state before it")
                synthetic.back_to_last_good()
                return
            if iteration > done and iteration % config.checkpoint_every == 0:
                synthetic.save(state)  # before the step: this state is known to be good
            log.write(
                iteration=iteration, loss=gradient[0].item(), network=k, age=population.ages[k]
            )
            synthetic.step(*gradient, lr=config.lr * (1 - iteration / config.iterations))
            population.advance(k, synthetic.images, synthetic.targets, iteration=iteration)
            advance(f"loss {synthetic.losses[-1]:.4g}")


def _batches(count: int, config: KRRST, seed: int, done: int) -> Iterator[Tensor]:
    """A batch of indices of real images, without replacement, for each remaining iteration."""
    for iteration in range(done, config.iterations):
        draws = seeding.generator(seed, "krr-st", iteration, "batch")
        yield torch.randperm(count, generator=draws)[: config.batch]
