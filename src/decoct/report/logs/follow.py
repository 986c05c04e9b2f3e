"""Follow a run while it goes on: its stages' JSON lines, and in the end its sets and scores.

Stages know nothing of loggers, so this also works while other processes make them.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decoct.core import atomic
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.report.logs.logger import Logger, LoggerName, Start, open_logger
from decoct.report.show import picture
from decoct.run.folder import stage_folders
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe

_EVERY_S = 2.0
_SCORES = "scores.json"
_STEPS = ("epoch", "iteration")  # what a stage counts


@contextmanager
def logged(recipe: Recipe, folder: Path, names: Sequence[LoggerName]) -> Iterator[None]:
    """Inside the block, what a run in `folder` writes also goes to the named loggers.

    Each writes to a folder of its own in `folder/logs`, and keeps there how far it has read, so
    that the same command continues it. Raises `DecoctError` if a logger's extra is not installed.
    """
    if not names:
        yield
        return
    followers = [_Follower.open(name, recipe, folder) for name in dict.fromkeys(names)]
    done = threading.Event()

    def follow() -> None:
        while not done.wait(_EVERY_S):
            for follower in followers:
                follower.attempt(follower.read_lines)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for follower in followers:
            follower.attempt(follower.finish)


@dataclass
class _Follower:
    """A logger, and how far it has read each file of the run."""

    name: LoggerName
    logger: Logger
    run: Path
    file: Path  # which keeps this between commands
    stages: frozenset[str]  # names of the folders of the recipe's stages
    read: dict[str, int] = field(default_factory=dict)  # bytes, by the name of the stage's folder
    seen: list[str] = field(default_factory=list)  # sets whose pictures are logged
    before: dict[Path, int] = field(default_factory=dict)  # when what is there was last changed
    failed: bool = False

    @classmethod
    def open(cls, name: LoggerName, recipe: Recipe, run: Path) -> "_Follower":
        place = run / "logs" / name
        atomic.make_folder(place)
        file = place / "followed.json"
        kept = _kept(file)
        start = Start(place, recipe.name, recipe.to_yaml(), identity=kept.get("identity", ""))
        graph = Graph(recipe)
        stages = frozenset(f"{stage.name}-{graph.key(stage.name)}" for stage in graph.of_a_run())
        logger = open_logger(name, start)
        there = [path for path in (*stage_folders(run), run / _SCORES) if path.exists()]
        before = {path: path.stat().st_mtime_ns for path in there}
        read, seen = kept.get("read", {}), kept.get("seen", [])
        return cls(name, logger, run, file, stages, read, seen, before)

    def attempt(self, action: Callable[[], None]) -> None:
        """A logger that fails must not end the run that it follows."""
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # whatever its library raises
            self.failed = True
            note(f"--log {self.name} has stopped: {error}")

    def read_lines(self) -> None:
        """Log the lines that are new."""
        for folder in self._folders():
            label = folder.name.rpartition("-")[0]
            for values in _lines(folder / "metrics.jsonl", self.read, folder.name):
                when = float(values.pop("time", time.time()))
                step = next((int(values.pop(name)) for name in _STEPS if name in values), 0)
                numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float)}
                self.logger.scalars(label, step, numbers, time=when)

    def finish(self) -> None:
        """Log what is left, with the pictures of sets and the scores; close the logger."""
        self.read_lines()
        for folder in self._folders():
            path = folder / "distilled.safetensors"
            if folder.name not in self.seen and path.exists():
                with suppress(DecoctError):  # it is damaged, and will be made again
                    if drawn := picture(path):
                        self.logger.picture(folder.name.rpartition("-")[0], drawn[0])
                    self.seen.append(folder.name)
        self._log_scores(self.run / _SCORES)
        self.logger.close()
        kept = {"identity": self.logger.identity or "given", "read": self.read, "seen": self.seen}
        atomic.write_text(self.file, json.dumps(kept, indent=1))

    def _log_scores(self, path: Path) -> None:
        if not path.exists() or not self._is_new(path):
            return
        scores = Scores.load(path)
        for row in scores.table():
            values = {row.labels.replace("%", " percent"): row.accuracy.mean}  # MLflow: no %
            self.logger.scalars(f"accuracy/{row.method}", 0, values, time=time.time())

    def _folders(self) -> Iterable[Path]:
        """The stages of the recipe, and whatever else this command works on."""
        for folder in stage_folders(self.run):
            if folder.name in self.stages or self._is_new(folder):
                yield folder

    def _is_new(self, path: Path) -> bool:
        """Whether it has changed since; the clock of a file system need not be that of ours."""
        return path.stat().st_mtime_ns != self.before.get(path)


def _kept(file: Path) -> dict[str, Any]:
    """What an earlier command has left; nothing if that cannot be used."""
    with suppress(OSError, ValueError, RecursionError):
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if isinstance(kept, dict):
            return kept
    return {}


def _lines(path: Path, read: dict[str, int], name: str) -> Iterator[dict[str, Any]]:
    """The complete lines that a file has gained; `read` keeps how far it has been read."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(read.get(name, 0))
        for line in file:
            if not line.endswith(b"\n"):  # still being written
                return
            read[name] = read.get(name, 0) + len(line)
            with suppress(ValueError, TypeError):  # it was cut short when a process died
                yield dict(json.loads(line))
