"""The frontier: every place measured by its best rule, kept, continued, and told."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.evaluation.scores import Score
from decoct.report.frontier import cell_rows, frontier_rows, panels
from decoct.report.page import write_report
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.frontier import study
from decoct.studies.frontier.cells import Cell, Frontier, accuracy, difference
from decoct.studies.frontier.study import FrontierConfig, frontier
from tests.conftest import TINY_RECIPE, save_tiny

METHODS = ("assistant", "random", "carried", "full-steps", "full")
CONFIG = FrontierConfig(
    methods=METHODS,
    steps=(3, 6),
    bytes=("5kB", "12kB"),
    at_steps=(3,),
    lr_factors=(0.5, 1.0),
    seeds=2,
)


@dataclass(frozen=True)
class Measured:
    """A frontier that the tests share, and the folder in which it was measured."""

    recipe: Recipe
    folder: Path
    frontier: Frontier


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_task: Task,
) -> Measured:
    folder = save_tiny(tmp_path_factory.mktemp("data"), tiny_images, tiny_targets, tiny_task)
    file, run = folder / "mine.yaml", tmp_path_factory.mktemp("run")
    file.write_text(TINY_RECIPE.format(folder=folder))
    recipe = load_recipe(file).set("images.holdout", 0.25).set("probe.draws", 2)
    return Measured(recipe, run, frontier(recipe=recipe, folder=run, config=CONFIG))


@pytest.fixture
def recipe(measured: Measured) -> Recipe:
    return measured.recipe


@pytest.fixture
def found(measured: Measured, tmp_path: Path) -> Frontier:
    """The frontier, with a copy of its folder for the test alone."""
    shutil.copytree(measured.folder, tmp_path / "run")
    return measured.frontier


def test_every_method_is_measured_at_every_budget(found: Frontier) -> None:
    assert set(found.methods()) == set(METHODS)
    (network,) = found.networks()
    for method in ("random", "carried", "full-steps"):
        line = found.line(method, network, "steps")
        assert [cell.steps for cell in line] == [3, 6]
        assert [cell.budget for cell in line] == ["3", "6"]
    for method in ("random", "carried"):
        line = found.line(method, network, "bytes")
        assert [cell.budget for cell in line] == ["5kB", "12kB"]
        allowed = {"5kB": 5000, "12kB": 12000}
        assert all(cell.bytes <= 1.1 * allowed[cell.budget] for cell in line)
        assert {cell.steps for cell in line} == {3}
    assert not found.line("full-steps", network, "bytes")  # it keeps no set
    (itself,) = found.line("assistant", network, "own")
    assert itself.steps == 0 and itself.optimiser == "own"
    seeds = {(s.seed, s.draw) for cell in found.cells for s in cell.scores}
    assert seeds == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_the_rule_is_the_one_with_the_lowest_error(
    recipe: Recipe, found: Frontier, tmp_path: Path
) -> None:
    """And both ends of the gap are kept for each optimiser."""
    for method in ("random", "full"):
        own = [c for c in found.cells if (c.method, c.axis) == (method, "own")]
        assert {c.optimiser for c in own} == {"sgd", "muon"}
        (best,) = (c for c in own if c.best)
        assert best.error == min(c.error for c in own)
    finite = [error for error in found.trials.values() if error is not None]
    assert all(c.error in finite for c in found.cells)
    # two optimisers, two factors, for: random at 3 lengths, carried and full-steps at 2, full at 1
    # and random and carried once at 2 numbers of bytes; the assistant once
    assert len(found.trials) == 4 * (3 + 2 + 2 + 1) + 4 + 1


def test_what_is_known_is_not_measured_again_even_without_the_runs_folder(
    recipe: Recipe, found: Frontier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "frontier.json").write_bytes((tmp_path / "run/frontier.json").read_bytes())

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("this was known")

    monkeypatch.setattr(study, "held_out_error", refuse)
    for made in ("probe_scores", "encoder", "distilled", "facts"):
        monkeypatch.setattr(Run, made, refuse)
    again = frontier(recipe=recipe, folder=elsewhere, config=CONFIG)
    assert [replace(c, keys=()) for c in again.cells] == [replace(c, keys=()) for c in found.cells]


def test_a_stop_early_on_loses_no_seed_that_was_known(
    recipe: Recipe, found: Frontier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first seed of every place comes first, and the file is written after each."""
    measure = study._Study.measure

    def stopped(self: study._Study, place: study.Place, *, seeds: int) -> None:
        measure(self, place, seeds=seeds)
        raise KeyboardInterrupt

    monkeypatch.setattr(study._Study, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        frontier(recipe=recipe, folder=tmp_path / "run", config=CONFIG)
    assert Frontier.load(tmp_path / "run/frontier.json") == found


def test_it_can_be_widened(recipe: Recipe, found: Frontier, tmp_path: Path) -> None:
    wider = replace(CONFIG, steps=(3, 6, 9), seeds=2)
    more = frontier(recipe=recipe, folder=tmp_path / "run", config=wider)
    (network,) = more.networks()
    assert [c.steps for c in more.line("carried", network, "steps")] == [3, 6, 9]
    before = {(*c.place, c.optimiser): c.scores for c in found.cells}
    after = {(*c.place, c.optimiser): c.scores for c in more.cells}
    assert before.items() <= after.items()


def test_batches_are_searched_and_bytes_varied_at_every_length(
    recipe: Recipe, tmp_path: Path
) -> None:
    config = replace(
        CONFIG,
        methods=("random", "mkdt"),
        steps=(3,),
        bytes=("5kB",),
        at_steps=(2, 3),
        optimisers=("muon",),
        lr_factors=(1.0,),
        batches=(3, 8),
        seeds=1,
    )
    found = frontier(recipe=recipe, folder=tmp_path / "run", config=config)
    (network,) = found.networks()
    assert found.lengths(network) == [2, 3]
    assert [c.steps for c in found.line("random", network, "bytes")] == [2, 3]
    assert [c.steps for c in found.line("random", network, "bytes", at=3)] == [3]
    (searched,) = found.line("random", network, "steps")
    (learnt,) = found.line("mkdt", network, "steps")
    (own,) = found.line("random", network, "own")
    assert searched.batch in (3, 8)
    assert learnt.batch == recipe.matching.batch and own.batch == 4  # the recipe's
    # random: one at its own length, two batches at 2 and at 3 steps, the best of each in 5 kB;
    # MKDT: at 3 steps
    assert len(found.trials) == 1 + 2 * 2 + 2 + 1
    assert [p.title for p in panels(found)][1:] == [
        f"{network}: accuracy over bytes at {at} steps" for at in (2, 3)
    ]


def test_processes_side_by_side_find_the_same(
    recipe: Recipe, found: Frontier, tmp_path: Path
) -> None:
    """All but rounding: a process has fewer threads, which add in another order."""
    shared = frontier(recipe=recipe, folder=tmp_path / "shared", config=CONFIG, jobs=2)
    assert list(shared.trials) and shared.trials.keys() == found.trials.keys()
    for mine, theirs in zip(shared.cells, found.cells, strict=True):
        assert replace(mine, error=0, scores=()) == replace(theirs, error=0, scores=())
        assert mine.error == pytest.approx(theirs.error, rel=1e-3)
        assert [s.accuracy for s in mine.scores] == [s.accuracy for s in theirs.scores]


def test_without_images_held_out_there_is_nothing_to_choose_by(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = tiny_recipe.set("images.holdout", 0.0)
    with pytest.raises(DecoctError, match="held out"):
        frontier(recipe=recipe, folder=tmp_path / "run", config=CONFIG)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"bytes": ("much",)}, "'much' is no number of bytes"),
        ({"lr_factors": ()}, r"frontier\.lr_factors is \(\); it must be a list of at least 1"),
        ({"methods": ("mktd",)}, "perhaps you meant mkdt"),
        ({"steps": (0,)}, "at least 1"),
    ],
)
def test_what_makes_no_frontier_is_refused(bad: dict[str, object], said: str) -> None:
    with pytest.raises(DecoctError, match=said):
        replace(CONFIG, **bad)  # type: ignore[arg-type]


