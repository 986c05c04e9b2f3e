"""A tiny run, as a user starts it, and what it must have made in the end."""

import io
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from matplotlib.figure import Figure

from decoct import verbs
from decoct.cli import main
from decoct.data.fingerprint import _contents
from tests.conftest import COUNT, DIMENSIONS, TINY_RECIPE, smooth_pixels
from tests.faults.crash import State
from tests.faults.disk import Disk, Operation
from tests.run.kills import contents, parsed

# What a power cut may bring back where nothing reads it any more, and a page with seconds on it.
_NO_ARTEFACTS = ("state.safetensors", "report.html")
Artefacts = dict[str, bytes]  # by their names in the run's folder


def write_tiny(folder: Path, *, methods: str) -> Path:
    """The recipe's file, with all that it names beside it."""
    draws = np.random.default_rng(0)
    np.savez(folder / "pool.npz", images=smooth_pixels(COUNT, seed=0).numpy())
    np.save(folder / "targets.npy", draws.normal(size=(COUNT, DIMENSIONS)).astype(np.float32))
    labels = np.arange(54) % 3
    images = smooth_pixels(54, seed=1).numpy() // 2
    images[:, 1] += (60 * labels[:, None, None]).astype(np.uint8)
    np.savez(
        folder / "stripes.npz",
        train_images=images[:30],
        train_labels=labels[:30],
        test_images=images[30:],
        test_labels=labels[30:],
    )
    text = TINY_RECIPE.format(folder=folder).replace("[random, full]", methods)
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


def decoct(arguments: Sequence[str]) -> tuple[int, str]:
    """The status of `run RECIPE --out FOLDER`, and what it said on standard error.

    Its report has empty plots, which are no files, but would take half of the time.
    """
    _contents.cache_clear()  # a process of its own would remember nothing
    said, out = io.StringIO(), Path(arguments[-1])
    with (
        redirect_stderr(said),
        redirect_stdout(io.StringIO()),
        torch.random.fork_rng(devices=[]),
        patch.object(verbs, "parse", partial(parsed, out=out)),
        patch.object(Figure, "savefig", lambda figure, file, **how: file.write("<svg ></svg>")),
    ):
        status = main(arguments)
    return status, said.getvalue()


def check_answer(status: int, said: str) -> None:
    """Raise unless the command finished, or refused in one sentence."""
    last = said.splitlines()[-1] if said else ""
    if status not in (0, 2) or (status == 2 and not last.startswith("decoct: ")):
        raise AssertionError(f"status {status}: {said}")
    if "Traceback" in said or (status == 2 and said.count("decoct: ") != 1):
        raise AssertionError(said)


def differences(made: Path, expected: Artefacts) -> list[str]:
    """The artefacts that are not as they should be."""
    found = contents(made)
    names = (name for name in found.keys() | expected if Path(name).name not in _NO_ARTEFACTS)
    return sorted(name for name in names if found.get(name) != expected.get(name))


def put(root: Path, state: State) -> None:
    """Make the folder hold this and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for path, data in sorted(state.items()):
        if data is None:
            path.mkdir()
        else:
            path.write_bytes(data)


def state_of(root: Path) -> State:
    """What the folder holds."""
    return {p: None if p.is_dir() else p.read_bytes() for p in sorted(root.rglob("*"))}


def survive_fault(
    arguments: Sequence[str],
    root: Path,
    *,
    run: Path,
    expected: Artefacts,
    fail: int,
    error: int,
) -> Operation | None:
    """Let operation `fail` of a new run end with `error`; raise unless all is well afterwards.

    The command answers in a sentence or goes on to the same artefacts; repeated, it makes them.
    Returns the operation, or None if there were fewer.
    """
    shutil.rmtree(run, ignore_errors=True)
    disk = Disk(root, fail=fail, error=error)
    with disk.watched():
        status, said = decoct(arguments)
    check_answer(status, said)
    if status == 0 and (wrong := differences(run, expected)):
        raise AssertionError(f"went on, but {wrong} differ: {said}")
    survive_state(arguments, run=run, expected=expected)
    return disk.failed


def survive_state(arguments: Sequence[str], *, run: Path, expected: Artefacts) -> None:
    """Run the command on what is there; raise unless it finishes with the same artefacts."""
    status, said = decoct(arguments)
    wrong = differences(run, expected)
    if status or wrong or "damaged" in said:
        raise AssertionError(f"status {status}, {wrong} differ: {said}")
