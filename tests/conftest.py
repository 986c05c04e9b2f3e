"""What the tests share: tiny images, targets and experts, and one thread to compute on."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from threadpoolctl import threadpool_limits
from torch import Tensor

from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.models.registry import NetworkConfig
from decoct.run.recipe import Recipe, load_recipe
from decoct.training import loop
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts
from tests.bad_input.conftest import save_task
from tests.processes import Processes

# The same examples at every run; nothing is written to the working directory.
settings.register_profile("decoct", deadline=None, derandomize=True, database=None)
settings.load_profile("decoct")

SIZE, COUNT, DIMENSIONS = 16, 40, 4


def stand_in_for_torchvisions_operators() -> torch.library.Library | None:
    """Make torchvision importable even if its compiled part does not load.

    PyPI's torchvision is built for a CUDA build of torch. With another build its operators stay
    undefined, and then fails because these two are missing. They stay defined as long as the result
    is kept.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    try:
        for compiled in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


TORCHVISIONS_OPERATORS = stand_in_for_torchvisions_operators()


@pytest.fixture(scope="session", autouse=True)
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache for Hugging Face's libraries, which are kept offline.

    They read these variables when they are imported, so no test imports them before this.
    """
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short it is: what is resumed is to be the same from every epoch."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)


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
    """Three classes of images with distinct stripes: 10, 20 and 30 of each for training."""
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


TINY_RECIPE = """
data: {folder}
device: cpu
size: 9
images: {{source: pool.npz, size: 16, holdout: 0.25}}
targets: {{source: targets.npy}}
experts: {{count: 1, epochs: 2, batch: 16, network: {{width: 4, depth: 2}}}}
assistant: {{epochs: 1, batch: 8, network: {{width: 4, depth: 2}}}}
views: {{count: 3}}
sas: {{classes: 2}}
rule: {{batch: 4}}
matching: {{iterations: 2, inner_steps: 2, expert_epochs: 1, batch: 4, inner_lr: 0.05}}
mtt_ssl: {{objective: {{projector: 8, algorithm: simclr}}}}
krr_st:
  {{iterations: 2, population: 1, lifetime: 2, batch: 8,
    network: {{name: convnet-bn, width: 4, depth: 2}}}}
boost_ssdd:
  {{iterations: 2, population: 1, lifetime: 2, batch: 8, image_bases: 30, base_size: 8,
    labels: image, offset_epochs: 5, network: {{name: convnet-bn, width: 4, depth: 2}}}}
ssl: {{projector: 8, batch: 8}}
pretrain: {{epochs: 2, network: {{width: 4, depth: 2}}}}
probe: {{fractions: [0.3, 0.6]}}
compare: {{methods: [random, full], seeds: 1, tasks: [stripes.npz], full_epochs: 3}}
"""


@pytest.fixture
def tiny_folder(
    tmp_path: Path, tiny_images: Images, tiny_targets: Targets, tiny_task: Task
) -> Path:
    """A folder with the images, targets and task above, as a user would have them."""
    return save_tiny(tmp_path, tiny_images, tiny_targets, tiny_task)


def save_tiny(folder: Path, images: Images, targets: Targets, task: Task) -> Path:
    """Write what `TINY_RECIPE` names."""
    np.savez(folder / "pool.npz", images=images.pixels.numpy())
    np.save(folder / "targets.npy", targets.values.numpy())
    save_task(folder / "stripes.npz", task)
    return folder


@pytest.fixture
def tiny_recipe(tiny_folder: Path) -> Recipe:
    """Everything that a run needs: 30 images for training, 10 held out, sets of 9 in batches of 4.

    It is in `mine.yaml` in the test's folder, and what it names lies beside it.
    """
    (tiny_folder / "mine.yaml").write_text(TINY_RECIPE.format(folder=tiny_folder))
    return load_recipe(tiny_folder / "mine.yaml")


@pytest.fixture(scope="session")
def two_processes() -> Iterator[Processes]:
    """Two processes that are one group, kept for the whole session."""
    processes = Processes(2)
    yield processes
    processes.end()


@pytest.fixture(scope="session")
def four_processes() -> Iterator[Processes]:
    """Four processes that are one group, kept for the whole session."""
    processes = Processes(4)
    yield processes
    processes.end()
