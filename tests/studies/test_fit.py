"""What of a set fits a budget: every way tried, judged by held-out images, and told."""

from dataclasses import replace
from pathlib import Path

import pytest

from decoct.cli import main
from decoct.core.errors import DecoctError, DivergedError
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.studies import held_out
from decoct.studies.fit import Fit, FitConfig, fit
from decoct.studies.held_out import held_out_error

CONFIG = FitConfig(widths=(8, 4), weights=("int8",), qualities=(30, 80), plain=(0.0,))


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return tiny_recipe.having(budget="4kB", method="carried").set("images.holdout", 0.25)


@pytest.fixture
def found(recipe: Recipe, tmp_path: Path) -> Fit:
    return fit(recipe=recipe, folder=tmp_path / "run", config=CONFIG)


def test_every_way_fits_and_the_best_comes_first(
    recipe: Recipe, found: Fit, tmp_path: Path
) -> None:
    ways = {(c.width, c.weights, c.quality) for c in found.candidates}
    assert ways == {(8, "int8", 30), (8, "int8", 80), (4, "int8", 30), (4, "int8", 80)}
    assert all(0 < c.bytes <= 4_000 for c in found.candidates)
    errors = [c.error for c in found.candidates]
    assert errors == sorted(errors)
    by_way = {(c.width, c.quality): c for c in found.candidates}
    assert by_way[8, 30].images > by_way[8, 80].images  # small pictures leave room for more
    assert by_way[4, 80].images > by_way[8, 80].images  # and so does a small labeller

    best = found.candidates[0]
    chosen = replace(recipe, budget="", size=best.images)
    chosen = chosen.set("assistant.network.width", best.width)
    chosen = chosen.set("labeller.weights", best.weights).set("labeller.quality", best.quality)
    run = Run(chosen, tmp_path / "again")
    assert held_out_error(run, run.encoder("carried", 0)) == best.error
    assert Fit.load(tmp_path / "run/fit.json") == found


def test_what_is_known_is_not_tried_again(
    recipe: Recipe, found: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("this was known")

    monkeypatch.setattr(Run, "pretrained", refuse)
    assert fit(recipe=recipe, folder=tmp_path / "run", config=CONFIG) == found


def test_processes_side_by_side_find_the_same(recipe: Recipe, found: Fit, tmp_path: Path) -> None:
    shared = fit(recipe=recipe, folder=tmp_path / "shared", config=CONFIG, jobs=2)
    assert {replace(c, error=0) for c in shared.candidates} == {
        replace(c, error=0) for c in found.candidates
    }
    assert [c.error for c in shared.candidates] == pytest.approx(
        [c.error for c in found.candidates], rel=1e-3
    )


def test_one_that_diverges_comes_last(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(run: Run, encoder: object) -> float:
        if run.recipe.get("assistant.network.width") == 8:
            raise DivergedError("no")
        return 0.5

    monkeypatch.setattr(held_out, "held_out_error", diverge)
    found = fit(recipe=recipe, folder=tmp_path / "run", config=CONFIG)
    assert [c.width for c in found.candidates] == [4, 4, 8, 8]
    assert Fit.load(tmp_path / "run/fit.json") == found  # JSON has no infinity


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": ""}, "needs the bytes that a set may take"),
        ({"method": "random"}, "chooses for sets that carry a labeller: carried"),
        ({"budget": "100B"}, "100B hold no set of carried that was tried"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    recipe: Recipe, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(DecoctError, match=said):
        fit(recipe=recipe.having(**changes), folder=tmp_path / "run", config=CONFIG)


def test_without_images_held_out_nothing_can_be_chosen(recipe: Recipe, tmp_path: Path) -> None:
    whole = recipe.set("images.holdout", 0.0)
    with pytest.raises(DecoctError, match="held out"):
        fit(recipe=whole, folder=tmp_path / "run", config=CONFIG)


def test_the_command_says_what_the_recipe_must_say(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "fit.yaml", tmp_path / "told"
    file.write_text(replace(recipe, budget="").to_yaml())
    flags = ["--budget", "4kB", "--fit.widths", "4", "--fit.weights", "int8"]
    assert (
        main(
            [
                "fit",
                str(file),
                "--out",
                str(out),
                *flags,
                "--fit.qualities",
                "50",
                "--fit.plain",
                "0.5",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert (
        "labeller's width" in said and "labeller: {weights: int8, quality: 50, plain: 0.5}" in said
    )
    assert main(["show", str(out / "fit.json")]) == 0
    assert "1 ways to keep carried in 4kB" in capsys.readouterr().out
