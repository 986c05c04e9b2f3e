"""`survey`: what lies in a folder of pictures, from their headers alone."""

from pathlib import Path

import pytest
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data import survey as module
from decoct.data.survey import survey


def _folder(root: Path, name: str, count: int, suffix: str = "png") -> None:
    (root / name).mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (10 + i, 40)).save(root / name / f"{i}.{suffix}")


def test_all_that_is_there_is_told(tmp_path: Path) -> None:
    _folder(tmp_path, "cats", 3)
    _folder(tmp_path, "dogs", 2, "jpg")
    whole = (tmp_path / "cats" / "2.png").read_bytes()
    (tmp_path / "cats" / "2.png").write_bytes(whole[:60])  # the header is whole
    (tmp_path / "dogs" / "bad.webp").write_bytes(b"nonsense")
    (tmp_path / "dogs" / "c.heic.mp4").write_bytes(b"")
    found = survey(tmp_path)
    assert (found.pictures, found.looked_at, found.shorter_sides) == (6, 6, (10, 11, 12))
    assert found.formats == {"PNG": 3, "JPEG": 2}
    assert found.unreadable == {"dogs/bad.webp": "not a picture"}
    assert found.unsupported == {".mp4": 1} and found.left_out.startswith("1 .mp4 (films")
    assert found.classes == {"cats": 3, "dogs": 3} and found.parts == {}


def test_train_and_test_are_parts_and_no_classes(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        _folder(tmp_path / part, "cats", count)
        _folder(tmp_path / part, "dogs", 1)
    found = survey(tmp_path)
    assert found.parts == {"train": 4, "test": 3}
    assert found.classes == {"cats": 5, "dogs": 2}


def test_a_loose_picture_leaves_no_classes(tmp_path: Path) -> None:
    _folder(tmp_path, "cats", 2)
    Image.new("L", (7, 7)).save(tmp_path / "loose.png")
    assert survey(tmp_path).classes == {}


def test_of_many_some_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOKED_AT", 4)
    _folder(tmp_path, "a", 9)
    found = survey(tmp_path)
    assert (found.pictures, found.looked_at) == (9, 4)
    assert found == survey(tmp_path)


def test_nothing_to_see(tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="holds no pictures"):
        survey(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DecoctError, match="none of the 1 pictures looked at can be read"):
        survey(tmp_path)
