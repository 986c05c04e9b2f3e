"""How large a recipe's data are, and the disk and memory that its run takes."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.data.tasks import Task
from decoct.methods.registry import METHODS
from decoct.methods.sizes import Sizes
from decoct.run import expert_stages
from decoct.run.expert_stages import trajectory_bytes
from decoct.run.graph import Graph
from decoct.run.preflight import check_run
from decoct.run.recipe import CompareConfig, Recipe, load_recipe
from decoct.run.sizes import disk, disk_warning, measure_sizes, memory, pool_count
from decoct.training.experts import train_experts
from tests.run.test_doctor import TINY

WITHOUT_EXPERTS = tuple(
    m for m in METHODS if m not in ("high-loss", "mkdt", "carried-mkdt", "mtt-ssl")
)


def sizes_of(recipe: Recipe) -> Sizes:
    found = measure_sizes(recipe)
    assert found is not None
    return found


def test_trajectories_take_what_is_said(tmp_path: Path) -> None:
    images = load_images("emoji").subset(torch.arange(32))
    targets = fit_targets(torch.randn(32, 8), TargetsConfig())
    found = train_experts(images=images, targets=targets, folder=tmp_path, config=TINY.experts)
    on_disk = sum(file.stat().st_size for file in found.files)
    said = disk(Graph(TINY).of_a_run(), sizes_of(TINY))
    assert said == {"experts": sum(found.expert(k).numel() * 4 for k in range(2))}
    assert said["experts"] == trajectory_bytes(TINY.experts, 952) == 22_848
    assert said["experts"] < on_disk < said["experts"] + 2 * 2048  # and the headers


def test_numbers_of_half_the_size_take_half_the_disk_and_memory() -> None:
    half = TINY.set("experts.dtype", "bfloat16")
    sizes = sizes_of(half)
    assert disk(Graph(half).of_a_run(), sizes) == {"experts": 22_848 // 2}
    assert memory(Graph(half).of_a_run(), sizes)["trajectories"] == 22_848 // 2


@pytest.mark.parametrize("budget, kept", [(4.0, 22_848), (1e-5, 10_000), (0.0, 0)])
def test_on_a_gpu_experts_take_up_to_their_budget(
    budget: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expert_stages, "resolve_device", lambda name: torch.device("cuda"))
    recipe = TINY.set("matching.expert_memory", budget)
    found = memory(Graph(recipe).of_a_run(), sizes_of(recipe))
    assert found["trajectories"] == 22_848
    assert found["trajectories, on the device"] == kept


def test_too_small_a_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    warning = disk_warning(Graph(TINY).of_a_run(), sizes_of(TINY), tmp_path)
    assert "experts take 22.8 kB" in warning and "has 10.0 kB free" in warning
    fewer = TINY.set("matching.max_start_epoch", 1).set("experts.epochs", 1).set("experts.count", 1)
    assert disk_warning(Graph(fewer).of_a_run(), sizes_of(fewer), tmp_path) == ""


@pytest.mark.parametrize("methods", [("views", "random"), ("none",), WITHOUT_EXPERTS])
def test_a_run_that_trains_no_experts_pays_for_none(
    methods: tuple[str, ...],
    tiny_recipe: Recipe,
    tiny_images: Images,
    tiny_task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    recipe = tiny_recipe.set("compare.methods", methods)
    stages, sizes = Graph(recipe).of_a_run(), sizes_of(recipe)
    assert disk(stages, sizes) == {}
    assert not [name for name in memory(stages, sizes) if "trajectories" in name]
    assert disk_warning(stages, sizes, tmp_path) == ""

    def check(recipe: Recipe) -> str:
        check_run(Graph(recipe), images=tiny_images, tasks=[tiny_task], folder=tmp_path)
        return capsys.readouterr().err

    assert check(recipe) == ""
    # Nor does it matter that no experts could be trained on these images.
    assert check(recipe.set("experts.network.depth", 5)) == ""
    with pytest.raises(DecoctError, match="depth 5 halves 16 px to nothing"):
        check(tiny_recipe.set("compare.methods", ("mkdt",)).set("experts.network.depth", 5))
    assert "experts take" in check(tiny_recipe.set("compare.methods", ("mkdt",)))


@pytest.mark.parametrize(
    "method, disk_of, memory_of",
    [
        ("mkdt", {"experts"}, {"trajectories"}),
        ("high-loss", {"experts"}, {"trajectories"}),
        ("mtt-ssl", {"ssl-experts"}, {"trajectories without targets"}),
        ("views", set(), set()),
        ("krr-st", set(), set()),
    ],
)
def test_without_tasks_the_one_method_says_what_is_taken(
    method: str, disk_of: set[str], memory_of: set[str], tiny_recipe: Recipe
) -> None:
    recipe = tiny_recipe.having(method=method).set("compare.tasks", ()).set("images.holdout", 0)
    stages, sizes = Graph(recipe).of_a_run(), sizes_of(recipe)
    assert set(disk(stages, sizes)) == disk_of
    found = memory(stages, sizes)
    assert {name for name in found if "trajectories" in name} == memory_of
    assert ("networks and step of krr-st" in found) == (method == "krr-st")
    assert ("unroll of 2 steps" in found) == (method in ("mkdt", "mtt-ssl"))


def test_what_several_seeds_hold_in_turn_counts_once() -> None:
    one, three = (TINY.set("compare.seeds", seeds) for seeds in (1, 3))
    sizes = sizes_of(TINY)
    assert memory(Graph(one).of_a_run(), sizes) == memory(Graph(three).of_a_run(), sizes)


def test_pools_are_counted_where_they_are(tmp_path: Path, tiny_images: Images) -> None:
    def count(source: str) -> int | None:
        return pool_count(TINY.set("images.source", source).set("images.size", 16))

    np.save(tmp_path / "a.npy", tiny_images.pixels.numpy())
    assert count(str(tmp_path / "a.npy")) == 40
    for name in ("x.png", "y.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert count(str(tmp_path)) == 2
    assert count("torchvision:CIFAR100") == 50_000
    assert count("hf:someone/tiny-imagenet") == 100_000
    assert count("hf:someone/else") is None
    assert count("torchvision:STL10@unlabeled") is None
    with pytest.raises(DecoctError, match="does not exist"):
        count(str(tmp_path / "nowhere"))


def test_a_paper_recipe_takes_what_the_design_says() -> None:
    recipe = load_recipe("cifar10-2pct").set("targets.components", 512)
    paper = recipe.having(compare=CompareConfig(tasks=()))
    sizes = sizes_of(paper)
    assert (sizes.pool, sizes.images, sizes.count) == (50_000, 50_000, 1_000)
    assert sizes.parameters(paper.experts.network, 512) == 1_348_608
    found = {"experts": 100 * 4 * 1_348_608 * 4}
    assert disk(Graph(paper).of_a_run(), sizes) == found
    assert trajectory_bytes(paper.experts, 1_348_608) == found["experts"]
