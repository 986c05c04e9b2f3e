"""How long a stage took so far, and of how many processes, in a file in its folder."""

import json
from pathlib import Path
from typing import Annotated

import msgspec

from decoct.core import storage
from decoct.core.console import note
from decoct.core.errors import DecoctError, UnreadableError
from decoct.core.forms import typed, understood

Processes = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]  # so neither nan nor infinity


def read_seconds(file: Path) -> float:
    """The seconds in a file; raises `DecoctError` if there is none, or no whole one."""
    with understood(file):
        seconds: float = typed(_content(file)["seconds"], Seconds)
        return seconds


def _content(file: Path) -> dict[str, float]:
    try:
        return storage.load_json(file, kind="seconds")
    except UnreadableError:
        raise
    except DecoctError:
        plain = typed(json.loads(file.read_bytes()), dict[str, float])  # of earlier versions
        if set(plain) != {"seconds"}:
            raise
        found: dict[str, float] = plain
        return found


def known_seconds(file: Path) -> float | None:
    """As `read_seconds`; None if they are not known."""
    try:
        return read_seconds(file)
    except (OSError, DecoctError):
        return None


def known_processes(file: Path) -> int:
    """How many processes worked on the stage together, at most; 1 if nothing says so."""
    try:
        with understood(file):
            count: int = typed(_content(file).get("processes", 1), Processes)
            return count
    except (OSError, DecoctError):
        return 1


def add_seconds(file: Path, seconds: float, *, processes: int = 1) -> None:
    """Count more seconds; those in a file that was damaged are lost, which is said."""
    before = known_seconds(file)
    if before is None and file.exists():
        note(f"{file} is damaged; its seconds are counted anew")
    content = {"seconds": seconds + (before or 0.0)}
    together = max(processes, known_processes(file))
    if together > 1:
        content["processes"] = together
    storage.save_json(file, content, kind="seconds")
