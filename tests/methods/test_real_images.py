"""Methods that choose real images: what they all have to keep, and how they fare in a run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decoct.artefacts.distilled import load_distilled
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.methods.real_images import RealImages
from decoct.methods.registry import METHODS
from decoct.report.page import write_report
from decoct.run.graph import Graph
from decoct.run.method_stages import set_of
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.run.sizes import measure_sizes
from decoct.run.timing import stage_seconds
from decoct.studies.compare import compare

SUBSETS = [name for name, kind in METHODS.items() if issubclass(kind, RealImages)]
# Those that choose by the targets: neither at random nor by what experts find hard.
BY_TARGETS = [name for name in SUBSETS if name not in ("random", "high-loss")]
Choose = Callable[..., Tensor]
DRAWS = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))


def assert_distinct(found: Tensor, *, count: int, total: int) -> None:
    assert found.dtype == torch.int64
    assert len(found) == count
    assert bool((found.diff() > 0).all())  # sorted, and none twice
    assert 0 <= int(found[0]) <= int(found[-1]) < total


@pytest.mark.parametrize("count", [1, 2, 7, 59, 60])
def test_as_many_distinct_images_as_asked_for(choose: Choose, count: int) -> None:
    assert_distinct(choose(DRAWS, count), count=count, total=60)


@pytest.mark.parametrize(
    "values",
    [
        torch.ones(40, 3),
        torch.zeros(40, 3),  # which has no direction
        torch.eye(3).repeat(14, 1)[:40],
        torch.cat([torch.randn(2, 3), torch.randn(1, 3).expand(38, 3)]),
    ],
    ids=["one", "zero", "three", "two and many"],
)
def test_duplicates_are_as_distinct(choose: Choose, values: Tensor) -> None:
    for count in (1, 10, 40):
        assert_distinct(choose(values, count), count=count, total=40)


def test_a_seed_decides(choose: Choose) -> None:
    assert torch.equal(choose(DRAWS, 9, seed=3), choose(DRAWS, 9, seed=3))
    assert any(not torch.equal(choose(DRAWS, 9), choose(DRAWS, 9, seed=s)) for s in range(1, 6))


def test_a_seed_leaves_other_draws_alone(choose: Choose) -> None:
    state = torch.get_rng_state()
    choose(DRAWS, 9)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("count", [0, 61])
def test_a_size_that_cannot_be(choose: Choose, count: int) -> None:
    with pytest.raises(DecoctError, match=f"{count} images cannot be chosen from 60"):
        choose(DRAWS, count)


# In a run

RECIPE = """
data: {folder}
device: cpu
size: 8
images: {{source: pool.npz, size: 16}}
targets: {{source: targets.npy}}
sas: {{classes: 3}}
experts: {{count: 1, epochs: 2, batch: 16, network: {{width: 4, depth: 2}}}}
matching: {{iterations: 1, inner_steps: 1, expert_epochs: 1, batch: 8}}
pretrain: {{epochs: 1, network: {{width: 4, depth: 2}}}}
probe: {{fractions: [0.5]}}
compare: {{methods: [none, random, k-means, k-center, sas], seeds: 2, tasks: [stripes.npz]}}
"""


@pytest.fixture
def recipe(tiny_folder: Path) -> Recipe:
    (tiny_folder / "mine.yaml").write_text(RECIPE.format(folder=tiny_folder))
    return load_recipe(tiny_folder / "mine.yaml")


def test_a_comparison_with_all_of_them(recipe: Recipe, tmp_path: Path, tiny_images: Images) -> None:
    assert set(BY_TARGETS) < set(recipe.compare.methods)
    run = Run(recipe, tmp_path / "run")
    run.check()
    scores = compare(run)
    run.save_manifest()
    assert {s.method for s in scores.scores} == set(recipe.compare.methods)
    for method in BY_TARGETS:
        assert scores.facts[method] == scores.facts["random"]
        found = run.distilled(method, 0)
        assert found.method == method and found.index is not None
        torch.testing.assert_close(found.images, tiny_images.normalised(found.index))
        torch.testing.assert_close(found.targets, run.targets.values[found.index])
        assert not list((tmp_path / "run").glob("experts-*"))  # which none of them needs
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert all(f"<b>{method}</b>" in page for method in BY_TARGETS)


def test_the_verb_selects_what_the_recipe_names(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--out", str(tmp_path / "run"), "--compare.methods"]
    select = ["stage", "select", str(tmp_path / "mine.yaml"), *flags]
    assert main([*select, "sas", "k-center", "mkdt"]) == 0
    said = capsys.readouterr().out
    assert "distilled set by sas, 8 images (real images)" in said
    (file,) = (tmp_path / "run").glob("k-center-seed0-*/distilled.safetensors")
    assert len(load_distilled(file)) == 8
    assert not list((tmp_path / "run").glob("mkdt-*"))
    assert main([*select, "none"]) == 2
    assert "compare.methods names no subset to select" in capsys.readouterr().err


def test_a_setting_of_one_makes_its_set_again_and_no_other(recipe: Recipe) -> None:
    one, other = Graph(recipe), Graph(recipe.set("sas.penalty", False))
    changed = [m for m in SUBSETS if one.key(set_of(m, 0)) != other.key(set_of(m, 0))]
    assert changed == ["sas"]
    assert len({one.key(set_of(method, 0)) for method in SUBSETS}) == len(SUBSETS)


def test_they_are_not_compared_unasked() -> None:
    assert not set(BY_TARGETS) & set(Recipe().compare.methods)


def test_their_time_is_estimated(recipe: Recipe) -> None:
    sizes = measure_sizes(recipe)
    assert sizes is not None
    found = stage_seconds(Graph(recipe).of_a_run(), sizes, torch.device("cpu"))
    assert all(0 < found[method] < 60 for method in BY_TARGETS)
    random = Graph(recipe.set("compare.methods", ("random",))).of_a_run()
    assert not set(stage_seconds(random, sizes, torch.device("cpu"))) & set(BY_TARGETS)
