"""Experts: students trained by knowledge distillation, with their parameters saved every epoch.

They train only for the epochs that matching reads: max_start_epoch + expert_epochs - 1.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import atomic, checkpoint, failing_step, ranks, seeding, storage
from decoct.core.claims import claim_of, one_by_one
from decoct.core.compilation import Compile, compiled, pays
from decoct.core.console import Advance, note, progress
from decoct.core.device import Precision, arithmetic
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.failing_step import FiniteThisTime
from decoct.core.settings import Bounds, Count, Momentum, NonNegative, Positive, Settings
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
    state: Path | None = None,
) -> Trajectories:
    """Train the experts that `folder` lacks (of those in `only`, if given), and save them there.

    Any number of processes and machines may do so at once in a folder that they share: each claims
    the next expert that is missing, and takes over what one that dies has left. All return when all
    experts are there; which of them made an expert does not change it.

    A damaged file is made again. An interrupted run loses the expert in training; a killed run may
    also lose the one before it, if that was still being written. If an expert diverges, its epoch
    is repeated; if it does so again, it raises `DivergedError`, and the state before the failing
    step is kept beside `state`.
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
        state=state,
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
    state: Path | None = None,
) -> Trajectories:
    """As `train_experts`, for any loss of a network with `outputs`, and of `values` (N x D).

    The loss may draw from torch's global generators, which are seeded for each epoch. With
    `one_start` all experts start from expert 0's parameters and differ only in later draws.
    """
    device, folder = torch.device(device), Path(folder)
    kept = checkpoint.load(state)
    wanted = [] if kept else list(range(config.count) if only is None else only)
    missing = [k for k in wanted if not _is_there(folder, k)]
    create = partial(
        create_network,
        config.network,
        channels=images.channels,
        size=images.size,
        outputs=outputs,
    )
    if missing or kept:
        images, values = images.to(device), values.to(device)
        with arithmetic(config.precision) as dtype:
            gradient = make_gradient(create().to(device), images, config, dtype)
            training = _Training(images, values, config, seed, gradient, state)
            if kept:
                training.repeat(*kept)
            _train_missing(training, missing, folder, create, one_start)
    ranks.wait()
    return Trajectories(tuple(expert_path(folder, k) for k in range(config.count)))


def _train_missing(
    training: "_Training",
    missing: list[int],
    folder: Path,
    create: Callable[[], Network],
    one_start: bool,
) -> None:
    """Train one expert after another, until others and we have made all that are missing.

    Each file is written while the next expert trains, and is claimed until it is there.
    """
    config, seed = training.config, training.seed
    writing: list[Future[None]] = []
    with (
        ThreadPoolExecutor(1) as writer,
        progress("experts, epochs", total=len(missing) * config.epochs) as advance,
    ):
        left = _Left(folder, _turned(missing), config.epochs, advance)
        for k, claim in left.one_by_one():
            with claim:
                with seeding.seeded(seed, "experts", 0 if one_start else k, "initialisation"):
                    theta = parameters_to_vector(create().parameters()).detach()
                tensors = training.expert(k, theta.to(training.values.device), advance)
                meta = {"config": asdict(config), "seed": seed, "expert": k}
                _wait(writing)
                writing.append(
                    writer.submit(_write, claim.pop_all(), expert_path(folder, k), tensors, meta)
                )
            left.numbers.remove(k)
        _wait(writing)


def _turned(missing: list[int]) -> list[int]:
    """Beginning where no other rank does, so that they seldom want the same."""
    first = ranks.rank() * len(missing) // ranks.world()
    return missing[first:] + missing[:first]


@dataclass(frozen=True)
class _Left:
    """The experts that neither others nor we have made."""

    folder: Path
    numbers: list[int]
    epochs: int
    advance: Advance

    def one_by_one(self) -> Iterator[tuple[int, ExitStack]]:
        """Those that nobody else makes, each with its claim, until all are there."""
        atomic.make_folder(self.folder)
        return one_by_one(
            self._look,
            claim=lambda k: claim_of(expert_path(self.folder, k)),
            is_there=partial(_is_there, self.folder),
            waiting_for=lambda left: f"{len(left)} expert{'s' * (len(left) > 1)}",
        )

    def _look(self) -> list[int]:
        """Count what others have made as done."""
        for k in [k for k in self.numbers if _is_there(self.folder, k)]:
            self.numbers.remove(k)
            for _ in range(self.epochs):
                self.advance("made by another process")
        return self.numbers


def _is_there(folder: Path, k: int) -> bool:
    return storage.is_valid(expert_path(folder, k), kind="expert")


