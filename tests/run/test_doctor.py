"""The doctor's report, and the arithmetic behind it."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.evaluation.probe import ProbeConfig
from decoct.methods.mkdt import MKDTConfig
from decoct.models.registry import NetworkConfig
from decoct.run.doctor import doctor, duration_text
from decoct.run.recipe import CompareConfig, ImagesConfig, Recipe, TeacherConfig, load_recipe
from decoct.run.sizes import disk_warning, measure_sizes, pool_count, trajectory_bytes
from decoct.run.timing import stage_seconds
from decoct.training.experts import ExpertsConfig, train_experts
from decoct.training.pretrain import PretrainConfig
from decoct.training.teacher import SSLConfig

SMALL = NetworkConfig(width=4)
TINY = Recipe(
    name="tiny",
    device="cpu",
    targets=TargetsConfig(components=8),
    experts=ExpertsConfig(count=2, epochs=2, batch=16, network=SMALL),
    distill=MKDTConfig(iterations=3, inner_steps=2, expert_epochs=1, batch=16),
    pretrain=PretrainConfig(epochs=1, network=SMALL),
    probe=ProbeConfig(fractions=(0.05,), per_class=(2,)),
    compare=CompareConfig(seeds=2, tasks=("emoji", "hf:nobody/knows"), full_epochs=1),
)
STAGES = ("targets", "experts", "difficulty", "assistant", "distill", "pre-training", "probes")


def test_without_a_recipe(tmp_path: Path) -> None:
    text = doctor(folder=tmp_path / "not" / "yet")
    for line in ("decoct", "torch", "kornia", "cpu", "malloc thresholds", "free"):
        assert line in text
    assert torch.__version__ in text


def test_extras_say_what_is_wrong_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    text = doctor()
    assert "pip install 'decoct[timm]'" in text
    for extra in ("torchvision", "hf"):
        assert f"pip install 'decoct[{extra}]'" not in text


def test_with_a_recipe(tmp_path: Path) -> None:
    text = doctor(TINY, folder=tmp_path)
    assert "2,641 images of 3 x 32 x 32" in text
    assert "emoji 2,641 + 846, hf:nobody/knows of unknown size" in text
    assert "2 experts x 3 x 952 parameters x 4 bytes = 22.8 kB" in text
    assert "TOO LITTLE" not in text
    for stage in (*STAGES, "together"):
        assert stage in text


def test_trajectories_take_what_is_said(tmp_path: Path) -> None:
    images = load_images("emoji").subset(torch.arange(32))
    targets = fit_targets(torch.randn(32, 8), TargetsConfig())
    found = train_experts(images=images, targets=targets, folder=tmp_path, config=TINY.experts)
    on_disk = sum(file.stat().st_size for file in found.files)
    sizes = measure_sizes(TINY)
    assert sizes is not None
    said = trajectory_bytes(TINY, sizes.parameters)
    assert said == sum(found.expert(k).numel() * 4 for k in range(2))
    assert said < on_disk < said + 2 * 2048  # and the headers


def test_too_small_a_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    warning = disk_warning(TINY, 952, tmp_path)
    assert "the trajectories take 22.8 kB" in warning and "has 10.0 kB free" in warning
    assert disk_warning(TINY, 94, tmp_path) == ""


def test_pools_are_counted_where_they_are(tmp_path: Path, tiny_images: Images) -> None:
    def count(source: str) -> int | None:
        return pool_count(replace(TINY, images=ImagesConfig(source=source, size=16)))

    np.save(tmp_path / "a.npy", tiny_images.pixels.numpy())
    assert count(str(tmp_path / "a.npy")) == 40
    for name in ("x.png", "y.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert count(str(tmp_path)) == 2
    assert count("torchvision:CIFAR100") == 50_000
    assert count("hf:someone/tiny-imagenet") == 100_000
    assert count("hf:someone/else") is None
    with pytest.raises(DecoctError, match="does not exist"):
        count(str(tmp_path / "nowhere"))


def test_an_unknown_pool_is_said() -> None:
    text = doctor(replace(TINY, images=ImagesConfig(source="hf:someone/else")))
    assert "how many images hf:someone/else holds is not known" in text


def test_a_paper_recipe_takes_what_the_design_says() -> None:
    recipe = load_recipe("cifar10-2pct")
    paper = replace(recipe, targets=TargetsConfig(components=512), compare=CompareConfig(tasks=()))
    sizes = measure_sizes(paper)
    assert sizes is not None
    assert (sizes.pool, sizes.kept, sizes.parameters) == (50_000, 1_000, 1_348_608)
    assert trajectory_bytes(paper, sizes.parameters) == 100 * 4 * 1_348_608 * 4


def test_times_follow_the_recipe() -> None:
    sizes = measure_sizes(TINY)
    assert sizes is not None
    found = stage_seconds(TINY, sizes, torch.device("cpu"))
    assert tuple(found) == STAGES
    assert all(seconds > 0 for seconds in found.values())
    ssl = SSLConfig(network=NetworkConfig(name="resnet10-small", width=8), epochs=1, projector=16)
    own = replace(
        TINY,
        method="mkdt",
        teacher=TeacherConfig(train=True, ssl=ssl),
        compare=CompareConfig(tasks=()),
    )
    found = stage_seconds(own, replace(sizes, tasks=()), torch.device("cpu"))
    assert tuple(found) == ("teacher", "targets", "experts", "difficulty", "distill")
    found = stage_seconds(
        replace(own, method="views"), replace(sizes, tasks=()), torch.device("cpu")
    )
    assert tuple(found) == ("teacher", "targets", "assistant")


@pytest.mark.parametrize("seconds", [0, 119, 121, 7199, 7201, 1e5, 1e7])
def test_durations_are_short(seconds: float) -> None:
    assert len(duration_text(seconds)) < 12
