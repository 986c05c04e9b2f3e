"""Claims: one process has each, a dead one none, and what is claimed comes to those who wait."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from decoct.core import claims
from decoct.core.claims import claim_of, claimed, first_of, held_by_others, one_by_one
from decoct.core.errors import DecoctError
from decoct.core.owner import Owner, ourselves, read_owner

ANA = Owner("ana", "node7", 4711, "2026-11-26 14:02 UTC", "decoct demo \x1b[31m")


@contextmanager
def held_by_ana(claim: Path) -> Iterator[Callable[[], None]]:
    """A claim of another process, as far as the kernel knows; yields what ends that process."""
    with claim.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(ANA.to_json())
        file.flush()
        yield file.close


def saying(said: list[str], end: Callable[[], None]) -> Callable[[str], None]:
    """A note that ends the process which is waited for."""

    def note(text: str) -> None:
        said.append(text)
        end()

    return note


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user reads; it takes no second to look again."""
    found: list[str] = []
    monkeypatch.setattr(claims, "note", found.append)
    monkeypatch.setattr(claims, "_POLL_S", 0.01)
    return found


def test_a_claim_is_signed_and_goes_with_its_block(tmp_path: Path) -> None:
    claim = claim_of(tmp_path / "a.json")
    with claimed(claim) as ours:
        assert ours
        assert read_owner(claim) == ourselves()
        with claimed(claim) as still:
            assert still
        assert claim.exists()  # the inner block was not the last
    assert not list(tmp_path.iterdir())


def test_what_another_has_is_not_ours_until_that_ends(tmp_path: Path) -> None:
    claim = claim_of(tmp_path / "a.json")
    with held_by_ana(claim) as end:
        with claimed(claim) as ours:
            assert not ours
        assert held_by_others([claim, claim]) == [ANA, ANA]
        assert first_of([ANA, ANA]) == str(ANA)
        assert first_of([None, ANA, ourselves()]) == f"{ANA}, and 1 more"
        end()
        with claimed(claim) as ours:
            assert ours
    assert held_by_others([claim]) == []


def test_who_waits_says_for_what_and_for_whom(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claim_of(tmp_path / "a.json")
    with held_by_ana(claim) as end:
        monkeypatch.setattr(claims, "note", saying(said, end))
        with claimed(claim, waiting_for="teacher") as ours:
            assert ours
    assert said == [
        "waiting for teacher, which others are making (process 4711 of ana on node7, since "
        "2026-11-26 14:02 UTC: decoct demo \\x1b[31m)"
    ]


def test_one_that_fails_leaves_no_claim(tmp_path: Path) -> None:
    with pytest.raises(DecoctError), claimed(claim_of(tmp_path / "a.json")):
        raise DecoctError("it diverged")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.ENOLCK])
def test_without_locks_every_claim_is_ours(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name in ("a", "b"):
        with claimed(claim_of(tmp_path / name)) as ours:
            assert ours
    assert len(said) == 1 and "its file system has no locks" in said[0]


def test_where_no_claim_can_be_written(tmp_path: Path) -> None:
    claim_of(tmp_path / "a").mkdir()
    with pytest.raises(DecoctError, match=r"\.a\.claim cannot be written"):
        claimed(claim_of(tmp_path / "a")).__enter__()


def make_all(folder: Path, names: list[str]) -> list[str]:
    """What this process makes of some files."""

    def is_there(name: str) -> bool:
        return (folder / name).exists()

    made = []
    for name, claim in one_by_one(
        lambda: [name for name in names if not is_there(name)],
        claim=lambda name: claim_of(folder / name),
        is_there=is_there,
        waiting_for=lambda left: f"{len(left)} files",
    ):
        with claim:
            made.append(name)
            (folder / name).touch()
    return made


def test_what_others_make_is_left_to_them(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_by_ana(claim_of(tmp_path / "b")):

        def made_by_ana(text: str) -> None:
            said.append(text)
            (tmp_path / "b").touch()

        monkeypatch.setattr(claims, "note", made_by_ana)
        assert make_all(tmp_path, ["a", "b", "c"]) == ["a", "c"]
    assert len(said) == 1 and said[0].startswith("waiting for 1 files, which others are making")


def test_what_a_dead_one_leaves_is_taken_over(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_by_ana(claim_of(tmp_path / "b")) as end:
        monkeypatch.setattr(claims, "note", saying(said, end))
        assert make_all(tmp_path, ["a", "b", "c"]) == ["a", "c", "b"]
    assert len(said) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}


def test_what_was_made_before_its_claim_was_free_is_not_made_again(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    take = claims._acquired

    def late(lock: object) -> bool:
        (tmp_path / "a").touch()
        return take(lock)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "_acquired", late)
    assert make_all(tmp_path, ["a"]) == []
    assert not said
