"""Stages on disk: one folder each, named by digest; complete ones are reused, others are made."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from decoct.core import storage
from decoct.core.console import note
from decoct.core.place import Place
from decoct.run.lock import lock_folder

Make = Callable[[Path], None]
_STALE_S = 600.0  # younger temporary files may be in use by another process
_TEMPORARY = (".*.tmp", ".tmp??????")  # storage's and safetensors'
_SECONDS = "seconds.json"  # in the folder of each stage that was begun
_FOLDER = "*-" + 16 * "[0-9a-f]"  # a stage's folder; anything else in a run's folder is not ours


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

    def artefact(self, label: str, key: str, *, file: str, kind: str, make: Make) -> Path:
        """The path of a complete artefact, which is found or made."""
        path = self.of(label, key) / file
        if not storage.is_valid(path, kind=kind):
            if path.exists():
                note(f"{path} is damaged; making it again")
            with self.timed(label, path.parent):
                make(path)
        _state(path).unlink(missing_ok=True)
        self.used[label] = self.used.pop(label)  # after the stages that it was made from
        return path

    @contextmanager
    def timed(self, label: str, folder: Path) -> Iterator[None]:
        """Add the block's seconds to the stage's own, without those of nested stages."""
        with lock_folder(self.path):
            storage.make_folder(folder)
            _sweep(self.path)
            with self._counted(label, folder):
                yield

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
            file = folder / _SECONDS
            seconds = own + (_read_seconds(file) or 0.0)
            storage.write_text(file, json.dumps({"seconds": seconds}))
        if own > 2:
            note(f"{label}: {own:.0f} s")

    def seconds(self) -> dict[str, float]:
        """Seconds by label for the stages used, summed over all runs that worked on them."""
        found = {k: _read_seconds(self.path / v / _SECONDS) for k, v in self.used.items()}
        return {label: value for label, value in found.items() if value is not None}


def stage_folders(run: Path) -> list[Path]:
    """The folders that stages made in a run's folder: by their name, and by what is in them."""
    found = [path for path in sorted(run.glob(_FOLDER)) if path.is_dir() and not path.is_symlink()]
    return [path for path in found if (path / _SECONDS).is_file()]


def size_of(folder: Path) -> int:
    """The bytes of the files in a folder and in those within it."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _state(artefact: Path) -> Path:
    """The path of the checkpoint for the stage that makes `artefact`."""
    state = Place(folder=artefact.parent).state
    assert state is not None
    return state


def _sweep(folder: Path) -> None:
    """Remove the temporary files, in any stage, of runs that were killed while writing."""
    for pattern in _TEMPORARY:
        for temporary in folder.glob(f"{_FOLDER}/{pattern}"):
            with suppress(FileNotFoundError):  # another process has moved it into place
                if time.time() - temporary.stat().st_mtime > _STALE_S:
                    temporary.unlink()


def _read_seconds(file: Path) -> float | None:
    try:
        return float(json.loads(file.read_text())["seconds"])
    except (OSError, ValueError, KeyError):
        return None
