"""A digest of a source's files: equal files give equal digests, wherever and whenever they are."""

import hashlib
from functools import cache
from pathlib import Path

from decoct.core import storage
from decoct.core.errors import DecoctError

EMBEDDED = ("emoji", "emoji-subgroups", "embedded")  # names that take precedence over such files
_READ_UP_TO = 2**30  # bytes: takes a second or two; of larger sources we digest the files' times


def fingerprint(source: str | Path) -> str:
    """A digest that changes when the files behind a source change.

    It covers names and contents or, above a gigabyte, names, sizes and times. If the source is no
    file or folder, only its name counts. Raises `DecoctError` for a file that cannot be read.

    >>> fingerprint("emoji") == fingerprint("hf:mnist")
    False
    """
    path = Path(source)
    if str(source) in EMBEDDED or not path.exists():
        return storage.digest(str(source), [])
    root = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*") if file.is_file()) if root == path else [path]
    names = [file.relative_to(root).as_posix() for file in files]
    marks = [(stat.st_size, stat.st_mtime_ns) for stat in map(Path.stat, files)]
    if sum(size for size, _ in marks) > _READ_UP_TO:
        return storage.digest(names, marks)
    contents = [_contents(file, *mark) for file, mark in zip(files, marks, strict=True)]
    return storage.digest(names, contents)


@cache
def _contents(file: Path, size: int, time: int) -> str:
    """The digest of a file, cached until its size or time changes."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DecoctError(f"{file} cannot be read ({error})") from error
