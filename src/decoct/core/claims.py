"""Claims: who makes what is missing, among processes and machines that share a folder.

A claim is a small file that the kernel locks for one process (`flock`, which NFS passes on), so it
is free again as soon as that process ends, however it ends. Its name is hidden, it says who has it,
and it goes with the claim.
"""

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from decoct.core import atomic
from decoct.core.console import note
from decoct.core.owner import Owner, ourselves, read_owner

T = TypeVar("T")
# What a file system answers that has no locks.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
SUFFIX = ".claim"
_POLL_S = 1.0  # in the end; at first one looks again sooner

_unlocked: set[Path] = set()  # folders about which the user has been told


def claim_of(path: Path) -> Path:
    """The file that claims `path`, which may be a file, or a folder that is to be filled.

    >>> str(claim_of(Path("experts-0b1c/00003.safetensors")))
    'experts-0b1c/.00003.safetensors.claim'
    """
    return path.with_name(f".{path.name}{SUFFIX}")


@contextmanager
def claimed(claim: Path, *, waiting_for: str = "") -> Iterator[bool]:
    """Take a claim for the length of the block; yields whether it is ours.

    If another process has it, `waiting_for` says what one waits for, and one waits; without it the
    block runs at once, with False. Once a claim is ours, look again whether there is anything left
    to make: the process that had it before may have made it. Blocks of one process may be nested.
    A file system without locks is named in a line, and every claim is ours: then the same may be
    made twice, but files appear whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with claimed(claim_of(Path(folder) / "teacher.safetensors")) as ours:
    ...         print(ours)
    True
    """
    # One object for all blocks of this process, which counts them.
    lock = FileLock(claim, is_singleton=True, thread_local=False, fallback_to_soft=False)
    has_locks = True
    with atomic.writing(claim):
        try:
            ours = _acquired(lock)
            if not ours and waiting_for:
                note(_waiting(waiting_for, [claim]))
            pauses = _pauses()
            while not ours and waiting_for:
                time.sleep(next(pauses))
                ours = _acquired(lock)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _say_unlocked(claim.parent)
            has_locks, ours = False, True
    if not (ours and has_locks):
        yield ours
        return
    try:
        if lock.lock_counter == 1:
            with suppress(OSError):  # it is only for people
                claim.write_text(ourselves().to_json(), "utf-8")
        yield True
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):
                claim.unlink(missing_ok=True)  # before it is free, else it could be another's
        lock.release()


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _pauses() -> Iterator[float]:
    """Seconds to wait, again and again, in proportion to those waited so far."""
    pause = 0.05
    while True:
        yield min(pause, _POLL_S)
        pause *= 2


def _say_unlocked(folder: Path) -> None:
    if folder not in _unlocked:
        _unlocked.add(folder)
        note(f"{folder}: its file system has no locks, so processes may make the same things twice")


def held_by_others(claims: Iterable[Path]) -> list[Owner | None]:
    """Who has these claims, as far as they say; those that nobody has any more are removed."""
    found = []
    for claim in claims:
        owner = read_owner(claim)
        with claimed(claim) as free:
            found += [] if free else [owner]
    return found


def first_of(owners: Iterable[Owner | None]) -> str:
    """The first of some processes, and how many more there are.

    >>> first_of([None])
    'another process'
    """
    known = {(owner.host, owner.process): owner for owner in owners if owner}
    first, more = next(iter(known.values()), "another process"), len(known) - 1
    return f"{first}" + f", and {more} more" * (more > 0)


def _waiting(what: str, claims: Iterable[Path]) -> str:
    return f"waiting for {what}, which others are making ({first_of(map(read_owner, claims))})"


def one_by_one(
    missing: Callable[[], Sequence[T]],
    *,
    claim: Callable[[T], Path | None],
    is_there: Callable[[T], bool],
    waiting_for: Callable[[Sequence[T]], str],
) -> Iterator[tuple[T, ExitStack]]:
    """Yield what nobody else makes, item by item, until nothing is missing.

    `missing` says what can be made now, in the order in which this process would make it; an item
    without a claim is everybody's. Each item comes with its claim, which the caller closes once the
    item is on disk; then `is_there` must be true of it. If all that is missing is claimed by
    others, it waits for them, and takes what those leave that die.
    """
    said, pauses = set[T](), _pauses()
    while left := missing():
        taken = _first_free(left, claim, is_there)
        if taken is not None:
            said, pauses = set(), _pauses()
            yield taken
        elif not all(map(is_there, left)):
            if not said.issuperset(left):
                said = set(left)
                note(_waiting(waiting_for(left), filter(None, map(claim, left))))
            time.sleep(next(pauses))


def _first_free(
    items: Sequence[T], claim: Callable[[T], Path | None], is_there: Callable[[T], bool]
) -> tuple[T, ExitStack] | None:
    """The first item whose claim nobody has, with its claim; None if there is none."""
    for item in items:
        path = claim(item)
        with ExitStack() as held:
            if path is None or (held.enter_context(claimed(path)) and not is_there(item)):
                return item, held.pop_all()
    return None
