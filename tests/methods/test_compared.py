"""The subsets behind the one door: from a recipe to sets, scores, keys and times."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from decoct.methods.subsets import BY_TARGETS, SUBSETS
from decoct.run.keys import Keys

from decoct.artefacts.distilled import load_distilled
from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.data.images import Images
from decoct.methods.sas import SASConfig
from decoct.report.page import write_report
from decoct.run.pipeline import Run
from decoct.run.recipe import METHODS, Recipe, load_recipe
from decoct.run.sizes import Sizes
from decoct.run.timing import stage_seconds

RECIPE = """
device: cpu
size: 8
images: {source: pool.npz, size: 16}
targets: {source: targets.npy}
sas: {classes: 3}
experts: {count: 1, epochs: 2, batch: 16, network: {width: 4, depth: 2}}
distill: {iterations: 1, inner_steps: 1, expert_epochs: 1, batch: 8}
pretrain: {epochs: 1, network: {width: 4, depth: 2}}
probe: {fractions: [0.5]}
compare: {methods: [none, random, k-means, k-center, sas], seeds: 2, tasks: [stripes.npz]}
"""


@pytest.fixture
def recipe(tiny_folder: Path) -> Recipe:
    (tiny_folder / "mine.yaml").write_text(RECIPE)
    return replace(load_recipe(tiny_folder / "mine.yaml"), data=str(tiny_folder))


def test_a_comparison_with_all_of_them(
    recipe: Recipe, tmp_path: Path, tiny_images: Images, tiny_targets: Targets
) -> None:
    run = Run(recipe, tmp_path / "run")
    run.check()
    scores = run.compare()
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
    flags = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--compare.methods"]
    assert main(["select", str(tmp_path / "mine.yaml"), *flags, "sas", "k-center", "mkdt"]) == 0
    said = capsys.readouterr().out
    assert "distilled set by sas, 8 images (real images)" in said
    (file,) = (tmp_path / "run").glob("k-center-seed0-*/distilled.safetensors")
    assert len(load_distilled(file)) == 8
    assert not list((tmp_path / "run").glob("mkdt-*"))
    assert main(["select", str(tmp_path / "mine.yaml"), *flags, "none"]) == 2
    assert "compare.methods names no subset to select" in capsys.readouterr().err


def test_a_setting_of_sas_makes_sas_again_and_nothing_else(recipe: Recipe) -> None:
    one, other = Keys(recipe), Keys(replace(recipe, sas=SASConfig(penalty=False)))
    changed = [m for m in SUBSETS if one.distilled(m, 0) != other.distilled(m, 0)]
    assert changed == ["sas"]
    assert len({one.distilled(method, 0) for method in SUBSETS}) == len(SUBSETS)


def test_they_are_there_by_name_alone() -> None:
    assert set(BY_TARGETS) <= set(METHODS)
    assert not set(BY_TARGETS) & set(Recipe().compare.methods)


def test_their_time_is_estimated(recipe: Recipe) -> None:
    sizes = Sizes(pool=40, kept=8, dimensions=4, parameters=1, tasks=())
    found = stage_seconds(recipe, sizes, torch.device("cpu"))
    assert 0 < found["subsets"] < 60
    random = replace(recipe, compare=replace(recipe.compare, methods=("random",)))
    assert "subsets" not in stage_seconds(random, sizes, torch.device("cpu"))
