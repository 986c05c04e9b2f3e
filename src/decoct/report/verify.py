"""`decoct verify`: read every byte of every file, and say what is whole and what is not."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from decoct.core import claims, storage
from decoct.core.console import progress
from decoct.core.errors import DecoctError, ForeignError, UnreadableError
from decoct.core.place import STATE
from decoct.core.printable import one_line
from decoct.report.readers import READERS
from decoct.run.clean import unreachable
from decoct.run.folder import JOBS, stage_folders
from decoct.run.graph import Graph
from decoct.run.recipe import load_recipe
from decoct.run.stage import Stage

State = Literal["whole", "damaged", "unreadable", "unfinished", "missing", "text", "unknown"]
_SUFFIXES = (".safetensors", ".json")  # of the files that have a digest
_TEXTS = (  # which people may change
    *("recipe.yaml", "plan.yaml", "failing-step.yaml"),
    *("metrics.jsonl", "unreadable.txt", "report.html"),
)
# What makes the files at the top of a run's folder, where that is not `decoct run`
_STUDIES = {
    "ablation.json": "ablate",
    "frontier.json": "frontier",
    "tuning.json": "tune",
    "fit.json": "fit",
    "variance.json": "diagnose variance",
}


@dataclass(frozen=True)
class Checked:
    """A file, or the folder of a stage, and what reading it has shown.

    States: `whole`; `damaged`: it was read, and is not what was written; `unreadable`: nobody
    knows; `unfinished`: a stage that was begun; `missing`: a stage of the recipe; `text`: for
    people, without a digest; `unknown`: decoct did not write it, or not this version.
    """

    path: Path
    state: State
    kind: str = ""  # of an artefact
    why: str = ""  # it is not whole
    remedy: str = ""
    reached: bool = True  # by the recipe of the run that it lies in


def verify(path: Path | str) -> list[Checked]:
    """Read a file, or everything in a folder, and check digests, kinds, versions and contents.

    Changes nothing. Raises `DecoctError` if there is nothing at `path`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> storage.save_json(folder / "scores.json", {"scores": [], "facts": {}}, kind="scores")
    >>> [(found.path.name, found.state) for found in verify(folder)]
    [('scores.json', 'whole')]
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise DecoctError(f"{path} does not exist")
    run = _Run(_run_of(path))
    files = list(_files(path)) if path.is_dir() else [path]
    found = []
    with progress("checking files", total=len(files)) as advance:
        for file in files:
            found.append(run.checked(file, asked=file == path))
            advance("")
    return [*found, *run.stages(path)] if path.is_dir() else found


def is_whole(found: Iterable[Checked]) -> bool:
    """Whether nothing is damaged, and all could be read."""
    return not any(one.state in ("damaged", "unreadable") for one in found)


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        if JOBS in folders and _is_run(Path(here)):
            folders.remove(JOBS)
        folders.sort()
        yield from (Path(here) / name for name in sorted(names) if not _is_lock(name))


def _is_lock(name: str) -> bool:
    """Whether a file only says who works on a run."""
    return name in (".lock", ".owner.json") or name.endswith(claims.SUFFIX)


def _run_of(path: Path) -> Path | None:
    """The folder of the run that a file or folder is, or lies in."""
    near = [path, *path.absolute().parents][:3]  # the top, a stage's folder, a file in it
    return next((place for place in near if _is_run(place)), None)


def _is_run(folder: Path) -> bool:
    made = (folder / "run.json").is_file() or bool(stage_folders(folder))
    return made and (folder / "recipe.yaml").is_file()


