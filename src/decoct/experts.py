"""Experts: students trained by knowledge distillation, whose every epoch is kept.

Only the epochs that matching reads are trained: max_start + expert_epochs - 1 of them.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct import seeding, storage
from decoct.console import Advance, progress
from decoct.data.images import Images
from decoct.errors import DecoctError
from decoct.models.registry import NetworkConfig, create_network
from decoct.targets import Targets
from decoct.trajectories import Trajectories


@dataclass(frozen=True)
class ExpertsConfig:
    """How the experts are trained; the defaults are the paper's."""

    count: int = 100
    epochs: int = 3
    network: NetworkConfig = field(default_factory=NetworkConfig)
    batch: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.count, self.epochs, self.batch) < 1:
            raise DecoctError("experts: count, epochs and batch must be at least 1")
        if self.network.name != "convnet":  # batch norm's running statistics are no parameters
            raise DecoctError(
                f"experts are ConvNets, not {self.network.name}: matching moves parameters, and a "
                "network with batch norm is more than those"
            )


def expert_path(folder: Path, k: int) -> Path:
    """Where expert k is kept."""
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
    """Train the experts that `folder` does not hold yet (of `only`, where given) to files in it.

    A file that is damaged is made again; an interrupted run loses one expert at the most.
    """
    config = config or ExpertsConfig()
    if len(targets) != len(images):
        raise DecoctError(f"{len(targets)} targets for {len(images)} images")
    device, folder = torch.device(device), Path(folder)
    missing = [
        k for k in (range(config.count) if only is None else only)
        if not storage.is_valid(expert_path(folder, k), kind="expert")
    ]  # fmt: skip
    if missing:
        images, values = images.to(device), targets.values.to(device)
        steps = len(missing) * config.epochs
        with progress("experts, epochs", total=steps) as advance:
            for k in missing:
                tensors = _train_expert(images, values, config, seed, k, advance)
                meta = {"config": asdict(config), "seed": seed, "expert": k}
                storage.save_tensors(expert_path(folder, k), tensors, kind="expert", meta=meta)
    return Trajectories(tuple(expert_path(folder, k) for k in range(config.count)))


def _train_expert(
    images: Images, values: Tensor, config: ExpertsConfig, seed: int, k: int, advance: Advance
) -> dict[str, Tensor]:
    with seeding.seeded(seed, "experts", k, "initialisation"):
        network = create_network(
            config.network, channels=images.channels, size=images.size, outputs=values.shape[1]
        ).to(values.device)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=config.lr, momentum=config.momentum,
        weight_decay=config.weight_decay,
    )  # fmt: skip
    path, losses = [parameters_to_vector(network.parameters()).detach().cpu()], []
    for epoch in range(config.epochs):
        order = torch.randperm(len(images), generator=seeding.generator(seed, "experts", k, epoch))
        total = torch.zeros((), device=values.device)
        for index in order.to(values.device).split(config.batch):
            loss = F.mse_loss(network(images.normalised(index)), values[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(index)
        path.append(parameters_to_vector(network.parameters()).detach().cpu())
        losses.append(float(total) / len(images))
        if not bool(path[-1].isfinite().all()):
            raise DecoctError(
                f"expert {k} diverged in epoch {epoch}; lower experts.lr, or scale the targets"
            )
        advance(f"loss {losses[-1]:.4g}")
    return {"parameters": torch.stack(path), "losses": torch.tensor(losses)}


@torch.no_grad()  # not inference_mode: the trajectories keep what is read here
def difficulty(
    *,
    images: Images,
    targets: Targets,
    trajectories: Trajectories,
    device: torch.device | str = "cpu",
    batch: int = 1024,
) -> Tensor:
    """Each image's squared error after epoch 1, mean over dimensions and experts: N, on the CPU.

    The images that students find hardest are where the paper starts from (section 5.2).
    """
    device = torch.device(device)
    images, values = images.to(device), targets.values.to(device)
    network = create_network(
        trajectories.network, channels=images.channels, size=images.size,
        outputs=targets.dimensions,
    ).to(device)  # fmt: skip
    total = torch.zeros(len(images), device=device)
    with progress("difficulty, experts", total=len(trajectories)) as advance:
        for k in range(len(trajectories)):
            torch.nn.utils.vector_to_parameters(
                trajectories.expert(k)[1].to(device), network.parameters()
            )
            for index in torch.arange(len(images), device=device).split(batch):
                error = network(images.normalised(index)) - values[index]
                total[index] += error.square().mean(1)
            advance("")
    return (total / len(trajectories)).cpu()
