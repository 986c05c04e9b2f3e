"""A set that was not learnt to the end says so wherever its accuracies stand."""

from pathlib import Path

import pytest

from decoct.cli import main
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("mkdt", {"matching.lr_targets": 1e20}),
        ("krr-st", {"krr_st.lr": 3e17}),
    ],
)
def test_stopping_early_is_seen_everywhere(
    method: str,
    changes: dict[str, object],
    tiny_recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tiny_recipe.set("compare.methods", ("random", method)).set("matching.iterations", 9)
    recipe = recipe.set("krr_st.iterations", 9)
    for setting, value in changes.items():
        recipe = recipe.set(setting, value)
    file, out = tmp_path / "hot.yaml", tmp_path / "run"
    file.write_text(recipe.to_yaml())
    assert main(["run", str(file), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    where = Run(recipe, out).distilled(method, 0).stopped
    assert where and where.endswith("of 9")
    for table in ("; stopped early, because the loss was", "Stopped early, because the loss was"):
        words = f"{table} no longer finite: {method}'s set of seed 0 at {where}"
        assert words in " ".join(said.split())
    assert where in (out / "report.html").read_text("utf-8")
    assert main(["show", str(next(out.glob(f"{method}-seed0-*")))]) == 0
    assert f"STOPPED EARLY {where}" in " ".join(capsys.readouterr().out.split())


def test_a_set_learnt_to_the_end_says_nothing(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    assert run.distilled("mkdt", 0).stopped == "" == run.distilled("random", 0).stopped
