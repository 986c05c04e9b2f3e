"""Experts are plain SGD, one file each, and depend on nothing but seed, settings and number."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import claims, ranks, storage
from decoct.core.claims import claim_of
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training import experts
from decoct.training.difficulty import difficulty
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import expert_path, train_experts
from tests.conftest import COUNT, DIMENSIONS, smooth_pixels
from tests.processes import Processes


def network_at(theta: Tensor, config: ExpertsConfig, images: Images, outputs: int = 4) -> Network:
    network = create_network(
        config.network, channels=images.channels, size=images.size, outputs=outputs
    )
    vector_to_parameters(theta.clone(), network.parameters())
    return network


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def made(
    tiny_images: Images, tiny_targets: Targets, tiny_experts_config: ExpertsConfig, tmp_path: Path
) -> Path:
    """A folder of three experts of one epoch."""
    config = replace(tiny_experts_config, count=3, epochs=1)
    train_experts(images=tiny_images, targets=tiny_targets, folder=tmp_path, config=config)
    return tmp_path


def test_one_file_an_expert_with_a_vector_an_epoch(
    tiny_trajectories: Trajectories, tiny_experts_config: ExpertsConfig
) -> None:
    # Convolutions 3 to 4 and 4 to 4, two norms, and 64 features to 4 outputs.
    parameters = (3 * 4 * 9 + 4) + (4 * 4 * 9 + 4) + 2 * (4 + 4) + (64 * 4 + 4)
    folder = tiny_trajectories.files[0].parent
    assert sorted(contents(folder)) == ["00000.safetensors", "00001.safetensors"]
    assert len(tiny_trajectories) == tiny_experts_config.count
    assert tiny_trajectories.epochs == tiny_experts_config.epochs
    for k in range(2):
        assert tiny_trajectories.expert(k).shape == (4, parameters)
    assert Trajectories.load(folder) == tiny_trajectories
    assert tiny_trajectories.network == tiny_experts_config.network


def test_epoch_0_is_the_initialisation(
    tiny_trajectories: Trajectories, tiny_experts_config: ExpertsConfig, tiny_images: Images
) -> None:
    first, second = (
        network_at(tiny_trajectories.expert(0)[epoch], tiny_experts_config, tiny_images)
        for epoch in (0, 1)
    )
    for module in first.modules():
        if isinstance(module, nn.GroupNorm):
            assert torch.equal(module.weight, torch.ones(4))
            assert torch.equal(module.bias, torch.zeros(4))
        if isinstance(module, nn.Conv2d):  # torch's default: uniform within 1 / sqrt(fan-in)
            assert float(module.weight.detach().abs().max()) <= module.weight[0].numel() ** -0.5
    norm = next(m for m in second.modules() if isinstance(m, nn.GroupNorm))
    assert not torch.equal(norm.weight, torch.ones(4))


def test_experts_start_from_different_initialisations(tiny_trajectories: Trajectories) -> None:
    assert not torch.equal(tiny_trajectories.expert(0)[0], tiny_trajectories.expert(1)[0])


def test_epochs_are_full_batch_sgd_where_the_batch_holds_all(
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path: Path,
) -> None:
    config = replace(
        tiny_experts_config, count=1, epochs=3, batch=100, momentum=0.9, weight_decay=0.1
    )
    path = train_experts(
        images=tiny_images, targets=tiny_targets, folder=tmp_path, config=config
    ).expert(0)
    velocity = torch.zeros_like(path[0])
    for before, after in pairwise(path):
        network = network_at(before, config, tiny_images)
        F.mse_loss(network(tiny_images.normalised()), tiny_targets.values).backward()
        gradient = parameters_to_vector(p.grad for p in network.parameters() if p.grad is not None)
        velocity = 0.9 * velocity + gradient + 0.1 * before
        assert torch.allclose(after, before - config.lr * velocity, atol=1e-5)


def test_every_epoch_lowers_the_loss(
    tiny_trajectories: Trajectories,
    tiny_experts_config: ExpertsConfig,
    tiny_images: Images,
    tiny_targets: Targets,
) -> None:
    losses = []
    for theta in tiny_trajectories.expert(0):
        network = network_at(theta, tiny_experts_config, tiny_images)
        with torch.no_grad():
            losses.append(float(F.mse_loss(network(tiny_images.normalised()), tiny_targets.values)))
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("harm", ["missing", "cut short", "altered"])
def test_only_what_is_missing_or_damaged_is_made_again_to_the_same_bits(
    harm: str,
    made: Path,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
) -> None:
    before = contents(made)
    inodes = {k: expert_path(made, k).stat().st_ino for k in (0, 2)}
    victim = expert_path(made, 1)
    data = victim.read_bytes()
    if harm == "missing":
        victim.unlink()
    elif harm == "cut short":
        victim.write_bytes(data[: len(data) // 2])
    else:
        victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    config = replace(tiny_experts_config, count=3, epochs=1)
    train_experts(images=tiny_images, targets=tiny_targets, folder=made, config=config)
    assert contents(made) == before
    assert inodes == {k: expert_path(made, k).stat().st_ino for k in (0, 2)}


def test_a_complete_folder_is_left_alone(
    made: Path,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing was to be trained")

    monkeypatch.setattr(experts.ExpertTraining, "expert", refuse)
    config = replace(tiny_experts_config, count=3, epochs=1)
    train_experts(images=tiny_images, targets=tiny_targets, folder=made, config=config)


def test_an_expert_does_not_depend_on_the_others(
    made: Path,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    alone = tmp_path_factory.mktemp("alone")
    config = replace(tiny_experts_config, count=10, epochs=1)
    torch.manual_seed(5)
    train_experts(images=tiny_images, targets=tiny_targets, folder=alone, config=config, only=[2])
    assert sorted(contents(alone)) == ["00002.safetensors"]
    first, second = (
        storage.load_tensors(expert_path(folder, 2), kind="expert")[0] for folder in (made, alone)
    )
    assert torch.equal(first["parameters"], second["parameters"])


def test_another_seed_gives_other_experts(
    made: Path,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = replace(tiny_experts_config, count=1, epochs=1)
    other = train_experts(
        images=tiny_images,
        targets=tiny_targets,
        folder=tmp_path_factory.mktemp("other"),
        config=config,
        seed=1,
    )
    assert not torch.equal(other.expert(0)[0], Trajectories.load(made).expert(0)[0])


def test_divergence_is_an_error_that_names_the_expert(
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path: Path,
) -> None:
    config = replace(tiny_experts_config, lr=1e12, epochs=3)
    with pytest.raises(DecoctError, match=r"expert 0 diverged.*lower experts\.lr"):
        train_experts(images=tiny_images, targets=tiny_targets, folder=tmp_path, config=config)
    assert contents(tmp_path) == {}


def test_targets_of_another_number_of_images_are_refused(
    tiny_images: Images, tiny_targets: Targets, tmp_path: Path
) -> None:
    fewer = tiny_images.subset(torch.arange(39))
    with pytest.raises(DecoctError, match="40 targets for 39 images"):
        train_experts(images=fewer, targets=tiny_targets, folder=tmp_path)


def test_a_folder_without_experts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="no expert trajectories"):
        Trajectories.load(tmp_path)


@pytest.mark.parametrize("name", ["count", "epochs", "batch"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(DecoctError, match="at least 1"):
        ExpertsConfig(**{name: 0})


@pytest.mark.parametrize("batch", [7, 1024])
def test_difficulty_is_the_squared_error_after_epoch_1(
    batch: int,
    tiny_trajectories: Trajectories,
    tiny_experts_config: ExpertsConfig,
    tiny_images: Images,
    tiny_targets: Targets,
) -> None:
    got = difficulty(
        images=tiny_images, targets=tiny_targets, trajectories=tiny_trajectories, batch=batch
    )
    networks = [
        network_at(tiny_trajectories.expert(k)[1], tiny_experts_config, tiny_images)
        for k in range(2)
    ]
    for i in range(len(tiny_images)):
        image = tiny_images.normalised(slice(i, i + 1))
        with torch.no_grad():
            errors = [(n(image)[0] - tiny_targets.values[i]).tolist() for n in networks]
        by_hand = sum(e**2 for expert in errors for e in expert) / (2 * 4)
        assert float(got[i]) == pytest.approx(by_hand, rel=1e-4)


def test_trajectories_serve_difficulty_and_training_in_any_order(
    tiny_trajectories: Trajectories, tiny_images: Images, tiny_targets: Targets
) -> None:
    folder = tiny_trajectories.files[0].parent
    fresh, used = Trajectories.load(folder), Trajectories.load(folder)
    assert used.expert(0).requires_grad_().requires_grad  # read by training before
    used.expert(0).requires_grad_(False)
    values = [
        difficulty(images=tiny_images, targets=tiny_targets, trajectories=trajectories)
        for trajectories in (fresh, used)
    ]
    assert torch.equal(*values)
    theta = fresh.expert(0).clone().requires_grad_()
    (fresh.expert(0) * theta).sum().backward()  # read by difficulty before
    assert torch.equal(theta.grad if theta.grad is not None else theta, fresh.expert(0))


@pytest.mark.parametrize("dtype, bits", [("bfloat16", 8), ("float16", 11)])
def test_half_precision_files_hold_the_same_paths_rounded(
    dtype: str,
    bits: int,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path: Path,
) -> None:
    full, half = (
        train_experts(
            images=tiny_images,
            targets=tiny_targets,
            folder=tmp_path / name,
            config=replace(tiny_experts_config, count=1, epochs=2, dtype=name),  # type: ignore[arg-type]
        ).expert(0)
        for name in ("float32", dtype)
    )
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    assert torch.allclose(half, full, rtol=2.0**-bits, atol=1e-7)
    sizes = [expert_path(tmp_path / name, 0).stat().st_size for name in (dtype, "float32")]
    assert sizes[0] < 0.75 * sizes[1]


def test_a_file_that_cannot_be_written_stops_the_run(
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise DecoctError("no space left")

    monkeypatch.setattr(storage, "save_tensors", full_disk)
    config = replace(tiny_experts_config, count=3, epochs=1)
    with pytest.raises(DecoctError, match="no space left"):
        train_experts(images=tiny_images, targets=tiny_targets, folder=tmp_path, config=config)


def test_a_process_leaves_to_others_what_they_have_claimed(
    made: Path,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bar counts what others make, too."""
    folder, trained, bar = tmp_path_factory.mktemp("shared"), [], []
    train, claim = experts.ExpertTraining.expert, claim_of(expert_path(folder, 1))

    def expert(self: experts.ExpertTraining, k: int, *rest: Any) -> dict[str, Tensor]:
        trained.append(k)
        return train(self, k, *rest)

    @contextmanager
    def progress(text: str, *, total: int) -> Iterator[Callable[[str], None]]:
        bar.append(total)
        yield lambda info: bar.append(-1)

    monkeypatch.setattr(experts.ExpertTraining, "expert", expert)
    monkeypatch.setattr(experts, "progress", progress)
    monkeypatch.setattr(claims, "_POLL_S", 0.01)
    monkeypatch.setattr(claims, "note", lambda text: shutil.copy(expert_path(made, 1), folder))
    with claim.open("w") as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        config = replace(tiny_experts_config, count=3, epochs=1)
        train_experts(images=tiny_images, targets=tiny_targets, folder=folder, config=config)
    assert trained == [0, 2]
    assert sum(bar) == 0
    claim.unlink()
    assert contents(folder) == contents(made)


