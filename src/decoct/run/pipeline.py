"""`Run`: one recipe in one folder; what is complete is read, the rest is made on demand."""

import platform
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.provenance import versions
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import atomic, checkpoint, ranks, storage
from decoct.core.console import note
from decoct.core.device import resolve_device
from decoct.core.errors import DecoctError
from decoct.core.place import FAILING_STEP, Place
from decoct.data.images import Images
from decoct.data.listing import SAVED_RECIPE
from decoct.data.tasks import Task
from decoct.evaluation.label_free import LabelFreeScores
from decoct.evaluation.probe import ProbeScore
from decoct.evaluation.scores import Score
from decoct.methods.inputs import Inputs, Made, chooser
from decoct.methods.registry import method_kind
from decoct.methods.sizes import Sizes
from decoct.run.agreement import check_sharers
from decoct.run.folder import StageFolders
from decoct.run.graph import Graph
from decoct.run.method_stages import encoder_of, label_free_of, probe_of, set_of
from decoct.run.preflight import check_run
from decoct.run.recipe import Recipe
from decoct.run.sizes import sizes_of
from decoct.run.stage import Stage
from decoct.run.stages import Split


class Run:
    """The stages of a recipe, made in a folder or found there."""

    pool = Made[Images]("images")  # all unlabelled images, including those held out
    split = Made[Split]("split")
    images = Made[Images]("images learnt from")  # the pool without the held-out images
    tasks = Made[list[Task]]("tasks")  # the labelled sets on which encoders are probed
    teacher = Made[Encoder]("teacher")
    pool_targets = Made[Targets]("targets")  # of every image of the pool
    targets = Made[Targets]("targets learnt from")  # of the images that are not held out
    trajectories = Made[Trajectories]("experts")
    difficulty = Made[Tensor]("difficulty")
    assistant = Made[Assistant]("assistant")

    def __init__(self, recipe: Recipe, folder: Path | str, *, alike: "Run | None" = None) -> None:
        """`alike` is a run with the same pool and tasks, whose loaded data this run shares."""
        if recipe.budget:
            raise DecoctError("a run has no budget, but a size: see decoct.within_budget")
        self.recipe, self.folder = recipe, Path(folder).expanduser()
        self.device = resolve_device(recipe.device)
        self.graph, self.stages = Graph(recipe), StageFolders(self.folder)
        self._made: dict[str, Any] = {}
        self._asked: dict[str, None] = {}  # requested stages, in order
        self._done: set[str] = set()  # stages that are there, with all that led to them
        self._whole: set[str] = set()  # stages whose files were read or made
        self._there: set[str] = set()  # stages that another process, or this one, has made
        self._planned: list[str] = []  # the stages that are kept, of those that lead to the goal
        if alike is not None:
            self._made |= {n: alike._made[n] for n in ("images", "tasks") if n in alike._made}

    def get(self, name: str) -> Any:
        """The result of a stage, by name; results that all seeds share stay in memory."""
        self._asked[name] = None
        if name in self._made:
            return self._made[name]
        stage = self.graph.stage(name)
        found = self._kept(stage) if stage.artefact else self._unkept(stage)
        self._whole.add(name)
        self._done |= {source.name for source in self.graph.reachable([name])}
        if stage.seed is None:
            self._made[name] = found
        return found

    def is_there(self, name: str) -> bool:
        """Whether a stage's artefact is whole; one that fills its folder is once it was asked for.

        What was found to be whole stays so.
        """
        artefact = self.graph.stage(name).artefact
        if name not in self._whole and artefact:
            file = self.folder / f"{name}-{self.graph.key(name)}" / artefact.file
            if storage.is_valid(file, kind=artefact.kind):
                self._whole.add(name)
                self._done |= {source.name for source in self.graph.reachable([name])}
        return name in self._whole

    def take_part(self, name: str) -> None:
        """Make a stage together with all other processes; the first keeps the result."""
        stage = self.graph.stage(name)
        if ranks.is_first():
            self.get(name)
        else:
            self._make(stage, self.stages.of(name, self.graph.key(name)))

    def trust(self, names: Iterable[str]) -> None:
        """Read these stages from now on, and make them no more: another process says they exist."""
        self._there |= set(names)
        self._done |= set(names)

    def _kept(self, stage: Stage[Any]) -> Any:
        """Read it from its file; if there is none, make the file first."""
        artefact = stage.artefact
        assert artefact is not None
        if stage.name in self._there:
            folder = self.stages.of(stage.name, self.graph.key(stage.name))
            return artefact.load(folder / artefact.file)

        def make(path: Path) -> None:
            self._begin(stage)
            artefact.save(self._make(stage, path.parent), path)

        path = self.stages.artefact(
            stage.name,
            self.graph.key(stage.name),
            file=artefact.file,
            kind=artefact.kind,
            make=make,
            make_inputs=partial(self._make_inputs, stage),
        )
        return artefact.load(path)

    def _unkept(self, stage: Stage[Any]) -> Any:
        if not stage.fills_folder:
            return stage.make(self._inputs(stage), Place(self.device))
        path = self.stages.of(stage.name, self.graph.key(stage.name))
        if stage.name in self._there:
            return stage.make(self._inputs(stage), Place(self.device, path))
        if not path.exists():
            self._begin(stage)
        with self.stages.timed(stage.name, path):
            return self._make(stage, path)

    def _make(self, stage: Stage[Any], folder: Path) -> Any:
        """Make a stage's result; beside a step that it fails at stands the recipe, to repeat it."""
        step = folder / FAILING_STEP
        if ranks.is_first():
            checkpoint.remove(step)  # of an earlier try
        try:
            return stage.make(self._inputs(stage), Place(self.device, folder))
        finally:
            if ranks.is_first() and step.is_file():
                atomic.write_text(step.with_suffix(".yaml"), self.recipe.to_yaml())

    def plan(self, names: Iterable[str]) -> None:
        """Count the stages that lead to these, for people who wait."""
        self._planned = [s.name for s in self.graph.reachable(names) if s.is_kept]

    def _begin(self, stage: Stage[Any]) -> None:
        """Say which stage begins, after all that it is made from, so that they are in order."""
        if stage.name not in self._planned:
            self.plan([stage.name])
        self._make_inputs(stage)
        done = sum(name in self._done for name in self._planned)
        note(f"stage {done + 1} of {len(self._planned)}: {stage.name}")

    def _make_inputs(self, stage: Stage[Any]) -> None:
        for source in map(self.graph.stage, stage.inputs):
            if source.is_kept:
                self._input(source.name)
            else:
                self._make_inputs(source)

    def _inputs(self, stage: Stage[Any]) -> Inputs:
        """The stage's inputs, by the names that it uses."""
        sources: dict[str, Callable[[], Any]] = {n: partial(self._input, n) for n in stage.inputs}
        for name, source in stage.aliases.items():
            sources[name] = partial(self._rows if chooser(name) else self._input, source)
        given = stage.given(self._counts()) if stage.seed is not None else {}
        return Inputs(sources, **given)

    def _input(self, name: str) -> Any:
        """A stage's result, which several processes never make together, as they read it."""
        with ranks.alone():
            return self.get(name)

    def _rows(self, name: str) -> Tensor:
        """The images that a set holds, as rows of the training images: int64, m."""
        index: Tensor = self._input(name).index
        return torch.searchsorted(self._input("split")[0], index)

    def _counts(self, dimensions: int = 0) -> Sizes:
        """The counts that determine the cost of stages."""
        return sizes_of(self.recipe, self.pool, dimensions=dimensions)

    def check(self) -> None:
        """Fail early: raise for what would fail only hours later."""
        self.check_folder()
        self.plan(self.graph.asked_for())
        check_run(self.graph, images=self.pool, tasks=self.tasks, folder=self.folder)

    def distilled(self, method: str, seed: int) -> DistilledSet:
        """A method's set: synthetic images, or a few real ones."""
        found: DistilledSet = self.get(set_of(method, seed))
        return found

    def encoder(self, method: str, seed: int) -> Encoder:
        """The encoder that a method makes."""
        found: Encoder = self.get(encoder_of(method, seed))
        return found

    def pretrained(self, method: str, seed: int) -> Encoder:
        """As `encoder`, but made again and not saved."""
        stage = self.graph.stage(encoder_of(method, seed))
        found: Encoder = stage.make(self._inputs(stage), Place(self.device))
        return found

    def probe_scores(self, method: str, seed: int) -> list[Score]:
        """A method's accuracies on every task, with one seed's labelled examples."""
        found: list[ProbeScore] = self.get(probe_of(method, seed))
        return [
            Score(method, seed, score.task, score.labels, score.draw, score.accuracy)
            for score in found
        ]

    def label_free(self, method: str, seed: int) -> LabelFreeScores:
        """What a method's encoder is worth without labels."""
        found: LabelFreeScores = self.get(label_free_of(method, seed))
        return found

    def repeat(self, folder: Path) -> NoReturn:
        """Take again the step that a stage failed at, from the state before it, and no other.

        Raises `DivergedError` if it fails again, otherwise `FiniteThisTime`, and another
        `DecoctError` if the recipe does not make this stage.
        """
        name = folder.name.rpartition("-")[0]
        stage = self.graph.stage(name)
        if folder.name != f"{name}-{self.graph.key(name)}":
            raise DecoctError(
                f"{folder} was made from other files than those that the recipe names now, or by "
                "another version of decoct; its step cannot be repeated"
            )
        stage.make(self._inputs(stage), Place(self.device, folder, repeats=True))
        raise AssertionError(f"{stage.name} went on after its step")

    def folders_made_from(self, stage: str) -> list[Path]:
        """The folders of a stage and of all that is made from it, as far as they are there."""
        users = {
            user.name
            for user in self.graph.of_a_run()
            if stage in {source.name for source in self.graph.reachable([user.name])}
        }
        folders = (self.folder / f"{n}-{self.graph.key(n)}" for n in sorted(users | {stage}))
        return [folder for folder in folders if folder.is_dir()]

    def facts(self, method: str) -> dict[str, Any]:
        """How many images a method keeps, their bytes with the targets, and how long it trains."""
        uses_targets = any(
            stage.name == "targets"
            for stage in self.graph.reachable([encoder_of(method, self.recipe.seed)])
        )
        sizes = self._counts(self.targets.dimensions if uses_targets else 0)
        facts = self.recipe.configured(method).facts(sizes, self.recipe.pretraining(method))
        if method_kind(method).makes_set:  # what it is, not what was expected
            facts["bytes"] = self.distilled(method, self.recipe.seed).bytes
        return facts

    def mend(self) -> None:
        """Make damaged files again that nothing has read, as scores do not read their encoders."""
        for stage in self.graph.of_a_run():
            made = self.folder / f"{stage.name}-{self.graph.key(stage.name)}"
            there = made / stage.artefact.file if stage.artefact else made
            if stage.is_kept and stage.name not in self._whole and there.exists():
                self.get(stage.name)

    def publish(self) -> list[Path]:
        """Give the recipe's own set and encoder names at the top of the folder; returns these."""
        method, seed = self.recipe.method, self.recipe.seed
        names = [set_of(method, seed)] if method_kind(method).makes_set else []
        asked_for = {stage.name for stage in self.graph.reachable(self.graph.asked_for())}
        found = []
        for name in (*names, encoder_of(method, seed)):
            artefact = self.graph.stage(name).artefact
            if artefact is None:
                continue
            made = self.folder / f"{name}-{self.graph.key(name)}" / artefact.file
            if made.is_file() or name in asked_for:
                self.get(name)  # one that is damaged or gone is made again, though scores are there
                atomic.link(made, self.folder / artefact.file)
                found.append(self.folder / artefact.file)
        return found

    def check_folder(self) -> None:
        """Raise `DecoctError` if the folder holds a recipe that a person wrote."""
        path = self._recipe_file
        if path.is_file() and not _was_saved(path.read_text("utf-8", errors="replace")):
            raise DecoctError(f"{path} is a recipe of yours; choose another folder with --out")

    def save_recipe(self) -> None:
        """Write the resolved recipe into the folder, once it is known to work.

        Raises `DecoctError` rather than overwrite a recipe that a person wrote there, or that
        others have who share the folder.
        """
        self.check_folder()
        check_sharers(self.recipe, self._recipe_file)
        self.stages.sweep()
        atomic.write_text(self._recipe_file, SAVED_RECIPE + self.recipe.to_yaml())

    @property
    def _recipe_file(self) -> Path:
        return self.folder / "recipe.yaml"

    def save_manifest(self) -> None:
        """Write each stage's folder, seconds and inputs, for the report to read."""
        stages = self.graph.reachable([*self.graph.asked_for(), *self._asked])
        for stage in stages:
            self.stages.find(stage.name, self.graph.key(stage.name))  # may be from an earlier run
        content = {
            "stages": self.stages.used,
            "seconds": self.stages.seconds(),
            "processes": self.stages.processes(),
            "inputs": {stage.name: list(stage.inputs) for stage in stages},
            "seeds": {stage.name: stage.seed for stage in stages},
            "sorts": {stage.name: stage.sort or stage.name for stage in stages},
            **versions(),
            "python": platform.python_version(),
            "platform": platform.platform(),
        }
        storage.save_json(self.folder / "run.json", content, kind="run")


def _was_saved(text: str) -> bool:
    """Whether a recipe's text is one that a run wrote, here or in an earlier version."""
    complete = all(f"\n{section}:\n" in text for section in ("images", "pretrain", "compare"))
    return text.startswith(SAVED_RECIPE) or (complete and "#" not in text)