@dataclass(frozen=True)
class _Run:
    """What is known of the run that files lie in, if there is one."""

    folder: Path | None

    @cached_property
    def _graph(self) -> Graph | None:
        try:
            return Graph(load_recipe(self.folder / "recipe.yaml")) if self.folder else None
        except (DecoctError, OSError):
            return None

    @cached_property
    def _planned(self) -> dict[Path, Stage[Any]]:
        """The stages of the recipe that are kept, by their folders."""
        folder, graph = self.folder, self._graph
        if folder is None or graph is None:
            return {}
        kept = (stage for stage in graph.of_a_run() if stage.is_kept)
        return {folder / f"{stage.name}-{graph.key(stage.name)}": stage for stage in kept}

    @cached_property
    def _kinds(self) -> dict[Path, str]:
        """The kind that each file of the recipe's stages must have."""
        return {
            (place / stage.artefact.file).absolute(): stage.artefact.kind
            for place, stage in self._planned.items()
            if stage.artefact
        }

    @cached_property
    def _unreached(self) -> frozenset[Path]:
        try:
            found = unreachable(self.folder) if self.folder else []
        except (DecoctError, OSError):
            found = []
        return frozenset(path.absolute() for path in found)

    @cached_property
    def _stages(self) -> frozenset[Path]:
        found = stage_folders(self.folder) if self.folder else []
        return frozenset(path.absolute() for path in found)

    def checked(self, file: Path, *, asked: bool) -> Checked:
        """What reading a file shows; one that was `asked` for is expected to be an artefact."""
        if not file.is_file():
            why = "it is no regular file" if file.exists() else "its link leads nowhere"
            return Checked(file, "unreadable" if asked else "unknown", why=why)
        if file.name in _TEXTS:
            return self._text(file)
        if file.suffix not in _SUFFIXES or file.name.startswith("."):
            why = "its name is none of decoct's artefacts'"
            return Checked(file, "unknown", why=why)
        return self._artefact(file, ours=asked or file.parent.absolute() in self._stages)

    def _text(self, file: Path) -> Checked:
        if file.name != "recipe.yaml":
            return Checked(file, "text")
        try:
            load_recipe(file)
        except (DecoctError, OSError) as error:
            remedy = f"decoct run YOUR_RECIPE --out {file.parent} writes it again"
            return Checked(file, "damaged", why=str(error), remedy=remedy)
        return Checked(file, "text")

    def _artefact(self, file: Path, *, ours: bool) -> Checked:
        reached = not self._unreached & {file.parent.absolute(), *file.parent.absolute().parents}
        kind = ""
        try:
            kind = str(storage.read_header(file)["kind"])
            self._read(file, kind)
        except ForeignError as error:
            if not ours:
                return Checked(file, "unknown", why="decoct did not write it")
            return self._damaged(file, kind, error, reached)
        except UnreadableError as error:
            return Checked(file, "unreadable", kind, why=str(error), reached=reached)
        except DecoctError as error:
            return self._damaged(file, kind, error, reached)
        if kind not in READERS:
            why = f"it holds {kind[:40]!r}, which this version does not know"
            return Checked(file, "unknown", kind, why=why, reached=reached)
        return Checked(file, "whole", kind, reached=reached)

    def _read(self, file: Path, kind: str) -> None:
        wanted = self._kinds.get(file.absolute(), kind)
        if wanted != kind:
            raise DecoctError(f"{file} holds {kind!r}; {wanted!r} belongs there")
        if kind in READERS:
            READERS[kind](file)
        elif not storage.is_valid(file, kind=kind):
            raise DecoctError(f"{file}: its digest does not match its contents")

    def _damaged(self, file: Path, kind: str, error: DecoctError, reached: bool) -> Checked:
        why, remedy = str(error), self._remedy(file, reached)
        return Checked(file, "damaged", kind, why=why, remedy=remedy, reached=reached)

    def _remedy(self, file: Path, reached: bool) -> str:
        if self.folder is None or file.parent.absolute() not in {
            self.folder.absolute(),
            *self._stages,
        }:
            return "ask whoever made it for another copy, or make it again"
        if not reached:
            return f"nothing needs it: decoct clean {self.folder} deletes it"
        if file.name == STATE:
            return f"decoct run {self.folder / 'recipe.yaml'} begins its stage again"
        verb = _STUDIES.get(file.name, "run")
        return f"decoct {verb} {self.folder / 'recipe.yaml'} makes it again"

    def stages(self, within: Path) -> Iterator[Checked]:
        """The stages in a folder that are not finished, and those of the recipe that are not there.

        (Only what the recipe reaches counts: the rest is left to `decoct clean`.)
        """
        whole_run = self.folder is not None and within.absolute() == self.folder.absolute()
        for place, stage in self._planned.items():
            if not whole_run and within.absolute() != place.absolute():
                continue
            if not place.is_dir():
                yield Checked(place, "missing", why="not made yet")
            elif why := _unfinished(place, stage):
                yield Checked(place, "unfinished", why=why)


def _unfinished(place: Path, stage: Stage[Any]) -> str:
    """Why a stage is not finished; "" if it is."""
    if (place / STATE).is_file():
        return "interrupted; its checkpoint is kept"
    if stage.artefact:
        return "" if (place / stage.artefact.file).is_file() else "begun"
    there = len(list(place.glob("[0-9]*.safetensors")))
    return f"{there} of {stage.read} experts" if there < int(str(stage.read)) else ""


def verify_text(found: list[Checked]) -> str:
    """What a person needs to know of what `verify` found."""
    blocks = [
        "\n  ".join(
            filter(None, [f"{one.state}: {_name(one)}", _reason(one), one_line(one.remedy)])
        )
        for one in found
        if one.state in ("damaged", "unreadable")
    ]
    for state in ("unfinished", "missing", "unknown"):
        some = [one for one in found if one.state == state]
        lines = "".join(f"\n  {_name(one)}: {one_line(one.why)}" for one in some[:_LISTED])
        more = f"\n  and {len(some) - _LISTED} more" * (len(some) > _LISTED)
        blocks += [f"{_TITLES[state]}{lines}{more}"] if some else []
    return "\n".join([*blocks, _summary(found)])


def _name(one: Checked) -> str:
    return one_line(str(one.path))


def _reason(one: Checked) -> str:
    why = one.why.removeprefix(str(one.path)).removesuffix("; delete it and make it again")
    return one_line(why.lstrip(": "))


_LISTED = 10  # of a sort
_TITLES = {
    "unfinished": "stages that were begun, and go on with the next run:",
    "missing": "stages of the recipe that are not there:",
    "unknown": "not decoct's, so not checked:",
}


def _summary(found: list[Checked]) -> str:
    counts = Counter(one.state for one in found)
    kinds = Counter(one.kind for one in found if one.state == "whole")
    whole = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    parts = [
        f"whole: {counts['whole']}" + f" ({whole})" * bool(whole),
        *(f"{state}: {counts[state]}" for state in ("damaged", "unreadable") if counts[state]),
        f"without a digest, for people: {counts['text']}" * bool(counts["text"]),
    ]
    unreached = len({one.path.parent for one in found if not one.reached})
    parts += [f"stages that the recipe does not reach: {unreached}; decoct clean lists them"] * (
        unreached > 0
    )
    return "\n".join(filter(None, parts))
