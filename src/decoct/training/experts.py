"""Experts: students trained by knowledge distillation, with their parameters saved every epoch.

They train only for the epochs that matching reads: max_start_epoch + expert_epochs - 1.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import seeding, storage
from decoct.core.compilation import Compile, compiled, pays
from decoct.core.console import Advance, progress
from decoct.core.device import Precision, arithmetic
from decoct.core.errors import DecoctError
from decoct.core.settings import Bounds, Count, Momentum, NonNegative, Positive, Settings
from decoct.core.shapes import PerImage
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network


@dataclass(frozen=True)
class ExpertsConfig(Settings):
    """How the experts are trained; the defaults are the paper's."""

    section: ClassVar[str] = "experts"

    # how many students are trained
    count: Annotated[int, Bounds(at_least=1, at_most=100_000)] = 100
    epochs: Count = 3  # of each; weights are kept after every one
    network: NetworkConfig = field(default_factory=NetworkConfig)
    batch: Count = 256  # images in a step
    lr: Positive = 0.1  # of SGD
    momentum: Momentum = 0.9  # of SGD
    weight_decay: NonNegative = 1e-4  # of SGD
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of the files
    compile: Compile = "auto"  # use torch.compile; auto: if training is long enough to pay for it
    precision: Precision = "float32"  # tf32 and bfloat16 are for CUDA: faster, but less exact

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network.name != "convnet":  # running statistics of batch norm are not parameters
            raise DecoctError(
                f"experts are ConvNets, not {self.network.name}: matching moves parameters, but a "
                "network with batch norm also has running statistics"
            )


def expert_path(folder: Path, k: int) -> Path:
    """The path of expert k's file."""
    return folder / f"{k:05d}.safetensors"


def train_experts(
    *,
    images: Images,
    targets: Targets,
    folder: Path | str,
    config: ExpertsConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    only: Iterable[int] | None = None,
) -> Trajectories:
    """Train the experts that `folder` lacks (of those in `only`, if given), and save them there.

    A damaged file is made again. An interrupted run loses the expert in training; a killed run may
    also lose the one before it, if that was still being written.
    """
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    return train_experts_by(
        _distillation_gradient,
        images=images,
        values=targets.values,
        outputs=targets.dimensions,
        folder=folder,
        config=config or ExpertsConfig(),
        seed=seed,
        device=device,
        only=only,
    )


# maps (parameters P, images B x C x H x W, targets B x D) to a loss and its gradient P
Gradient = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
# maps a network, images and the type that operands are rounded to (None: unrounded) to a `Gradient`
MakeGradient = Callable[[Network, Images, ExpertsConfig, torch.dtype | None], Gradient]


def train_experts_by(
    make_gradient: MakeGradient,
    *,
    images: Images,
    values: Tensor,
    outputs: int,
    folder: Path | str,
    config: ExpertsConfig,
    seed: int,
    device: torch.device | str,
    only: Iterable[int] | None = None,
    one_start: bool = False,
) -> Trajectories:
    """As `train_experts`, for any loss of a network with `outputs`, and of `values` (N x D).

    The loss may draw from torch's global generators, which are seeded for each epoch. With
    `one_start` all experts start from expert 0's parameters and differ only in later draws.
    """
    device, folder = torch.device(device), Path(folder)
    missing = [
        k
        for k in (range(config.count) if only is None else only)
        if not storage.is_valid(expert_path(folder, k), kind="expert")
    ]
    if missing:
        images, values = images.to(device), values.to(device)
        create = partial(
            create_network,
            config.network,
            channels=images.channels,
            size=images.size,
            outputs=outputs,
        )
        _train_missing(
            images, values, config, seed, missing, folder, create, make_gradient, one_start
        )
    return Trajectories(tuple(expert_path(folder, k) for k in range(config.count)))


