"""One process a run's folder: who is refused, who waits, and what a dead process leaves."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.core.owner import Owner, ourselves, read_owner
from decoct.run import lock
from decoct.run.lock import lock_folder
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe

# It only holds the lock; to import decoct would take seconds.
HOLDER = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("locked", flush=True)
time.sleep(60)
"""
ANA = Owner("ana", "node7", 4711, "2026-11-26 14:02 UTC", "decoct demo \x1b[31m")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A run's folder that another process has, and that process."""
    folder = tmp_path / "run"
    folder.mkdir()
    command = [sys.executable, "-c", HOLDER, str(folder / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        (folder / ".owner.json").write_bytes(msgspec.json.encode(ANA))
        yield folder, process
        process.kill()


Taken = tuple[Path, "subprocess.Popen[str]"]


@pytest.mark.parametrize("verb", ["run", "stage load-images"])
def test_a_second_process_is_told_who_where_and_since_when(
    taken: Taken, tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main([*verb.split(), str(tmp_path / "mine.yaml"), "--out", str(taken[0])]) == 2
    said = capsys.readouterr().err
    assert "in use (process 4711 of ana on node7, since 2026-11-26 14:02 UTC: decoct demo" in said
    assert "--wait does" in said and "\x1b" not in said
    assert names(taken[0]) == {".lock", ".owner.json"}


def test_nor_does_clean_delete_anything(
    taken: Taken, tiny_recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = taken[0]
    (folder / "recipe.yaml").write_text(tiny_recipe.to_yaml())
    stage = folder / "images-0123456789abcdef"
    stage.mkdir()
    (stage / "seconds.json").write_text("{}")
    assert main(["clean", str(folder), "--yes"]) == 2
    assert "is in use" in capsys.readouterr().err and stage.exists()


def test_a_stage_that_python_makes_is_refused_too(taken: Taken, tiny_recipe: Recipe) -> None:
    with pytest.raises(DecoctError, match="of ana on node7"):
        _ = Run(tiny_recipe, taken[0]).trajectories


def test_who_works_for_the_owner_needs_no_lock(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_of_owner", True)
    with lock_folder(taken[0]):
        pass


def test_a_killed_process_has_no_lock(taken: Taken) -> None:
    folder, process = taken
    process.kill()
    process.wait()
    with lock_folder(folder):
        assert read_owner(folder / ".owner.json") == ourselves()
        with lock_folder(folder):
            pass
        assert (folder / ".owner.json").exists()  # the inner block was not the last
    assert names(folder) == {".lock"}


def test_one_that_waits_goes_on_when_the_other_ends(
    taken: Taken, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = taken
    said = []

    def end_it(text: str) -> None:
        said.append(text)
        process.kill()

    monkeypatch.setattr(lock, "_POLL_S", 0.05)
    monkeypatch.setattr(lock, "note", end_it)
    command = ["stage", "load-images", str(tmp_path / "mine.yaml"), "--out", str(folder), "--wait"]
    assert main(command) == 0
    assert said[0].startswith(f"waiting for {folder}, which is in use (process 4711 of ana on node")
    assert "was left in haste (process 4711 of ana on node7" in said[1]  # not on this machine
    assert list(folder.glob("images-*/images.safetensors"))


@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: int,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with lock_folder(tmp_path):
            pass
    assert capsys.readouterr().err.count("its file system has no locks") == 1


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(DecoctError, match=r"\.lock cannot be written \(Is a directory\)"):
        lock_folder(tmp_path).__enter__()


def test_a_folder_in_which_nothing_is_made_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DecoctError), lock_folder(tmp_path / "new" / "run"):
        raise DecoctError("the recipe is refused")
    assert names(tmp_path) == set()
    with lock_folder(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "made").touch()
    assert names(tmp_path / "new" / "run") == {".lock", "made"}


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A run's folder that another process shares."""
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / ".lock").open("w") as held, (folder / ".node7-4711.claim").open("w") as sign:
        fcntl.flock(held, fcntl.LOCK_SH)
        fcntl.flock(sign, fcntl.LOCK_EX)
        sign.write(ANA.to_json())
        sign.flush()
        yield folder


def test_those_that_share_have_it_together(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock_folder(shared, share=True):
        assert "is shared with process 4711 of ana on node7" in capsys.readouterr().err
        assert lock.is_shared(shared)
        with lock_folder(shared):  # as the stages of a run do
            assert len(names(shared)) == 3
    assert not lock.is_shared(shared)
    assert names(shared) == {".lock", ".node7-4711.claim"}


def test_one_that_does_not_share_is_refused(shared: Path) -> None:
    with pytest.raises(
        DecoctError, match=r"shared by others, as with --share \(process 4711 of ana"
    ):
        lock_folder(shared).__enter__()


def test_an_owner_shares_with_nobody(taken: Taken) -> None:
    folder, process = taken
    with pytest.raises(DecoctError, match=r"in use \(process 4711 of ana"):
        lock_folder(folder, share=True).__enter__()
    process.kill()
    process.wait()
    (folder / ".node8-1.claim").touch()  # of one that was killed, too
    with lock_folder(folder, share=True):
        assert len(names(folder) - {".lock", ".owner.json"}) == 1
    assert names(folder) == {".lock"}


def test_an_owner_needs_not_share(tmp_path: Path) -> None:
    with lock_folder(tmp_path), lock_folder(tmp_path, share=True):
        assert not lock.is_shared(tmp_path)


def test_windows_cannot_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.raises(DecoctError, match="Windows does not have"):
        lock_folder(tmp_path / "run", share=True).__enter__()
    assert names(tmp_path) == set()
