"""`lock_folder`: a run's folder belongs to one process, and the system ends that with the process.

The lock is the kernel's own (`flock`), so nothing is left to clean up after a kill, and on NFS it
holds between machines. Who has it is written beside it, for the message that others get.
"""

import errno
import getpass
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from decoct.core import atomic
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.printable import one_line

_LOCK, _OWNER = ".lock", ".owner.json"
_POLL_S = 1.0
# What a file system answers that has no locks.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)

_of_owner = False  # a process that works for the one that holds the lock
_unlocked: set[Path] = set()  # folders about which the user has been told


@dataclass(frozen=True)
class Owner:
    """Who has a run's folder, for people to read."""

    user: str
    host: str
    process: int
    since: str
    command: str

    def __str__(self) -> str:
        """All of it, without what could confuse a terminal.

        >>> str(Owner("ana", "node7", 4711, "2026-11-26 14:02 UTC", "decoct demo"))
        'process 4711 of ana on node7, since 2026-11-26 14:02 UTC: decoct demo'
        """
        text = f"process {self.process} of {self.user} on {self.host}, since {self.since}"
        return one_line(f"{text}: {self.command}")


@contextmanager
def lock_folder(folder: Path | str, *, wait: bool = False) -> Iterator[None]:
    """Inside the block no other process works on a run's folder; blocks may be nested.

    If another process has it, raises `DecoctError` with who, where and since when; with `wait` it
    waits instead. A file system without locks is reported in a line, and the block runs. The
    stages of a `Run` take the lock by themselves, each while it is made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run, lock_folder(run):
    ...     (Path(run) / ".owner.json").exists()
    True
    """
    path = Path(folder).expanduser().resolve()
    if _of_owner:
        yield
        return
    new = [p for p in (path, *path.parents) if not p.exists()]
    atomic.make_folder(path)
    # One object for all blocks of this process, which counts them.
    lock = FileLock(path / _LOCK, is_singleton=True, thread_local=False, fallback_to_soft=False)
    if not _acquired(lock, path, wait):
        yield
        return
    try:
        if lock.lock_counter == 1:
            _sign(path)
        yield
    finally:
        if lock.lock_counter == 1:
            _leave(path, new)
        lock.release()


def work_for_owner() -> None:
    """Say that this process works for the one that has the lock, and needs none."""
    global _of_owner
    _of_owner = True


def _acquired(lock: FileLock, path: Path, wait: bool) -> bool:
    """Take the lock; returns whether the file system has locks."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            owner = _owner(path) or "another process"
            if not wait:
                raise DecoctError(
                    f"{path} is in use ({owner}); wait for it (--wait does), or choose another "
                    "folder with --out"
                ) from None
            note(f"waiting for {path}, which is in use ({owner})")
            lock.acquire(poll_interval=_POLL_S)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise DecoctError(
                f"{path / _LOCK} cannot be written ({error.strerror}); choose another folder"
            ) from error
        if path not in _unlocked:
            note(f"{path}: its file system has no locks; see that only one process works on it")
            _unlocked.add(path)
        return False
    return True


def _sign(path: Path) -> None:
    """Write who has the folder, once the lock is held."""
    ours, last = _ourselves(), _owner(path)
    if last is not None and last.host != ours.host:  # a lock may not reach from machine to machine
        note(f"{path} was left in haste ({last}); if that is still at work, end one of the two")
    atomic.write_text(path / _OWNER, msgspec.json.encode(ours).decode())


def _ourselves() -> Owner:
    user = "somebody"
    with suppress(OSError, KeyError):  # containers may have no names for their users
        user = getpass.getuser()
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    command = shlex.join([name, *sys.argv[1:]])
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Owner(user, platform.node(), os.getpid(), since, command)


def _owner(path: Path) -> Owner | None:
    """Who signed last, and has not left; None if nobody, or nobody can tell."""
    file = path / _OWNER
    try:
        return msgspec.json.decode(file.read_bytes(), type=Owner) if file.is_file() else None
    except (OSError, msgspec.MsgspecError):
        return None


def _leave(path: Path, new: list[Path]) -> None:
    """Sign off; folders that were `new`, and in which nothing was made, go again.

    Otherwise the lock's file stays: another process may be about to lock it.
    """
    with suppress(OSError):
        (path / _OWNER).unlink(missing_ok=True)
        if new and os.listdir(path) == [_LOCK]:  # noqa: PTH208
            (path / _LOCK).unlink()
            for folder in new:
                folder.rmdir()
