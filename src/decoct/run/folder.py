"""Stages on disk: one folder each, named by digest; complete ones are reused, others are made."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from decoct.core import atomic, checkpoint, ranks, storage
from decoct.core.claims import SUFFIX, claimed
from decoct.core.console import note
from decoct.core.place import Place
from decoct.run.lock import lock_folder
from decoct.run.seconds import add_seconds, known_processes, known_seconds

Make = Callable[[Path], None]
_STALE_S = 600.0  # younger temporary files may be in use by another process
_SECONDS = "seconds.json"  # in the folder of each stage that was begun
JOBS = "slurm"  # in a run's folder: what belongs to the jobs that make it
_HEX = 16 * "[0-9a-f]"
_FOLDER = f"*-{_HEX}"  # a stage's folder; anything else in a run's folder is not ours
_TEMPORARY = (  # storage's and safetensors', in a stage's folder; those with our names in the run's
    f"{_FOLDER}/.*.tmp",
    f"{_FOLDER}/.tmp??????",
    f".*.{_HEX}.tmp",
    ".recipe.yaml.*.tmp",  # of earlier versions
)


@dataclass
class StageFolders:
    """The folder of a run: where each stage is, and how long it took."""

    path: Path
    used: dict[str, str] = field(default_factory=dict)  # label to folder name, in order of use
    _inner: list[float] = field(default_factory=lambda: [0.0])  # seconds spent in nested stages

    def of(self, label: str, key: str) -> Path:
        """The folder of a stage."""
        name = f"{label}-{key}"
        self.used[label] = name
        return self.path / name

    def find(self, label: str, key: str) -> None:
        """Record a stage as used if its folder exists."""
        if (self.path / f"{label}-{key}").is_dir():
            self.of(label, key)

    def artefact(
        self,
        label: str,
        key: str,
        *,
        file: str,
        kind: str,
        make: Make,
        make_inputs: Callable[[], None] = lambda: None,
    ) -> Path:
        """The path of a complete artefact, which is found or made, by one process at a time.

        What it is made from comes first, before this process claims it: others may help with that.
        """
        path = self.of(label, key) / file
        if not storage.is_valid(path, kind=kind):
            atomic.refuse_special(path)  # before the work, not after it
            with lock_folder(self.path):
                make_inputs()
                self._prepare(path.parent)
                with claimed(stage_claim(path.parent), waiting_for=label):
                    self._make(label, path, kind, make)
        checkpoint.remove(Place(folder=path.parent).state)
        self.used[label] = self.used.pop(label)  # after the stages that it was made from
        return path

    def _make(self, label: str, path: Path, kind: str, make: Make) -> None:
        """Make an artefact, unless the one that had its claim before has done so."""
        if not storage.is_valid(path, kind=kind):
            if path.exists():
                note(f"{path} is damaged; making it again")
            with self._counted(label, path.parent):
                make(path)

    @contextmanager
    def timed(self, label: str, folder: Path) -> Iterator[None]:
        """Add the block's seconds to the stage's own, without those of nested stages."""
        with lock_folder(self.path):
            self._prepare(folder)
            with self._counted(label, folder):
                yield

    def _prepare(self, folder: Path) -> None:
        atomic.make_folder(folder)
        self.sweep()

    @contextmanager
    def _counted(self, label: str, folder: Path) -> Iterator[None]:
        start = time.monotonic()
        self._inner.append(0.0)
        try:
            yield
        finally:
            total = time.monotonic() - start
            own = total - self._inner.pop()
            self._inner[-1] += total
            with claimed(stage_claim(folder), waiting_for=_SECONDS):  # others may count theirs
                add_seconds(folder / _SECONDS, own, processes=ranks.world())
        if own > 2:
            note(f"{label}: {own:.0f} s")

    def sweep(self) -> None:
        """Remove the temporary files of runs that were killed while writing."""
        found = [temporary for pattern in _TEMPORARY for temporary in self.path.glob(pattern)]
        with suppress(OSError):  # another process has just moved it into place
            now = _clock(self.path) if found else 0.0
            for temporary in found:
                if now - temporary.lstat().st_mtime > _STALE_S:
                    temporary.unlink()

    def seconds(self) -> dict[str, float]:
        """Seconds by label for the stages used, summed over all runs that worked on them."""
        found = {k: known_seconds(self.path / v / _SECONDS) for k, v in self.used.items()}
        return {label: value for label, value in found.items() if value is not None}

    def processes(self) -> dict[str, int]:
        """How many processes made each stage used, if it was more than one."""
        found = {k: known_processes(self.path / v / _SECONDS) for k, v in self.used.items()}
        return {label: count for label, count in found.items() if count > 1}


def stage_claim(folder: Path) -> Path:
    """The file by which one process claims a stage."""
    return folder / SUFFIX


def stage_folders(run: Path) -> list[Path]:
    """The folders that stages made in a run's folder: by their name, and by what is in them."""
    found = [path for path in sorted(run.glob(_FOLDER)) if path.is_dir() and not path.is_symlink()]
    return [path for path in found if (path / _SECONDS).is_file()]


def size_of(folder: Path) -> int:
    """The bytes of the files in a folder and in those within it."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _clock(folder: Path) -> float:
    """The time of whoever keeps the folder; other machines' clocks may differ by any amount."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime
