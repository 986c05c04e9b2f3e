"""Files that can be read to an end: pipes, devices and sockets are refused, not waited for."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

WHY = "it is a pipe, a device or a socket, not a file"


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
