"""What the user names is a file that ends: no pipe or device, and a name that a system takes."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from decoct.core.errors import DecoctError

WHY = "it is a pipe, a device or a socket, not a file"
_MOST = 80  # characters of a name that a sentence repeats
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def check_name(name: str) -> None:
    """Raise `DecoctError` for a name that no file can have, or that may not be looked up."""
    try:
        Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # too long, a loop, closed; or it holds a NUL
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DecoctError(f"{_short(name)} names no file that can be opened ({reason})") from error


def check_regular(path: Path) -> None:
    """Raise `DecoctError` unless `path` is a file with something in it.

    A pipe or a device may never end, and neither may the files of size 0 in /proc.
    """
    check_name(str(path))
    try:
        found = path.stat()
    except OSError as error:
        raise DecoctError(f"{path} does not exist") from error
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise DecoctError(f"{path} is {kind}; a regular file is needed")
    if not found.st_size:
        raise DecoctError(f"{path} is empty")


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes; raises `OSError` also if it is none that has an end.

    >>> open_regular(Path(os.devnull))
    Traceback (most recent call last):
    OSError: [Errno 22] it is a pipe, a device or a socket, not a file: '/dev/null'
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (pathlib has no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, WHY, str(path))
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open what might be a pipe, on which reading would wait for somebody to write."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _short(name: str) -> str:
    text = name.replace("\0", "\\0")
    return text if len(text) <= _MOST else f"{text[:_MOST]}... ({len(text)} characters)"
