"""`Plan`: what to do with a folder of pictures, decided from a look at it and the time allowed."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.filesize import decimal as size_text

from decoct.core.device import resolve_device
from decoct.core.duration import seconds_of
from decoct.core.errors import DecoctError
from decoct.data.survey import Survey, survey
from decoct.methods.method import FLOAT
from decoct.methods.sizes import Sizes, TaskSize
from decoct.run.division import seconds_of_run
from decoct.run.doctor import duration_text
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe
from decoct.run.timing import by_sort, seconds_by_name
from decoct.training.best_teacher import best_teacher

_FEWEST = 64  # pictures: fewer leave nothing to learn from, or to judge on
_SIDES = (64, 32)  # pixels to choose from: the largest for which there is time
_SEEDS = (3, 1)  # of the comparison, likewise
_STEPS = (200, 2000)  # of a teacher's training, at least and at most
_CLASS = 8  # pictures that every class folder must have for its name to serve as a label
_JUDGED = 2000  # pictures held out at most
_TEST_SHARE = 0.25  # of labelled pictures
_TEACHER_STEPS = "teacher.ssl.steps"
_TRAIN = "@train"  # the part of a labelled folder that is not for testing


@dataclass(frozen=True)
class Wishes:
    """What a user may say beside the folder and a recipe's settings; what is empty is decided."""

    time: str = "15min"  # for everything: sets the teacher's length and the size of the pictures
    teacher: str = ""  # timm:NAME, a checkpoint, or `train`
    labels: str = ""  # a labelled folder to judge on, or `none`; default: the folder's own classes


@dataclass(frozen=True)
class Plan:
    """A recipe, and in words what was found and what will be done."""

    recipe: Recipe
    lines: tuple[str, ...]


def plan(draft: "Draft", *, folder: Path, found: Survey, wishes: Wishes, devices: int = 1) -> Plan:
    """Decide what `draft` leaves open for a folder of pictures; measuring takes some seconds.

    Of several `devices`, which share the work, each is as fast as the one it is measured on.

    Raises `DecoctError` for fewer than 64 pictures.
    """
    if found.pictures < _FEWEST:
        raise DecoctError(
            f"{folder} holds {found.pictures} pictures; to distil them, and to judge the result, "
            f"takes at least {_FEWEST}"
        )
    allowed = seconds_of(wishes.time)
    draft, teacher = _with_teacher(_with_data(draft, folder, found, wishes), wishes.teacher)
    drafts = [_sized(draft, seeds, side) for side in _sides(found) for seeds in _SEEDS]
    trials = [_Trial(one, found, devices) for one in drafts]
    trial = next((t for t in trials if t.seconds(_STEPS[0]) <= allowed), trials[-1])
    draft = trial.draft
    if draft.recipe.teacher.train:
        if _TEACHER_STEPS not in draft.said:
            draft = draft.decide(_TEACHER_STEPS, trial.steps_within(allowed))
        ssl = draft.recipe.teacher.ssl
        length = f"{ssl.steps:,} steps" if ssl.steps else f"{ssl.epochs:,} epochs"
        teacher = f"{length} of {teacher}"
    lines = (
        _found_line(found),
        _judged_line(draft.recipe),
        f"teacher: {teacher}",
        trial.set_line(),
        trial.cost_line(draft.recipe.teacher.ssl.steps, allowed),
    )
    return Plan(draft.recipe, lines)


@dataclass(frozen=True)
class Draft:
    """A recipe of which some settings were said, so that they are not decided."""

    recipe: Recipe
    said: frozenset[str] = frozenset()  # paths, such as "images.size"

    def decide(self, setting: str, value: Any) -> "Draft":
        """The draft with a setting changed, unless the user said it."""
        if setting in self.said:
            return self
        return replace(self, recipe=self.recipe.set(setting, value))


def _with_data(draft: Draft, folder: Path, found: Survey, wishes: Wishes) -> Draft:
    recipe, source = draft.recipe, str(folder)
    tasks: tuple[str, ...] = ()
    if wishes.labels not in ("", "none"):
        tasks = (wishes.labels,)
    elif not wishes.labels and _labelled(found):
        source, tasks = f"{folder}{_TRAIN}", (str(folder),)
    few = found.pictures // 4
    return (
        draft.decide("images.source", source)
        .decide("images.holdout", min(recipe.images.holdout, _JUDGED / found.pictures))
        .decide("compare.tasks", tasks)
        .decide("targets.components", min(recipe.targets.components, few))
        .decide("size", min(recipe.size, few))
    )


def _labelled(found: Survey) -> bool:
    counts = found.classes.values()
    return len(counts) > 1 and min(counts) >= _CLASS


def _with_teacher(draft: Draft, wanted: str) -> tuple[Draft, str]:
    """The draft with the teacher asked for, or the best at hand, and in words which and why."""
    trained = f"{draft.recipe.teacher.ssl.algorithm.replace('_', ' ')} on these pictures"
    if wanted == "train":
        return draft, trained
    if wanted:
        return draft.decide("teacher.train", False).decide("teacher.source", wanted), wanted
    found, reason = best_teacher()
    if found is None:
        return draft, f"{trained} ({reason})"
    brought = draft.decide("teacher.train", False).decide("teacher.source", found.source)
    fetched = "" if found.cached else ", about 90 MB to download"
    said = f"{found.title} ({found.licence}){fetched}"
    return brought.decide("teacher.size", found.size), said