def _train_missing(
    images: Images,
    values: Tensor,
    config: ExpertsConfig,
    seed: int,
    missing: list[int],
    folder: Path,
    create: Callable[[], Network],
    make_gradient: MakeGradient,
    one_start: bool,
) -> None:
    """Train one expert after another; each file is written while the next expert trains."""
    writing: list[Future[None]] = []
    with (
        ThreadPoolExecutor(1) as writer,
        arithmetic(config.precision) as dtype,
        progress("experts, epochs", total=len(missing) * config.epochs) as advance,
    ):
        gradient = make_gradient(create().to(values.device), images, config, dtype)
        for k in missing:
            with seeding.seeded(seed, "experts", 0 if one_start else k, "initialisation"):
                theta = parameters_to_vector(create().parameters()).detach().to(values.device)
            tensors = _train_expert(images, values, config, seed, k, theta, gradient, advance)
            meta = {"config": asdict(config), "seed": seed, "expert": k}
            _wait(writing)
            writing.append(
                writer.submit(
                    storage.save_tensors, expert_path(folder, k), tensors, kind="expert", meta=meta
                )
            )
        _wait(writing)


def _wait(writing: list[Future[None]]) -> None:
    for file in writing:
        file.result()  # a full disk stops the run here


def _distillation_gradient(
    network: Network, images: Images, config: ExpertsConfig, dtype: torch.dtype | None
) -> Gradient:
    by_hand = ConvNetGradient(network, dtype=dtype)
    # Forward, and twice as much backward; for ten experts regardless of the count, so that expert k
    # is the same however many there are.
    passes = 3 * 10 * config.epochs * len(images)
    work = passes * sum(by_hand.multiply_adds(1, images.size))
    if pays(config.compile, multiply_adds=work, device=images.mean.device):
        return compiled(by_hand.gradient)
    return by_hand.gradient


@torch.no_grad()
def _train_expert(
    images: Images,
    values: Tensor,
    config: ExpertsConfig,
    seed: int,
    k: int,
    theta: Tensor,
    gradient: Gradient,
    advance: Advance,
) -> dict[str, Tensor]:
    velocity, path, losses = torch.zeros_like(theta), [theta.cpu()], []
    for epoch in range(config.epochs):
        order = torch.randperm(len(images), generator=seeding.generator(seed, "experts", k, epoch))
        total = torch.zeros((), device=theta.device)
        with seeding.seeded(seed, "experts", k, epoch, "views"):
            for index, pictures in stream(images, order.split(config.batch), device=theta.device):
                loss, slope = gradient(theta, pictures, values[index])
                velocity = config.momentum * velocity + slope + config.weight_decay * theta
                theta = theta - config.lr * velocity
                total += loss * len(index)
        path.append(theta.cpu())
        losses.append(float(total) / len(images))
        if not bool(path[-1].isfinite().all()):
            raise DecoctError(
                f"expert {k} diverged in epoch {epoch}; lower experts.lr (of mtt-ssl's experts "
                "mtt_ssl.lr), or scale the targets"
            )
        advance(f"loss {losses[-1]:.4g}")
    dtype: torch.dtype = getattr(torch, config.dtype)
    return {"parameters": torch.stack(path).to(dtype), "losses": torch.tensor(losses)}


@torch.no_grad()  # not inference_mode: the trajectories cache what is read here
def difficulty(
    *,
    images: Images,
    targets: Targets,
    trajectories: Trajectories,
    device: torch.device | str = "cpu",
    batch: int = 1024,
) -> PerImage:
    """Each image's squared error after epoch 1, mean over dimensions and experts: N, on the CPU.

    The paper initialises the set with the images that students find hardest (section 5.2).
    """
    device = torch.device(device)
    images, values = images.to(device), targets.values.to(device)
    network = create_network(
        trajectories.network,
        channels=images.channels,
        size=images.size,
        outputs=targets.dimensions,
    ).to(device)
    total = torch.zeros(len(images), device=device)
    with progress("difficulty, experts", total=len(trajectories)) as advance:
        for k in range(len(trajectories)):
            torch.nn.utils.vector_to_parameters(
                trajectories.expert(k)[1].to(device), network.parameters()
            )
            batches = torch.arange(len(images)).split(batch)
            for index, pictures in stream(images, batches, device=device):
                error = network(pictures) - values[index]
                total[index] += error.square().mean(1)
            advance("")
    return (total / len(trajectories)).cpu()
