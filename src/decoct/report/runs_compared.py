"""`decoct runs compare A B`: what differs in two runs' recipes, and what came of it."""

from pathlib import Path
from typing import Any

import yaml

from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.report.table import columns, labels_phrase
from decoct.run.recipe import load_recipe

_NAMES = ("name", "device", "data")  # these make no difference to results


def compare_runs(first: Path | str, second: Path | str) -> str:
    """Two tables as text: settings that differ, and accuracies of the methods that both have.

    Accuracies are means over the tasks and choices of labels that both have, with 95 % intervals.
    Raises `DecoctError` if one is not a run's folder.
    """
    first, second = Path(first), Path(second)
    parts = [_said_of_settings(first, second)]
    if all((folder / "scores.json").exists() for folder in (first, second)):
        parts.append(_said_of_scores(first, second))
    else:
        parts.append("accuracies: not in both (decoct compare makes scores.json)")
    return "\n\n".join(parts)


def _said_of_settings(first: Path, second: Path) -> str:
    own, other = _settings(first), _settings(second)
    differing = [
        name for name in {**own, **other} if name not in _NAMES and own.get(name) != other.get(name)
    ]
    if not differing:
        return "the recipes are equal"
    rows = [[name, _text(own.get(name)), _text(other.get(name))] for name in differing]
    return columns([["setting", str(first), str(second)], *rows])


def _settings(folder: Path) -> dict[str, Any]:
    """Every setting of a run's recipe, by its path."""
    file = folder / "recipe.yaml"
    if not file.is_file():
        raise DecoctError(f"{folder} is not the folder of a run: there is no recipe.yaml in it")
    return dict(_flat(yaml.safe_load(load_recipe(file).to_yaml()), ""))


def _flat(content: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in content.items():
        is_section = isinstance(value, dict) and value
        found += _flat(value, f"{path}{key}.") if is_section else [(path + key, value)]
    return found


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _said_of_scores(first: Path, second: Path) -> str:
    found = [Scores.load(folder / "scores.json") for folder in (first, second)]
    tasks = set(found[0].tasks()) & set(found[1].tasks())
    labels = set(found[0].labels()) & set(found[1].labels())
    own, other = (
        Scores(tuple(s for s in scores.scores if s.task in tasks and s.labels in labels))
        for scores in found
    )
    theirs = {row.method: row for row in other.rows(None)}
    common = [
        [row.method, str(row.accuracy), str(theirs[row.method].accuracy)]
        for row in own.rows(None)
        if row.method in theirs
    ]
    if not common:
        return "accuracies: the runs have no method, task and choice of labels in common"
    table = columns([["method", str(first), str(second)], *common])
    where = f"{', '.join(sorted(tasks))}; {', '.join(map(labels_phrase, sorted(labels)))}"
    return f"{table}\naccuracy in per cent ± half the 95 % interval, mean over {where}"