def _write(claim: ExitStack, path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    with claim:
        storage.save_tensors(path, tensors, kind="expert", meta=meta)


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


@dataclass(frozen=True)
class _At:
    """Where an expert's training is: nothing of it is changed in place."""

    theta: Tensor
    velocity: Tensor
    total: Tensor  # of the epoch's losses
    step: int = 0  # of the epoch

    @property
    def is_finite(self) -> bool:
        return failing_step.all_finite([self.theta, self.velocity, self.total])


@dataclass(frozen=True)
class _Training:
    """What all experts have in common."""

    images: Images
    values: Tensor
    config: ExpertsConfig
    seed: int
    gradient: Gradient
    state: Path | None

    def expert(self, k: int, theta: Tensor, advance: Advance) -> dict[str, Tensor]:
        """Train expert k from its first parameters on."""
        velocity, path, losses = torch.zeros_like(theta), [theta.cpu()], []
        for epoch in range(self.config.epochs):
            began = at = _At(theta, velocity, theta.new_zeros(()))
            for step in self._steps(k, epoch, began):
                at = step
            if not at.is_finite:
                note(f"expert {k}: not finite in epoch {epoch}; repeating its steps")
                at = self._look(k, epoch, began)
                note(f"expert {k}: finite this time; going on")
            theta, velocity = at.theta, at.velocity
            path.append(theta.cpu())
            losses.append(float(at.total) / len(self.images))
            advance(f"loss {losses[-1]:.4g}")
        dtype: torch.dtype = getattr(torch, self.config.dtype)
        parameters = torch.stack(path).to(dtype)
        if not bool(parameters.isfinite().all()):
            raise DivergedError(
                f"the parameters of expert {k} are too large for {self.config.dtype}; use another "
                "experts.dtype, or lower experts.lr"
            )
        return {"parameters": parameters, "losses": torch.tensor(losses)}

    @torch.no_grad()
    def _steps(
        self, k: int, epoch: int, at: _At, draws: Mapping[str, Tensor] | None = None
    ) -> Iterator[_At]:
        """The rest of an epoch; `draws` are what its first step draws from, if it has begun."""
        config = self.config
        order = torch.randperm(
            len(self.images), generator=seeding.generator(self.seed, "experts", k, epoch)
        )
        batches = order.split(config.batch)[at.step :]
        with seeding.seeded(self.seed, "experts", k, epoch, "views"):
            if at.step and draws:
                failing_step.restore_draws(draws)
            for index, pictures in stream(self.images, batches, device=at.theta.device):
                loss, slope = self.gradient(at.theta, pictures, self.values[index])
                velocity = config.momentum * at.velocity + slope + config.weight_decay * at.theta
                at = _At(
                    theta=at.theta - config.lr * velocity,
                    velocity=velocity,
                    total=at.total + loss * len(index),
                    step=at.step + 1,
                )
                yield at

    def _look(self, k: int, epoch: int, before: _At) -> _At:
        """As `_steps`, but look at each, and raise if it is not finite."""
        steps = self._steps(k, epoch, before)
        while True:
            draws = failing_step.with_draws({})
            at = next(steps, None)
            if at is None:
                return before
            if not at.is_finite:
                raise self._diverged(k, epoch, before, draws)
            before = at

    def _diverged(
        self, k: int, epoch: int, before: _At, draws: Mapping[str, Tensor]
    ) -> DivergedError:
        where = failing_step.where_not_finite(lambda: next(self._steps(k, epoch, before, draws)))
        tensors = {"theta": before.theta, "velocity": before.velocity, "total": before.total}
        said = failing_step.keep(
            self.state,
            {**tensors, **draws},
            meta={"expert": k, "epoch": epoch, "steps": before.step},
            step=f"step {before.step} of epoch {epoch}",
            where=where,
        )
        return DivergedError(
            f"expert {k} diverged in epoch {epoch}; lower experts.lr (of mtt-ssl's experts "
            f"mtt_ssl.lr), or scale the targets ({said})"
        )

    def repeat(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take the step that was kept, and raise whether it is finite or not."""
        device = self.values.device
        theta, velocity, total = (tensors[n].to(device) for n in ("theta", "velocity", "total"))
        before = _At(theta, velocity, total, step=meta["steps"])
        k, epoch = meta["expert"], meta["epoch"]
        if next(self._steps(k, epoch, before, tensors)).is_finite:
            raise FiniteThisTime(f"step {before.step} of epoch {epoch} of expert {k}")
        raise self._diverged(k, epoch, before, tensors)
