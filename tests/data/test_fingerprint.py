"""Which changes of a source change its fingerprint, and which do not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from decoct.data import fingerprint as module
from decoct.data.fingerprint import fingerprint


def folder(path: Path) -> Path:
    """Two files, one of them in a sub-folder."""
    (path / "cats").mkdir(parents=True)
    (path / "a.png").write_bytes(b"one")
    (path / "cats" / "b.png").write_bytes(b"another")
    return path


def alter(path: Path) -> None:
    """Other contents of the same size, a nanosecond later."""
    stat = (path / "a.png").stat()
    (path / "a.png").write_bytes(b"two")
    os.utime(path / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "altered": alter,
    "renamed": lambda path: (path / "a.png").rename(path / "c.png"),
    "moved": lambda path: (path / "a.png").rename(path / "cats" / "a.png"),
    "added": lambda path: (path / "c.png").write_bytes(b""),
    "removed": lambda path: (path / "a.png").unlink(),
}


def test_the_same_files_elsewhere_and_later_are_the_same(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "two" / "other")
    os.utime(other / "a.png", (0, 0))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one / "a.png") == fingerprint(other / "a.png")
    assert fingerprint(one / "a.png") != fingerprint(one / "cats" / "b.png")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(
    tmp_path: Path, change: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_UP_TO", 0 if large else 1000)
    path = folder(tmp_path / "pool")
    before = fingerprint(path)
    assert fingerprint(path) == before
    CHANGES[change](path)
    assert fingerprint(path) != before


def test_a_source_too_large_to_be_read_is_told_by_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "pool")
    monkeypatch.setattr(module, "_READ_UP_TO", 9)
    before = fingerprint(path)
    os.utime(path / "a.png", (0, 0))
    assert fingerprint(path) != before


def test_a_folder_named_like_an_embedded_source_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--out emoji` makes one, and changes it all the time."""
    monkeypatch.chdir(tmp_path)
    before = [fingerprint(name) for name in module.EMBEDDED]
    for name in module.EMBEDDED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("name: mine\n")
    assert [fingerprint(name) for name in module.EMBEDDED] == before
