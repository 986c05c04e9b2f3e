"""The benchmarks use today's names: each imports, and the settings that it sets exist."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from decoct.cli import main
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.compare import compare

Load = Callable[[str], ModuleType]

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
RECIPES = sorted(FOLDER.glob("*/*.yaml"))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Scripts by name; their names are too common to stay in `sys.modules`."""
    for folder in (FOLDER / "gpu", FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("name", [*NAMES, "gpu"])
def test_every_script_imports(load: Load, name: str) -> None:
    if name == "stages":
        pytest.importorskip("kornia")
    assert load(name).__doc__


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_are_in_todays_names(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_recipe(path)
    assert "earlier version" not in capsys.readouterr().err


def test_the_quick_gpu_run_sets_what_there_is(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets as far as the data that are not there."""
    flags = [*load("gpu").QUICK["pipeline"], "--data", str(tmp_path), "--device", "cpu"]
    out = str(tmp_path / "run")
    assert main(["run", str(FOLDER / "gpu/gpu.yaml"), "--out", out, *flags]) == 2
    assert "pool.npz" in capsys.readouterr().err


# The ladder


def test_every_rung_is_a_recipe(load: Load, tiny_recipe: Recipe) -> None:
    ladder = load("ladder")
    recipe = tiny_recipe.set("targets.source", "")  # with a teacher to ask
    found = {n: ladder.changed(recipe, n, s, 5) for n, (_, s) in ladder.RUNGS.items()}
    assert found["views"] == recipe
    assert {n: r.views.count for n, r in found.items() if r.views.count != 5} == {
        "random images, the assistant's targets": 1,
        "8 views, a small assistant": 8,
        "views": 3,
    }
    small = found["8 views, a small assistant"].assistant
    assert (small.epochs, small.network.name, small.network.width) == (4, "convnet", 32)
    longer = {n for n, r in found.items() if r.pretrain != recipe.pretrain}
    assert longer == {"random, as many steps"}
    assert found["random, as many steps"].pretrain.epochs == 5 * recipe.pretrain.epochs


def test_a_climb(load: Load, tiny_recipe: Recipe, tmp_path: Path) -> None:
    ladder = load("ladder")
    run = Run(tiny_recipe.set("compare.full_epochs", 0), tmp_path / "run")
    names = ["none", "random, as many steps", "mkdt", "views of k-means' images", "full"]
    rungs = {rung.name: rung for rung in ladder.climb(run, names, range(1), 2)}
    shown = ["none", "random, as many steps", "mkdt", "2 views of k-means' images", "full"]
    assert list(rungs) == shown
    # 9 images in batches of 4, the one left over in the second: 2 epochs of 2 steps
    steps = {name: rung.steps for name, rung in rungs.items()}
    assert steps == dict(zip(shown, [0, 8, 4, 2 * 5, 2 * 8], strict=True))
    # 3 x 16 x 16 bytes, and 4 numbers of 2; with views 2 x (4 numbers of 2, and 9 bytes)
    assert {n: r.bytes for n, r in rungs.items() if r.bytes} == {
        "mkdt": 9 * 776,
        "2 views of k-means' images": 9 * 802,
    }
    assert all(bool(rung.equal_bytes) == bool(rung.bytes) for rung in rungs.values())
    assert rungs["mkdt"].seconds > 0 and rungs["none"].seconds == rungs["full"].seconds == 0.0
    table = ladder.table(tuple(run.probe_scores("random", 0)), list(rungs.values()))
    assert {len(row) for row in table} == {8} and len(table) == 6


# The tables of docs/results


def test_a_pages_tables_are_the_runs_own(
    load: Load, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = load("results")
    run = Run(tiny_recipe, tmp_path / "run")
    compare(run)
    run.save_manifest()
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- table: costs -->\n\n| old |\n| --- |\n\nAfter.\n")
    monkeypatch.setattr(sys, "argv", ["results", str(run.folder), "--into", str(page)])
    results.main()
    written = page.read_text()
    assert written.startswith("Before.") and written.endswith("After.\n")
    assert results.tables(run.folder)["costs"] in written and "old" not in written
    monkeypatch.setattr(sys, "argv", ["results", str(run.folder), "--into", str(page)])
    results.main()
    assert page.read_text() == written  # again: nothing new
    noted = {"costs": "| new |\n\nSmallest detectable difference to random: 1.2 points."}
    once = results.with_tables(written, noted)
    assert noted["costs"] in once and results.with_tables(once, noted) == once
    with pytest.raises(SystemExit, match="no table 'accuracies'"):
        results.with_tables("<!-- table: accuracies -->\n\n", {"accuracy": ""})
