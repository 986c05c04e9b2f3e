"""Files appear whole or not at all, also after a kill or a power cut, and replace only files."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

import safetensors

from decoct.core.errors import DecoctError


def _umask() -> int:
    """The user's mask; reading it means to set it, so this is done once, before any thread."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()
# What a file system says that cannot sync a folder, or does not let this user open it.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name next to `path`; on success sync the file and move it into place.

    The name is like no other, even of a process with the same number on another machine. A full
    disk, a read-only folder, or a link, pipe or device at `path` becomes a `DecoctError`. On any
    error the temporary file is removed.
    """
    refuse_special(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with writing(path):
            make_folder(path.parent)
            yield temporary
            _sync(temporary)
            with suppress(OSError):  # not every file system has permissions
                temporary.chmod(0o666 & ~_UMASK)  # safetensors makes files for the owner alone
            temporary.replace(path)
            _sync_names(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside the block, what the system refuses is a `DecoctError`: `path` cannot be written."""
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or f"os error {errno.ENOSPC}" in str(error):
            raise DecoctError(
                f"no space left on the device while writing {path}; free some space and run again: "
                "the work done so far is kept"
            ) from error
        raise DecoctError(f"{path} cannot be written ({error}); choose another folder") from error


def refuse_special(path: Path) -> None:
    """Raise `DecoctError` if `path` is a link, a folder, a pipe or a device: no place for a file.

    A link is not followed, because whoever made it also chose which file would be lost.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # a new name; whatever else is wrong, writing will say
        return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
        what = kinds.get(stat.S_IFMT(mode), "a pipe or a device")
        raise DecoctError(f"{path} is {what}, which no file may replace; name another file")


def _sync(path: Path) -> None:
    """Wait until a file's contents are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can say so.

    Otherwise a power cut may undo the last moves, but keep what was written after them.
    """
    if os.name == "nt":  # folders cannot be opened there
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it; raises `DecoctError` if that is impossible."""
    with writing(path):
        new = list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
        path.mkdir(parents=True, exist_ok=True)
        for folder in reversed(new):
            _sync_names(folder.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def link(source: Path, path: Path) -> None:
    """Give a file a second name; where the file system has no links, copy it."""
    with new_file(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