def _sides(found: Survey) -> list[int]:
    """The sizes worth trying: not larger than half of the pictures are."""
    return [side for side in _SIDES if side <= found.shorter_sides[1]] or [_SIDES[-1]]


def _sized(draft: Draft, seeds: int, side: int) -> Draft:
    """With pictures of `side` pixels, and a labeller as deep as they need."""
    draft = draft.decide("images.size", side).decide("compare.seeds", seeds)
    depth = draft.recipe.assistant.network.depth + (draft.recipe.images.size > _SIDES[-1])
    return draft.decide("assistant.network.depth", depth)


def _found_line(found: Survey) -> str:
    """What lies in the folder."""
    least, median, most = found.shorter_sides
    line = (
        f"found: {found.pictures:,} pictures ({', '.join(found.formats)}), {least} to {most:,} "
        f"pixels across, half of them above {median:,}"
    )
    if found.unreadable:
        line += f"; {len(found.unreadable)} of {found.looked_at:,} looked at cannot be read"
    return f"{line}; {found.left_out}" if found.left_out else line


def _judged_line(recipe: Recipe) -> str:
    """How the result is judged."""
    held = f"{recipe.images.holdout:.0%} of the pictures, held out"
    if not recipe.compare.tasks:
        return f"judged by: {held}, without labels (class folders, or --labels FOLDER, add probes)"
    if recipe.images.source.endswith(_TRAIN):
        return (
            "judged by: linear probes on the class folders, of which a quarter is for testing and "
            f"not learnt from (--labels none: learn from all), and by {held}"
        )
    return f"judged by: linear probes on {', '.join(recipe.compare.tasks)}, and by {held}"


@dataclass(frozen=True)
class _Trial:
    """A draft that might do, and what it would take."""

    draft: Draft
    survey: Survey
    devices: int

    @property
    def recipe(self) -> Recipe:
        """The draft's."""
        return self.draft.recipe

    def seconds(self, teacher_steps: int) -> float:
        """The time of a whole run, with so many steps for a teacher that is trained here."""
        if _TEACHER_STEPS in self.draft.said:
            return self._others + self._teacher
        return self._others + teacher_steps * self._teacher / self.recipe.teacher.ssl.steps

    def steps_within(self, seconds: float) -> int:
        """The steps for which the teacher can be trained in the time that the rest leaves."""
        least, most = _STEPS
        a_step = self._teacher / self.recipe.teacher.ssl.steps
        return min(most, max(least, int((seconds - self._others) / a_step)))

    def set_line(self) -> str:
        """What the set will be."""
        recipe, side = self.recipe, self.recipe.images.size
        network = recipe.pretrain.network
        return (
            f"set: {self._sizes.count:,} of {self._sizes.images:,} pictures at {side} x {side} "
            "pixels, and the network that labels their views; it then pre-trains a "
            f"{network.name} of width {network.width} for {recipe.pretrain.steps:,} steps"
        )

    def cost_line(self, teacher_steps: int, allowed: float) -> str:
        """The time it takes, on which device, and the disk."""
        needed, device = self.seconds(teacher_steps), str(resolve_device(self.recipe.device))
        device = f"{self.devices} devices ({device})" if self.devices > 1 else device
        more = f", more than the {duration_text(allowed)} allowed" if needed > allowed else ""
        disk = size_text(self._sizes.pool * (self._sizes.pixels + FLOAT * self._sizes.dimensions))
        return f"takes: about {duration_text(needed)} on {device}{more}, and {disk} of disk"

    @cached_property
    def _sizes(self) -> Sizes:
        """The counts, without reading a picture."""
        recipe, pool = self.recipe, self.survey.pictures
        if recipe.images.source.endswith(_TRAIN):
            tasks = [_task_size(self.survey)]
            pool = tasks[0].train
        else:
            labelled = filter(Path.is_dir, map(Path, recipe.compare.tasks))  # others: unknown yet
            tasks = [_task_size(survey(folder)) for folder in labelled]
        images = pool - recipe.images.left_out(pool)
        return Sizes(
            pool=pool,
            images=images,
            count=recipe.set_size(images),
            channels=recipe.images.channels,
            size=recipe.images.size,
            dimensions=recipe.targets.components,
            student=recipe.experts.network,
            assistant=recipe.assistant.network,
            tasks=tuple(tasks),
        )

    @cached_property
    def _by_stage(self) -> dict[str, float]:
        graph, device = Graph(self.recipe), resolve_device(self.recipe.device)
        seconds = seconds_by_name(graph.of_a_run(), self._sizes, device)
        return by_sort(graph.of_a_run(), seconds_of_run(graph, seconds, self.devices))

    @property
    def _others(self) -> float:
        return sum(self._by_stage.values()) - self._teacher

    @property
    def _teacher(self) -> float:
        """The seconds of training it here; 0 if it is brought."""
        return self._by_stage.get("teacher", 0.0)


def _task_size(labelled: Survey) -> TaskSize:
    """The size of a folder of class folders as a task."""
    test = labelled.parts.get("test") or round(_TEST_SHARE * labelled.pictures)
    return TaskSize(labelled.pictures - test, test, len(labelled.classes))
