"""Every operation of a small run's folder fails, and the power is cut after each of them.

`test_a_tiny_run` does so to a real run, for a few operations; `benchmarks/faults.py` for all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from decoct.core import atomic, checkpoint, storage
from decoct.core.errors import DecoctError
from decoct.core.metrics import Metrics
from decoct.core.place import Place
from decoct.run.folder import StageFolders
from tests.faults.crash import after_all, states
from tests.faults.disk import ERRORS, Disk, Operation
from tests.faults.tiny import contents, put

KEYS = {"one": 16 * "1", "two": 16 * "2"}


def small_run(run: Path) -> None:
    """Two stages, one with a checkpoint; a plan in two files; a second name for the result."""
    folders = StageFolders(run)

    def one(path: Path) -> None:
        place = Place(folder=path.parent)
        begun = checkpoint.load(place.state)
        step = 0 if begun is None else begun[1]["step"]
        log = Metrics(place.metrics)
        for number in range(step + 1, 3):
            log.write(epoch=number)
            checkpoint.save(place.state, {"x": torch.full((3,), number)}, meta={"step": number})
        storage.save_tensors(path, {"x": torch.full((3,), 2.0)}, kind="k", meta={"steps": 2})

    def two(path: Path) -> None:
        tensors, _ = storage.load_tensors(made, kind="k")
        storage.save_json(path, {"sum": float(tensors["x"].sum())}, kind="k")

    # The second file vouches for the first, as `plan.json` does for `plan.yaml`.
    if not storage.is_valid(run / "plan.json", kind="plan"):
        atomic.write_text(run / "plan.yaml", "a: 1\n")
        storage.save_json(run / "plan.json", {"wanted": 1}, kind="plan")
    assert (run / "plan.yaml").read_text() == "a: 1\n"
    made = folders.artefact("one", KEYS["one"], file="a.safetensors", kind="k", make=one)
    last = folders.artefact("two", KEYS["two"], file="b.json", kind="k", make=two)
    atomic.link(made, run / "a.safetensors")
    atomic.link(last, run / "b.json")
    folders.seconds()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "run"


def survived(root: Path, run: Path, expected: dict[str, bytes], fail: int) -> Operation | None:
    put(root, {})
    disk = Disk(root, fail=fail, error=ERRORS[fail % len(ERRORS)])
    with disk.watched():
        try:
            small_run(run)
        except (DecoctError, OSError) as refusal:  # the latter is the command line's to say
            assert "damaged" not in str(refusal)
    small_run(run)
    assert contents(run) == expected, disk.failed
    return disk.failed


def test_after_any_fault_the_same_command_makes_the_same_files(tmp_path: Path, run: Path) -> None:
    with Disk(tmp_path).watched():  # which does not wait for the real disk
        small_run(run)
        expected, fail, kinds = contents(run), 0, set()
        assert len(expected) == 6
        while failed := survived(tmp_path, run, expected, fail):
            kinds.add(failed.kind)
            fail += 1
    assert kinds >= {
        "open",
        "create",
        "read",
        "write",
        "sync",
        "replace",
        "link",
        "unlink",
        "mkdir",
    }
    assert kinds >= {"save", "load"}


def test_after_a_power_cut_anywhere_the_same_command_makes_the_same_files(
    tmp_path: Path, run: Path
) -> None:
    disk = Disk(tmp_path)
    with disk.watched():
        small_run(run)
    expected = contents(run)
    count = 0
    for number, state in states(tmp_path, disk.operations, {}):
        put(tmp_path, state)
        with Disk(tmp_path).watched():
            small_run(run)
        assert contents(run) == expected, disk.operations[number - 1]
        count += 1
    assert count > 100


@pytest.mark.parametrize("write", [atomic.write_text, storage.save_json])
def test_what_was_written_outlasts_a_power_cut(
    write: Callable[..., Any], tmp_path: Path, run: Path
) -> None:
    """Otherwise a checkpoint could be gone, but not yet the artefact that it made be there."""
    more: tuple[Any, ...] = ("text",) if write is atomic.write_text else ({"a": 1},)
    named = {"kind": "k"} if write is storage.save_json else {}
    disk = Disk(tmp_path)
    with disk.watched():
        write(run / "a.json", *more, **named)
    written = (run / "a.json").read_bytes()
    for state in after_all(tmp_path, disk.operations, {}):
        assert state.get(run / "a.json") == written
