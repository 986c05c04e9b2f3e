"""`decoct runs`: what lies in a folder of runs, one line each."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.filesize import decimal as size_text

from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.run.folder import size_of, stage_folders
from decoct.run.graph import Graph
from decoct.run.recipe import load_recipe

_NOW_S = 120.0  # a run whose files changed this recently may still be going on
_HEADER = ["run", "recipe", "state", "stages", "size", "best set", "changed"]


@dataclass(frozen=True)
class RunSummary:
    """A run's folder in brief."""

    folder: Path
    recipe: str
    state: str  # finished, unfinished, or why it cannot be told
    done: int  # stages that are complete
    stages: int  # of the recipe; 0: unknown
    bytes: int
    best: str  # the method that makes the best set, and its accuracy
    changed: float  # seconds since 1970


def runs_in(folder: Path | str) -> list[RunSummary]:
    """The runs in a folder, the last changed first; the folder may be a run itself.

    Raises `DecoctError` if there is none.
    """
    folder = Path(folder)
    places = [folder, *(sorted(folder.iterdir()) if folder.is_dir() else ())]
    found = [_summary(place) for place in places if _is_run(place)]
    if not found:
        raise DecoctError(f"there is no run in {folder}: a run's folder has a recipe.yaml")
    return sorted(found, key=lambda run: -run.changed)


def runs_rows(runs: list[RunSummary]) -> list[list[str]]:
    """A header and a row for each run, as text."""
    return [
        _HEADER,
        *(
            [
                run.folder.name or str(run.folder),
                run.recipe,
                run.state,
                f"{run.done} of {run.stages}" if run.stages else str(run.done),
                size_text(run.bytes),
                run.best,
                datetime.fromtimestamp(run.changed).strftime("%Y-%m-%d %H:%M"),
            ]
            for run in runs
        ),
    ]


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file() or (
        (folder / "recipe.yaml").is_file() and bool(stage_folders(folder))
    )


def _summary(folder: Path) -> RunSummary:
    changed = max(_times(folder))
    try:
        recipe = load_recipe(folder / "recipe.yaml")
        graph = Graph(recipe)
        wanted = [s.name for s in graph.of_a_run() if s.is_kept]
        made = {path.name for path in stage_folders(folder) if _is_complete(path)}
        done = sum(f"{name}-{graph.key(name)}" in made for name in wanted)
    except DecoctError:
        made = {path.name for path in stage_folders(folder) if _is_complete(path)}
        return RunSummary(
            folder, "", "recipe unreadable", len(made), 0, size_of(folder), "", changed
        )
    unfinished = "at work?" if time.time() - changed < _NOW_S else "unfinished"
    state = "finished" if done == len(wanted) else unfinished
    best = _best(folder / "scores.json")
    return RunSummary(folder, recipe.name, state, done, len(wanted), size_of(folder), best, changed)


def _times(folder: Path) -> Iterator[float]:
    yield folder.stat().st_mtime
    for path in folder.iterdir():
        yield path.stat().st_mtime


def _is_complete(stage: Path) -> bool:
    """Whether a stage's folder holds its result, and no checkpoint of unfinished work."""
    names = {path.name for path in stage.iterdir() if not path.name.startswith(".")}
    return bool(names - {"seconds.json", "metrics.jsonl"}) and "state.safetensors" not in names


def _best(path: Path) -> str:
    """The best method that makes a set, with its accuracy, mean over tasks and labels."""
    try:
        scores = Scores.load(path)
    except DecoctError:
        return ""
    sets = [row for row in scores.rows(None) if row.method in METHODS]
    sets = [row for row in sets if METHODS[row.method].makes_set]
    if not sets:
        return ""
    best = max(sets, key=lambda row: row.accuracy.mean)
    return f"{best.method} {best.accuracy}"
