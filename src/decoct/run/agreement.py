"""Before processes make a run together: they have the same recipe, versions and folder."""

import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

import torch

from decoct import __version__
from decoct.core import atomic, ranks
from decoct.core.claims import first_of
from decoct.core.errors import DecoctError
from decoct.data.listing import SAVED_RECIPE
from decoct.run.graph import Graph
from decoct.run.lock import is_shared, lock_folder, sharers, work_for_owner
from decoct.run.recipe import Recipe

_APPEARS_S = 10.0  # a file of another machine may take so long to be seen


def check_agreement(recipe: Recipe, folder: Path) -> None:
    """Raise `DecoctError` unless all processes are to make the same run; says who differs, in what.

    Does nothing in a single process.
    """
    if ranks.world() == 1:
        return
    told = [json.loads(text) for text in ranks.all_say(json.dumps(_facts(recipe, folder)))]
    first = told[0]
    for rank, other in enumerate(told):
        for name in first:
            if name != "host" and other[name] != first[name]:
                ours, theirs = _difference(first[name], other[name])
                ranks.all_refuse(
                    f"rank {rank} on {other['host']} has another {name} ({theirs}) than rank 0 on "
                    f"{first['host']} ({ours}); start the same command on all"
                )


def _facts(recipe: Recipe, folder: Path) -> dict[str, str]:
    """What must be the same for all processes, by what it is called; and the host, for messages."""
    graph = Graph(recipe)
    return {
        "host": platform.node(),
        "decoct": __version__,
        "torch": torch.__version__,
        "recipe": recipe.to_yaml(),
        "folder": str(folder.expanduser().absolute()),
        "content of the pool": f"fingerprint {graph.key('images')}",
    }


def check_sharers(recipe: Recipe, file: Path) -> None:
    """Raise `DecoctError` if others that share the folder of a recipe's file work on another one.

    A recipe that nobody works on any more may be replaced.
    """
    folder = file.parent
    others = sharers(folder) if is_shared(folder) and file.is_file() else []
    ours, theirs = recipe.to_yaml(), file.read_text("utf-8") if others else ""
    theirs = theirs.removeprefix(SAVED_RECIPE)
    if others and theirs != ours:
        here, there = _difference(ours, theirs)
        raise DecoctError(
            f"{folder} is shared with {first_of(others)}, which has another recipe ({there}) than "
            f"this process ({here}); start the same command on all, or choose another folder with "
            "--out"
        )


def _difference(ours: str, theirs: str) -> tuple[str, str]:
    """The first lines in which two texts differ."""
    pairs = zip_longest(ours.splitlines(), theirs.splitlines(), fillvalue="")
    first, second = next(pair for pair in pairs if pair[0] != pair[1])
    return first.strip() or "nothing", second.strip() or "nothing"


@contextmanager
def folder_of_all(folder: Path, *, wait: bool = False, share: bool = False) -> Iterator[None]:
    """Inside the block a run's folder belongs to this process, or to those it was started with.

    Rank 0 holds the lock for all; `wait` and `share` are as in `lock_folder`. Raises `DecoctError`
    for a folder that one of them does not see.
    """
    with ExitStack() as stack:
        if not ranks.is_first():
            work_for_owner()
        ranks.first_does(lambda: stack.enter_context(lock_folder(folder, wait=wait, share=share)))
        if ranks.world() > 1:
            _check_all_see(folder.expanduser())
        yield


def _check_all_see(folder: Path) -> None:
    """Rank 0 writes a file that all must find."""
    token = folder / f".together.{ranks.all_say(secrets.token_hex(8))[0]}.tmp"
    try:
        ranks.first_does(lambda: _write_twice(token))
        said = ranks.all_say("" if _appears(token) else platform.node())
    finally:
        if ranks.is_first():
            with suppress(OSError):
                token.unlink(missing_ok=True)
    for rank, host in enumerate(said):
        if host:
            ranks.all_refuse(
                f"rank {rank} on {host} does not see what rank 0 writes to {folder.absolute()}; "
                "give a folder that all machines share (--out)"
            )


def _write_twice(file: Path) -> None:
    """Replace a file by another, as checkpoints are."""
    atomic.write_text(file, "")
    try:
        atomic.write_text(file, str(os.getpid()))
    except DecoctError as error:
        raise DecoctError(
            f"no file can be replaced in {file.parent} ({error.__cause__}), and runs need that; "
            "choose a folder on another file system (--out)"
        ) from error


def _appears(file: Path) -> bool:
    end = time.monotonic() + _APPEARS_S
    while not file.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
