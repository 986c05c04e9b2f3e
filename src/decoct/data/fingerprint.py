"""A digest of a source's files: equal files give equal digests, wherever and whenever they are."""

import errno
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.paths import exists
from decoct.core.readable import open_regular
from decoct.data.catalogue import catalogue_of, part_folders, part_named
from decoct.data.hugging_face import name_parts
from decoct.data.idx import idx_files, labels_beside
from decoct.data.listing import list_pictures
from decoct.data.table import SUFFIXES as TABLES

EMBEDDED = ("emoji", "emoji-subgroups", "embedded")  # names that take precedence over such files
_READING = 2  # raise it when files are listed, decoded or split otherwise: pools are then made anew
_NOWHERE = (0, 0)
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # what a link can be
_READ_UP_TO = 2**30  # bytes: takes a second or two; of larger sources we digest the files' times


def fingerprint(source: str | Path) -> str:
    """A digest that changes when the pictures or the file behind a source change.

    It covers contents and, of a folder, the names of its pictures and IDX files within it; of a
    CSV, the pictures that it names. Above a gigabyte, sizes and times stand for contents. It does
    not cover where the source lies, nor what it is called. Of `hf:PATH`, all files there count. If
    the source is no file or folder, only its name counts. Raises `DecoctError` for a file that
    cannot be read.

    >>> fingerprint("emoji") == fingerprint("hf:mnist")
    False
    """
    whole, part = part_named(source)
    path = Path(whole)
    if whole.startswith("hf:"):
        return _of_data_set(whole)
    if whole in EMBEDDED or not exists(path):
        return storage.digest(str(source), [])
    for name, own in part_folders(path).items():
        if own == part:
            return fingerprint(path / name)
    found = _digest(_files(path))
    return storage.digest(found, part) if part else found


def _of_data_set(source: str) -> str:
    """The digest of a data set's name or, if it lies on this machine, of its files."""
    place, *chosen = name_parts(source.removeprefix("hf:"))
    path = Path(place)
    if not place or not exists(path):
        return storage.digest(source, [])
    if path.is_dir():
        files = [Path(folder, name) for folder, _, found in os.walk(path) for name in found]
        names = {file: file.relative_to(path).as_posix() for file in files if _counts(file)}
    else:
        names = {path: path.suffix}
    return storage.digest(_digest(names), chosen)


def _counts(file: Path) -> bool:
    """Whether a data set may be read from a file: `datasets` keeps files of its own beside them."""
    return file.is_file() and not file.name.startswith((".", "cache-"))


def _files(path: Path) -> dict[Path, str]:
    """The files behind a path, each with the name that counts for it."""
    if path.is_dir():
        files = {*list_pictures(path).pictures, *idx_files(path)}
        return {file: file.relative_to(path).as_posix() for file in files}
    names = {path: path.suffix}
    if path.suffix in TABLES:
        with suppress(DecoctError):  # whoever reads it says what is wrong with it
            table = catalogue_of(path)
            names |= {file: table.name_of(file) for file in table.files}
    if (labels := labels_beside(path)) is not None:
        names[labels] = "labels"
    return names


def _digest(names: Mapping[Path, str]) -> str:
    """The digest of files by their names and contents."""
    files = sorted(names, key=lambda file: names[file])
    marks = [file_mark(file) for file in files]
    said = [_READING, [names[file] for file in files]]
    if sum(size for size, _ in marks) > _READ_UP_TO:
        return storage.digest(*said, marks)
    contents = [_contents(file, *mark) for file, mark in zip(files, marks, strict=True)]
    return storage.digest(*said, contents)


def file_mark(file: Path) -> tuple[int, int]:
    """A file's size and time; zeros for a link that leads nowhere."""
    try:
        stat = file.stat()
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return _NOWHERE
        raise DecoctError(f"{file} cannot be read ({error})") from error
    return stat.st_size, stat.st_mtime_ns


@cache
def _contents(file: Path, size: int, time: int) -> str:
    """The digest of a file, cached until its size or time changes.

    What has no size is not opened, for a pipe or a device may never end.
    """
    if not size:
        return ""
    try:
        with open_regular(file) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DecoctError(f"{file} cannot be read ({error})") from error