def _train_as_a_rank(folder: Path) -> list[int]:
    """Which of five experts this rank trains."""
    images = Images.from_array(smooth_pixels(COUNT, seed=0), name="tiny")
    draws = torch.Generator().manual_seed(1)
    targets = fit_targets(torch.randn(COUNT, DIMENSIONS, generator=draws), TargetsConfig())
    config = ExpertsConfig(count=5, epochs=2, network=NetworkConfig(width=4, depth=2), batch=16)
    trained, train = list[int](), experts.ExpertTraining.expert

    def expert(self: experts.ExpertTraining, k: int, *rest: Any) -> dict[str, Tensor]:
        trained.append(k)
        return train(self, k, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experts.ExpertTraining, "expert", expert)
        patch.setattr(claims, "_POLL_S", 0.01)
        made = train_experts(images=images, targets=targets, folder=folder, config=config)
    assert all(file.exists() for file in made.files)
    return trained


def test_ranks_make_each_expert_once_and_to_the_same_bits(
    two_processes: Processes, tmp_path: Path
) -> None:
    first, second = two_processes.call(_train_as_a_rank, tmp_path / "two")
    assert sorted(first + second) == _train_as_a_rank(tmp_path / "one") == [0, 1, 2, 3, 4]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_ranks_begin_at_different_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world", lambda: 3)
    turned = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        turned.append(experts._turned([0, 2, 3, 4, 5, 6]))
    assert turned == [[0, 2, 3, 4, 5, 6], [3, 4, 5, 6, 0, 2], [5, 6, 0, 2, 3, 4]]
