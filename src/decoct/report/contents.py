"""Read what a run's folder contains; anything may be missing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.embedded_teacher import embedded_teacher
from decoct.artefacts.encoder import Encoder
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.run.recipe import Recipe
from decoct.studies.ablation import Ablation
from decoct.studies.frontier.cells import Frontier
from decoct.studies.variance.findings import Variance

T = TypeVar("T")


@dataclass(frozen=True)
class Contents:
    """The artefacts for a report; each may be missing."""

    name: str  # of the recipe, otherwise of the folder
    recipe: str = ""  # YAML
    scores: Scores | None = None
    hero: str = ""  # the recipe's own method
    sets: dict[int, DistilledSet] = field(default_factory=dict)  # of synthetic images, by seed
    views: DistilledSet | None = None  # the first set that has views
    teacher_losses: tuple[float, ...] = ()
    variance: Variance | None = None
    ablation: Ablation | None = None
    frontier: Frontier | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    inputs: dict[str, list[str]] = field(default_factory=dict)  # by stage: its input stages
    sorts: dict[str, str] = field(default_factory=dict)  # by stage: the name of its sort
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what could not be read, and why


def read_contents(folder: Path) -> Contents:
    """Read what `run.json` names; raises `DecoctError` if the folder is not a run's.

    A missing or damaged artefact is noted, and the others are read.
    """
    if not (folder / "run.json").is_file():
        raise DecoctError(f"{folder} is not the folder of a run: there is no run.json in it")
    manifest = storage.load_json(folder / "run.json", kind="run")
    stages: dict[str, str] = manifest["stages"]
    notes: list[str] = []
    text, recipe = _recipe(folder / "recipe.yaml")
    hero = str(recipe.get("method", Recipe.method))
    shown = [_sets(folder, stages, method, notes) for method in _shown_first(hero)]
    viewed = (found for sets in shown for found in sets.values() if found.has_views)
    scores, variance = folder / "scores.json", folder / "variance.json"
    ablation, frontier = folder / "ablation.json", folder / "frontier.json"
    losses = _attempt(partial(_teacher_losses, folder, stages, recipe), notes)
    return Contents(
        name=str(recipe.get("name") or folder.resolve().name),
        recipe=text,
        scores=_attempt(partial(Scores.load, scores), notes) if scores.exists() else None,
        hero=hero,
        sets=next((sets for sets in shown if any(map(_is_learnt, sets.values()))), {}),
        views=next(viewed, None),
        teacher_losses=tuple(losses or ()),
        variance=_attempt(partial(Variance.load, variance), notes) if variance.exists() else None,
        ablation=_attempt(partial(Ablation.load, ablation), notes) if ablation.exists() else None,
        frontier=_attempt(partial(Frontier.load, frontier), notes) if frontier.exists() else None,
        seconds=manifest["seconds"],
        inputs=manifest.get("inputs", {}),
        sorts=manifest.get("sorts", {}),
        versions={k: v for k, v in manifest.items() if isinstance(v, str)},
        notes=tuple(notes),
    )


def _shown_first(hero: str) -> list[str]:
    """The methods whose sets are shown: the recipe's own, then the other proposed ones."""
    proposed = [name for name, kind in METHODS.items() if kind.proposed]
    return list(dict.fromkeys([hero, *proposed]))


def _is_learnt(distilled: DistilledSet) -> bool:
    """Whether the images of a set are synthetic."""
    kind = METHODS.get(distilled.method)
    return kind.synthetic if kind else distilled.initial is not None


def _sets(
    folder: Path, stages: dict[str, str], method: str, notes: list[str]
) -> dict[int, DistilledSet]:
    """A method's sets by seed."""
    found = {
        int(label.removeprefix(f"{method}-seed")): _attempt(
            partial(DistilledSet.load, folder / at / "distilled.safetensors"), notes
        )
        for label, at in stages.items()
        if label.startswith(f"{method}-seed")
    }
    return {seed: distilled for seed, distilled in sorted(found.items()) if distilled}


def _attempt(read: Callable[[], T], notes: list[str]) -> T | None:
    try:
        return read()
    except DecoctError as error:
        notes.append(str(error))
        return None


def _recipe(path: Path) -> tuple[str, dict[str, Any]]:
    """The recipe's text and settings; empty if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError):
        return "", {}
    except yaml.YAMLError:
        return text, {}
    return text, content if isinstance(content, dict) else {}


def _teacher_losses(folder: Path, stages: dict[str, str], recipe: dict[str, Any]) -> list[float]:
    """The loss per epoch of the teacher trained in this run, or of the embedded one."""
    if "teacher" in stages:
        provenance = Encoder.load(folder / stages["teacher"] / "teacher.safetensors").provenance
        return list(provenance.get("losses", []))
    teacher, targets = recipe.get("teacher") or {}, recipe.get("targets") or {}
    if teacher.get("source") == "embedded" and not targets.get("source"):
        return list(embedded_teacher().provenance.get("losses", []))
    return []
