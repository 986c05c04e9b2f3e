"""Read what a run's folder contains; anything may be missing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.evaluation.label_free import LabelFreeScores
from decoct.evaluation.probe import ProbeScore
from decoct.evaluation.scores import REFERENCE, Scores
from decoct.methods.registry import METHODS
from decoct.methods.teacher import Teacher
from decoct.report.teacher_story import TeacherStory, teacher_story
from decoct.run.manifest import read_manifest
from decoct.run.method_stages import encoder_of, probe_of, read_probe, set_of
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
    label_free: LabelFreeScores | None = None
    hero: str = ""  # the recipe's own method
    probes: dict[str, list[ProbeScore]] = field(default_factory=dict)  # by method, of all seeds
    # The sets to show, by method and seed: the recipe's own, then those of the proposed methods.
    sets: dict[str, dict[int, DistilledSet]] = field(default_factory=dict)
    teacher: TeacherStory = field(default_factory=TeacherStory)
    assistant_losses: tuple[float, ...] = ()  # by epoch
    pool: Images | None = None
    targets: Targets | None = None  # of every image of the pool
    encoder: Encoder | None = None  # the recipe's own
    files: dict[str, Path] = field(default_factory=dict)  # "distilled" and "encoder", to be used
    variance: Variance | None = None
    ablation: Ablation | None = None
    frontier: Frontier | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    inputs: dict[str, list[str]] = field(default_factory=dict)  # by stage: its input stages
    sorts: dict[str, str] = field(default_factory=dict)  # by stage: the name of its sort
    processes: dict[str, int] = field(default_factory=dict)  # by stage, if several made it together
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what could not be read, and why


def read_contents(folder: Path) -> Contents:
    """Read what `run.json` names; raises `DecoctError` if the folder is not a run's.

    A missing or damaged artefact is noted, and the others are read.
    """
    if not (folder / "run.json").is_file():
        raise DecoctError(f"{folder} is not the folder of a run: there is no run.json in it")
    manifest = read_manifest(folder / "run.json")
    stages: dict[str, str] = manifest["stages"]
    notes: list[str] = []
    text, recipe = _recipe(folder / "recipe.yaml")
    hero = str(recipe.get("method", Recipe.method))
    seed = recipe.get("seed") or 0
    own = {"distilled": set_of(hero, seed), "encoder": encoder_of(hero, seed)}

    def read(load: Callable[[Path], T], file: Path | None) -> T | None:
        return _attempt(partial(load, file), notes) if file and file.is_file() else None

    def of(stage: str, file: str = "") -> Path | None:
        return folder / stages[stage] / f"{file or stage}.safetensors" if stage in stages else None

    sets = {method: _sets(folder, stages, method, notes) for method in _shown_first(hero)}
    trained = read(Encoder.load, of("teacher"))
    assistant = read(Assistant.load, of("assistant"))
    return Contents(
        name=str(recipe.get("name") or folder.resolve().name),
        recipe=text,
        scores=read(Scores.load, folder / "scores.json"),
        label_free=read(LabelFreeScores.load, folder / "label_free.json"),
        hero=hero,
        probes={m: _probes(folder, stages, m, notes) for m in (REFERENCE, hero, Teacher.name)},
        sets={method: found for method, found in sets.items() if found},
        teacher=teacher_story(recipe, trained),
        assistant_losses=tuple(assistant.provenance.get("losses", ())) if assistant else (),
        pool=read(Images.load, of("images")),
        targets=read(Targets.load, of("targets")),
        encoder=read(Encoder.load, of(own["encoder"], "encoder")),
        files=_files(folder, {kind: of(stage, kind) for kind, stage in own.items()}),
        variance=read(Variance.load, folder / "variance.json"),
        ablation=read(Ablation.load, folder / "ablation.json"),
        frontier=read(Frontier.load, folder / "frontier.json"),
        seconds=manifest["seconds"],
        inputs=manifest.get("inputs", {}),
        sorts=manifest.get("sorts", {}),
        processes=manifest.get("processes", {}),
        versions={k: v for k, v in manifest.items() if isinstance(v, str)},
        notes=tuple(notes),
    )


def _files(folder: Path, stages: dict[str, Path | None]) -> dict[str, Path]:
    """The files to use: those at the top of the folder, else those of the stages."""
    found = {}
    for kind, made in stages.items():
        top = folder / f"{kind}.safetensors"
        there = next((path for path in (top, made) if path and path.is_file()), None)
        if there:
            found[kind] = there
    return found


def _shown_first(hero: str) -> list[str]:
    """The methods whose sets are shown: the recipe's own, then the other proposed ones."""
    proposed = [name for name, kind in METHODS.items() if kind.proposed]
    return list(dict.fromkeys([hero, *proposed]))


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


def _probes(
    folder: Path, stages: dict[str, str], method: str, notes: list[str]
) -> list[ProbeScore]:
    """A method's probes on all seeds."""
    label = probe_of(method, 0).removesuffix("0")
    files = (folder / at / "probe.json" for name, at in stages.items() if name.startswith(label))
    found = (_attempt(partial(read_probe, file), notes) for file in files if file.is_file())
    return [score for scores in found if scores for score in scores]


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
