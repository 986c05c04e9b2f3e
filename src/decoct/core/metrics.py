"""`Metrics`: numbers by step as JSON lines, which people and plots can follow."""

import json
import os
import time
from pathlib import Path

from decoct.core import atomic, ranks, storage


class Metrics:
    """A JSON-lines file of numbers by step, so that people and plots can follow a running stage."""

    def __init__(self, path: Path | None) -> None:
        """Raises `DecoctError` if `path` cannot be written, or is not a file."""
        self.path = path = path if ranks.is_first() else None
        if path is not None:
            atomic.make_folder(path.parent)
            atomic.refuse_special(path)  # opening a pipe would wait for a reader
            _end_last_line(path)

    def write(self, **values: float | int | str) -> None:
        """Append one line, with the wall-clock time."""
        if self.path is not None:
            with atomic.writing(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")


def _end_last_line(path: Path) -> None:
    """End a line that was cut short when its process died, so that it takes no other with it."""
    if not storage.is_there(path):
        return
    with atomic.writing(path), path.open("r+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
