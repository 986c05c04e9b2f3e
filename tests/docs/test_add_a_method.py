"""The page "Add a method" is run."""

import re
from pathlib import Path

import pytest

from decoct.methods.registry import METHODS
from decoct.run.recipe import Recipe

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


def test_the_example_runs(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    before = dict(METHODS)
    names: dict[str, object] = {"__name__": "page"}
    try:
        exec(code.replace('"demo"', '"mine.yaml"'), names)
        recipe = names["recipe"]
        assert isinstance(recipe, Recipe) and recipe.typical.skip == 0
    finally:
        METHODS.clear()
        METHODS.update(before)
    assert {s.method for s in names["scores"].scores} == {"random", "typical"}  # type: ignore[attr-defined]
    assert (tmp_path / "runs/typical/scores.json").exists()
