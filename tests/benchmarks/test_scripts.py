"""The benchmarks use today's names: each imports, and the settings that it sets exist."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from decoct.cli import main
from decoct.evaluation.scores import Score
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.compare import compare
from decoct.studies.frontier.cells import Cell, Frontier

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


def cell(method: str, axis: str, budget: str, value: float) -> Cell:
    scores = (Score("", seed, "shapes", "5%", 0, value + seed) for seed in range(2))
    return Cell(
        method=method,
        network="convnet 32",
        axis=axis,
        budget=budget,
        optimiser="muon",
        lr_factor=1.0,
        bytes=1_000_000,
        steps=480,
        error=0.5,
        best=True,
        scores=tuple(scores),
    )


def test_a_frontier_needs_no_other_file_of_its_run(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = load("results")
    with pytest.raises(SystemExit, match=r"no scores\.json, tuning\.json or frontier\.json"):
        results.tables(tmp_path)
    places = [("random", "steps", "480", 40.0), ("carried", "steps", "480", 50.0)]
    cells = [cell(*place) for place in [*places, ("carried", "bytes", "1MB", 51.0)]]
    Frontier("made up", tuple(cells)).save(tmp_path / "frontier.json")
    found = results.tables(tmp_path)
    assert list(found) == [
        f"convnet 32, {n}" for n in ("gradient steps", "bytes at 480 steps", "every place")
    ]

    page = tmp_path / "frontier.md"
    page.write_text("\n".join(f"<!-- table: {n} -->\n\n| not yet |\n| --- |\n" for n in found))
    monkeypatch.setattr(sys, "argv", ["results", str(tmp_path), "--into", str(page)])
    results.main()
    written = page.read_text("utf-8")
    assert all(f"<!-- table: {name} -->\n\n{table}\n" in written for name, table in found.items())
    assert "not yet" not in written

    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["results", str(tmp_path)])
    results.main()
    assert found["convnet 32, bytes at 480 steps"] in capsys.readouterr().out


def test_parts_of_a_frontier_are_joined(load: Load) -> None:
    """By place: the rule with the lower error, of one rule the cell with more seeds."""
    merged = load("frontier_merge").merged

    def measured(axis: str, error: float, optimiser: str, seeds: int) -> Cell:
        keys = tuple(map(str, range(seeds)))
        found = cell("random", axis, "480", 40.0)
        return replace(found, error=error, optimiser=optimiser, keys=keys, best=True)

    short, long = (measured("own", 0.6, "muon", seeds) for seeds in (1, 3))
    published = measured("own", 0.7, "sgd", 2)
    worse, better = measured("steps", 0.6, "sgd", 2), measured("steps", 0.5, "muon", 2)
    parts = [
        Frontier("one", (short, better), {"a": 0.6}),
        Frontier("two", (long, published, worse), {"b": None}),
    ]
    found = merged(parts)
    assert found.trials == {"a": 0.6, "b": None}
    assert found.cells == (long, replace(published, best=False), better)
    assert merged(parts, seeds=3).cells == (long,)
    assert merged(parts[::-1]).cells == found.cells
