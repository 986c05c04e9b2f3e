"""How long a stage took so far, in a file in its folder."""

import json
from pathlib import Path
from typing import Annotated

import msgspec

from decoct.core import storage
from decoct.core.console import note
from decoct.core.errors import DecoctError, UnreadableError
from decoct.core.forms import typed, understood

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


def add_seconds(file: Path, seconds: float) -> None:
    """Count more seconds; those in a file that was damaged are lost, which is said."""
    before = known_seconds(file)
    if before is None and file.exists():
        note(f"{file} is damaged; its seconds are counted anew")
    storage.save_json(file, {"seconds": seconds + (before or 0.0)}, kind="seconds")