# Gaps and tables, of numbers made up


def scores(value: float, method: str) -> tuple[Score, ...]:
    return tuple(
        Score(method, seed, "shapes", "5%", draw, value + 0.1 * seed + 0.01 * draw)
        for seed in range(3)
        for draw in range(4)
    )


def cell(method: str, axis: str, budget: str, optimiser: str, value: float, best: bool) -> Cell:
    steps = int(budget or (120 if method == "random" else 5400))
    return Cell(
        method=method,
        network="convnet 32",
        axis=axis,
        budget=budget,
        optimiser=optimiser,
        lr_factor=1.0,
        bytes=1000,
        steps=steps,
        error=0.5,
        best=best,
        scores=scores(value, method),
    )


MADE_UP = Frontier(
    "made up",
    (
        cell("random", "own", "", "sgd", 40.0, False),
        cell("random", "own", "", "muon", 42.0, True),
        cell("full", "own", "", "sgd", 50.0, False),
        cell("full", "own", "", "muon", 52.0, True),
        cell("random", "steps", "480", "muon", 44.0, True),
        cell("carried", "steps", "480", "muon", 50.0, True),
    ),
)


def test_the_two_gaps_have_ends_of_their_own() -> None:
    carried = MADE_UP.cells[-1]
    published, strict = (MADE_UP.gap(carried, rule=rule) for rule in ("published", "strict"))
    assert published is not None and published.mean == pytest.approx(1.0)
    assert strict is not None and strict.mean == pytest.approx((50 - 42) / (52 - 42))
    assert difference(carried, MADE_UP.cells[4]).mean == pytest.approx(6.0)
    assert accuracy(carried).mean == pytest.approx(50.115)


