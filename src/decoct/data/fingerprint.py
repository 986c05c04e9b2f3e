"""A digest of a source's files: equal files give equal digests, wherever and whenever they are."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.idx import idx_files
from decoct.data.listing import list_pictures

EMBEDDED = ("emoji", "emoji-subgroups", "embedded")  # names that take precedence over such files
_READING = 2  # raise it when pictures are decoded otherwise, so that stored pools are made again
_NOWHERE = (0, 0)
_READ_UP_TO = 2**30  # bytes: takes a second or two; of larger sources we digest the files' times


def fingerprint(source: str | Path) -> str:
    """A digest that changes when the pictures or the file behind a source change.

    It covers contents and, of a folder, the names of its pictures and IDX files within it. Above a
    gigabyte, sizes and times stand for contents. It does not cover where the source lies, nor what
    it is called. If the source is no file or folder, only its name counts. Raises `DecoctError` for
    a file that cannot be read.

    >>> fingerprint("emoji") == fingerprint("hf:mnist")
    False
    """
    path = Path(source)
    if str(source) in EMBEDDED or not path.exists():
        return storage.digest(str(source), [])
    if path.is_dir():
        files = {*list_pictures(path).pictures, *idx_files(path)}
        names = {file: file.relative_to(path).as_posix() for file in files}
    else:
        names = {path: path.suffix}
    return _digest(names)


def _digest(names: Mapping[Path, str]) -> str:
    """The digest of files, each with the name that counts for it."""
    files = sorted(names, key=lambda file: names[file])
    marks = [_mark(file) for file in files]
    said = [_READING, [names[file] for file in files]]
    if sum(size for size, _ in marks) > _READ_UP_TO:
        return storage.digest(*said, marks)
    contents = [_contents(file, *mark) for file, mark in zip(files, marks, strict=True)]
    return storage.digest(*said, contents)


def _mark(file: Path) -> tuple[int, int]:
    """A file's size and time; zeros for a link that leads nowhere."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return _NOWHERE
    return stat.st_size, stat.st_mtime_ns


@cache
def _contents(file: Path, size: int, time: int) -> str:
    """The digest of a file, cached until its size or time changes."""
    if (size, time) == _NOWHERE:
        return ""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DecoctError(f"{file} cannot be read ({error})") from error
