"""Experts: students trained by knowledge distillation, with their parameters saved every epoch.

They train only for the epochs that matching reads: max_start_epoch + expert_epochs - 1.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import atomic, checkpoint, ranks, seeding, storage
from decoct.core.claims import claim_of, one_by_one
from decoct.core.compilation import compiled, pays
from decoct.core.console import Advance, progress
from decoct.core.device import arithmetic
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.models.network import Network
from decoct.models.registry import create_network
from decoct.training.expert import ExpertsConfig, ExpertTraining, Gradient


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
            training = ExpertTraining(images, values, config, seed, gradient, state)
            if kept:
                training.repeat(*kept)
            _train_missing(training, missing, folder, create, one_start)
    ranks.wait()
    return Trajectories(tuple(expert_path(folder, k) for k in range(config.count)))


def _train_missing(
    training: ExpertTraining,
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