def test_without_an_end_there_is_no_gap() -> None:
    alone = replace(MADE_UP, cells=MADE_UP.cells[4:])
    assert alone.gap(alone.cells[-1], rule="strict") is None


def test_tables_name_budgets_rules_and_gaps() -> None:
    header, *lines = frontier_rows(MADE_UP, "convnet 32", "steps")
    assert header == ["method", "bytes", "480 steps"]
    assert [line[0] for line in lines] == ["random", "carried"]
    header, *lines = cell_rows(MADE_UP, "convnet 32")
    assert header[-2:] == ["published gap", "strict gap"]
    (carried,) = (line for line in lines if line[0] == "carried")
    assert carried[3] == "muon x 1" and carried[6].startswith("+6.0")
    assert carried[-2].startswith("1.00") and carried[-1].startswith("0.80")


def test_a_plot_names_every_method() -> None:
    (panel,) = panels(MADE_UP)
    assert "convnet 32: accuracy over gradient steps" in panel.plot
    for method in ("random", "carried"):
        assert f">{method}<" in panel.plot


def test_it_is_saved_as_it_is(tmp_path: Path) -> None:
    frontier_ = replace(MADE_UP, trials={"a": 0.5, "b": None})
    frontier_.save(tmp_path / "frontier.json")
    assert Frontier.load(tmp_path / "frontier.json") == frontier_


def test_the_command_prints_it_and_the_report_plots_it(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "frontier.yaml", tmp_path / "told"
    file.write_text(recipe.to_yaml())
    flags = ["--frontier.methods", "random", "carried", "--frontier.steps", "2", "4"]
    flags += ["--frontier.bytes", "9kB", "--frontier.at-steps", "2", "--frontier.seeds", "1"]
    flags += ["--frontier.lr-factors", "1"]
    assert main(["frontier", str(file), "--out", str(out), *flags]) == 0
    said = capsys.readouterr().out
    assert "gradient steps" in said and "every place" in said and "carried" in said
    page = write_report(out).read_text("utf-8")
    assert "What a budget buys" in page
    assert math.isfinite(accuracy(Frontier.load(out / "frontier.json").cells[0]).mean)
