"""`lock_folder`: a run's folder belongs to one process, or to several that share it.

The system ends that with the process: the lock is the kernel's own (`flock`), so nothing is left to
clean up after a kill, and on NFS it holds between machines. Who has it is written beside it, for
the message that others get.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from decoct.core import atomic
from decoct.core.claims import NO_LOCKS, SUFFIX, claimed, first_of, held_by_others
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.owner import Owner, ourselves, read_owner

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK, _OWNER = ".lock", ".owner.json"
_POLL_S = 1.0

_of_owner = False  # a process that works for the one that holds the lock
_shared: set[Path] = set()  # folders that this process shares with others
_unlocked: set[Path] = set()  # folders about which the user has been told


@contextmanager
def lock_folder(folder: Path | str, *, wait: bool = False, share: bool = False) -> Iterator[None]:
    """Inside the block no other process works on a run's folder; blocks may be nested.

    With `share` those may that share it, too: each stage is then made by one of them, and experts
    one by one. If another process has it, raises `DecoctError` with who, where and since when; with
    `wait` it waits instead. A file system without locks is reported in a line, and the block runs.
    The stages of a `Run` take the lock by themselves, each while it is made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run, lock_folder(run):
    ...     (Path(run) / ".owner.json").exists()
    True
    """
    path = Path(folder).expanduser().resolve()
    if _of_owner or path in _shared:
        yield
        return
    if share and fcntl is None:
        raise DecoctError("--share needs locks that Windows does not have; leave it out there")
    new = [p for p in (path, *path.parents) if not p.exists()]
    atomic.make_folder(path)
    alone = not share or _lock(path).is_locked
    with _own(path, new, wait) if alone else _share(path, new, wait):
        yield


def is_shared(folder: Path) -> bool:
    """Whether this process shares a run's folder with others, there now or yet to come."""
    return folder.expanduser().resolve() in _shared


def work_for_owner() -> None:
    """Say that this process works for the one that has the lock, and needs none."""
    global _of_owner
    _of_owner = True


def _lock(path: Path) -> FileLock:
    """One object for all blocks of this process, which counts them."""
    return FileLock(path / _LOCK, is_singleton=True, thread_local=False, fallback_to_soft=False)


@contextmanager
def _own(path: Path, new: list[Path], wait: bool) -> Iterator[None]:
    """Have the folder alone."""
    lock = _lock(path)

    def take() -> bool:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    if not _taken(take, path, wait):
        yield
        return
    try:
        if lock.lock_counter == 1:
            _look_for_last(path)
            atomic.write_text(path / _OWNER, ourselves().to_json())
        yield
    finally:
        if lock.lock_counter == 1:
            _leave(path, new)
        lock.release()


@contextmanager
def _share(path: Path, new: list[Path], wait: bool) -> Iterator[None]:
    """Have the folder together with others that share it; each signs a file of its own."""
    ours = ourselves()
    with ExitStack() as held:
        if _taken(lambda: _shares_lock(path / _LOCK, held), path, wait):
            _look_for_last(path)
            held.callback(_leave, path, new)
            if others := sharers(path):
                note(f"{path} is shared with {first_of(others)}")
            held.callback(sharers, path)  # signs of those that were killed meanwhile go, too
            held.enter_context(claimed(path / f".{ours.host}-{ours.process}{SUFFIX}"))
        _shared.add(path)
        held.callback(_shared.discard, path)
        yield


def _shares_lock(file: Path, held: ExitStack) -> bool:
    """Take the lock as one of many; `filelock` has only locks for one."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with ExitStack() as opened:
        opened.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not os.fstat(descriptor).st_nlink:  # whoever had it last has just deleted it
            return False
        held.enter_context(opened.pop_all())
        return True


def _taken(take: Callable[[], bool], path: Path, wait: bool) -> bool:
    """Take the lock; returns whether the file system has locks."""
    try:
        if not take():
            said = _in_use(path)
            if not wait:
                raise DecoctError(
                    f"{path} is {said}; wait for it (--wait does), or choose another folder with "
                    "--out"
                )
            note(f"waiting for {path}, which is {said}")
            while not take():
                time.sleep(_POLL_S)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise DecoctError(
                f"{path / _LOCK} cannot be written ({error.strerror}); choose another folder"
            ) from error
        if path not in _unlocked:
            note(f"{path}: its file system has no locks; see that only one process works on it")
            _unlocked.add(path)
        return False
    return True


def _in_use(path: Path) -> str:
    """Who has the folder, or shares it."""
    if others := sharers(path):
        return f"shared by others, as with --share ({first_of(others)})"
    return f"in use ({read_owner(path / _OWNER) or 'another process'})"


def sharers(path: Path) -> list[Owner | None]:
    """Others that share a run's folder at this moment, as far as they say who they are."""
    return held_by_others(sorted(path.glob(f".*{SUFFIX}")))


def _look_for_last(path: Path) -> None:
    """Once the lock is held, say if a machine has not signed off that it may not reach."""
    last = read_owner(path / _OWNER)
    if last is not None and last.host != ourselves().host:
        note(f"{path} was left in haste ({last}); if that is still at work, end one of the two")


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
