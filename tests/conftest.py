"""What the tests share: tiny images, targets and experts, and one thread to compute on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from threadpoolctl import threadpool_limits
from torch import Tensor

from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.experts import ExpertsConfig, train_experts
from decoct.models.registry import NetworkConfig
from decoct.targets import Targets, TargetsConfig, fit_targets
from decoct.trajectories import Trajectories

# The same examples at every run; nothing is written to the working directory.
settings.register_profile("decoct", deadline=None, derandomize=True, database=None)
settings.load_profile("decoct")

SIZE, COUNT, DIMENSIONS = 16, 40, 4


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def smooth_pixels(count: int, seed: int, size: int = SIZE, channels: int = 3) -> Tensor:
    """uint8 blobs: random 4 x 4 colours, blown up, with a little noise."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=draws)
    fine = F.interpolate(coarse, (size, size), mode="bilinear")
    noise = 0.1 * torch.rand(fine.shape, generator=draws)
    return ((fine + noise).clamp(0, 1) * 255).to(torch.uint8)


@pytest.fixture(scope="session")
def tiny_images() -> Images:
    """40 colour images of 16 px."""
    return Images.from_array(smooth_pixels(COUNT, seed=0), name="tiny")


@pytest.fixture(scope="session")
def tiny_targets(tiny_images: Images) -> Targets:
    """4-d targets that a network can learn: a fixed random projection of the images."""
    flat = tiny_images.normalised().flatten(1)
    projection = torch.randn(flat.shape[1], DIMENSIONS, generator=torch.Generator().manual_seed(1))
    return fit_targets(torch.tanh(flat @ projection / 10), TargetsConfig())


@pytest.fixture(scope="session")
def tiny_experts_config() -> ExpertsConfig:
    """Two experts of three epochs, of the smallest ConvNet that is still one."""
    network = NetworkConfig(width=4, depth=2)
    return ExpertsConfig(count=2, epochs=3, network=network, batch=16, lr=0.05)


@pytest.fixture(scope="session")
def tiny_trajectories(
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trajectories:
    """What those experts went through. Read-only: the session shares it."""
    folder: Path = tmp_path_factory.mktemp("experts")
    return train_experts(
        images=tiny_images, targets=tiny_targets, folder=folder, config=tiny_experts_config
    )


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    """Three classes of images, told apart by their stripes: 10, 20 and 30 of each to train on."""
    across = torch.arange(SIZE) // 2 % 2
    stripes = torch.stack(
        torch.broadcast_tensors(across, across[:, None], across ^ across[:, None])
    )
    parts = []
    for part, counts in (("train", (10, 20, 30)), ("test", (8, 8, 8))):
        labels = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
        pixels = smooth_pixels(len(labels), seed=len(part)).float() / 2
        pixels += 120 * stripes[labels].unsqueeze(1)
        names = ("upright", "level", "chequered")
        parts.append(Images.from_array(pixels.to(torch.uint8), labels=labels, class_names=names))
    return Task(name="stripes", train=parts[0], test=parts[1])
