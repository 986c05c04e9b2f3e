"""Hostile folders: what has no end is not waited for, and any name is only a name."""

import os
import socket
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoct.data import listing
from decoct.data.catalogue import catalogue_of
from decoct.data.fingerprint import fingerprint
from decoct.data.listing import list_pictures
from decoct.data.pictures import decoded
from decoct.data.sources import load_images
from decoct.data.survey import survey
from decoct.data.tasks import load_task
from tests.hostile.bounded import bounded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names and files of Linux")

NAMES = {
    "a new line": "a\nb.png",
    "HTML": "<img src=x onerror=alert(1)>.png",
    "an escape": "\x1b[31mred\x1b[0m.png",
    "a bell and a return": "a\x07\rb.png",
    "text turned round": "\u202egnp.exe.png",
    "no text": os.fsdecode(b"na\xefve\xff.png"),
    "255 bytes": "x" * 251 + ".png",
    "a flag": "--out=x.png",
    "a formula": '=HYPERLINK("http:x").png',
    "dots": "a...b.png",
    "quotes and separators": "\"',;\t|&$(x)`.png",
    "brackets": "[bold]x[-bold]:smile:.png",
    "a space alone": " .png",
    "composed": unicodedata.normalize("NFC", "é.png"),
    "decomposed": unicodedata.normalize("NFD", "é.png"),
    "small": "case.png",
    "capitals": "CASE.png",
}

_LONG = "d" * 200


def save(file: Path, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, into which a test puts what it wants."""
    save(tmp_path / "photos" / "good.png")
    return tmp_path / "photos"


def endless(folder: Path) -> Iterator[str]:
    os.mkfifo(folder / "pipe.png")
    yield "pipe.png"
    (folder / "zeros.png").symlink_to("/dev/zero")
    yield "zeros.png"
    (folder / "linked.jpg").symlink_to(folder / "pipe.png")
    yield "linked.jpg"
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        one.bind("socket.png")
        os.chdir(here)
    yield "socket.png"


def test_what_has_no_end_is_not_opened(folder: Path, tmp_path: Path) -> None:
    names = sorted(endless(folder))
    save(folder / "other.png", 1), save(folder / "third.png", 2), save(folder / "fourth.png", 3)
    os.mkfifo(folder / "recipe.yaml")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "sub" / "recipe.yaml")  # read to know a run's folder
    assert sorted(list_pictures(folder).closed) == names

    def work() -> str:
        load_images(folder, size=8, file=tmp_path / "out" / "images.safetensors")
        fingerprint(folder)
        return str(survey(folder).pictures)

    outcome = bounded(work)
    assert outcome.said == "4" and outcome.seconds < 5
    said = (tmp_path / "out" / "unreadable.txt").read_text().splitlines()
    assert said == [f"{name}: it is a pipe, a device or a socket, not a file" for name in names]


def test_a_file_that_becomes_a_pipe_after_it_was_listed(folder: Path) -> None:
    found = catalogue_of(folder)
    (folder / "good.png").unlink()
    os.mkfifo(folder / "good.png")
    outcome = bounded(lambda: str(next(decoded(found.files, size=8, channels=3, doing=""))))
    assert outcome.said == "it is a pipe, a device or a socket, not a file"


def test_links_in_circles_and_to_nothing(folder: Path) -> None:
    (folder / "self.png").symlink_to("self.png")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "up").symlink_to("..")
    (folder / "here").symlink_to(".")
    (folder / "nowhere.png").symlink_to("missing.png")
    for name in ("a.png", "b.png", "c.png"):
        save(folder / name, ord(name[0]))
    assert len(load_images(folder, size=8)) == 4
    assert fingerprint(folder) == fingerprint(folder)
    assert set(survey(folder).unreadable) == {"self.png", "nowhere.png"}


@contextmanager
def deep(folder: Path, levels: int) -> Iterator[None]:
    """Inside the block a folder has folders in it deeper than a path can say."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(levels):
            Path(_LONG).mkdir()
            os.chdir(_LONG)
        os.chdir(before)
        yield
    finally:  # what pytest would use does not go that deep
        os.chdir(folder)
        for _ in range(levels):
            os.chdir(_LONG)
        for _ in range(levels):
            os.chdir("..")
            Path(_LONG).rmdir()
        os.chdir(before)


def test_folders_within_folders_without_end(folder: Path) -> None:
    save(folder / "d" / "d" / "d" / "deep.png")
    with deep(folder / "d" / "d" / "d", 30):
        outcome = bounded(lambda: ",".join(list_pictures(folder).closed.values()))
        found = list_pictures(folder)
    assert outcome.said == "File name too long"
    assert outcome.seconds < 5 and outcome.megabytes < 300
    assert [file.name for file in found.pictures] == ["deep.png", "good.png"]


def test_thousands_of_entries(tmp_path: Path) -> None:
    for i in range(1000):
        os.close(os.open(tmp_path / f"{i}.{'png' if i % 2 else 'txt'}", os.O_CREAT))
    outcome = bounded(lambda: str(len(list_pictures(tmp_path).pictures)))
    assert outcome.said == "500"
    assert outcome.seconds < 2 and outcome.megabytes < 20


def test_names_of_all_kinds_are_read_and_keep_their_own(tmp_path: Path) -> None:
    for seed, name in enumerate(NAMES.values()):
        save(tmp_path / "flat" / name, seed)
    images = load_images(tmp_path / "flat", size=20)
    assert len(images) == len(NAMES) == len(np.unique(images.pixels.numpy(), axis=0))


def test_a_class_may_have_any_name(tmp_path: Path) -> None:
    names = {kind: name.removesuffix(".png") for kind, name in NAMES.items()}
    for seed, name in enumerate(names.values()):
        for copy in range(4):
            save(tmp_path / "task" / name / f"{copy}.png", 10 * seed + copy)
    images = load_images(tmp_path / "task", size=8)
    images.save(tmp_path / "images.safetensors")
    assert len(images.class_names) == len(NAMES)
    task = load_task(str(tmp_path / "task"), size=8)
    assert task.train.class_names == images.class_names
    for name in images.class_names:
        name.encode()  # text, also where the folder's name is none


def test_unreadable_pictures_of_any_name_are_listed_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES.values():
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"nonsense")
        save(tmp_path / "photos" / "good" / name)
    report = tmp_path / "out" / "unreadable.txt"
    load_images(tmp_path / "photos", size=8, file=report.with_name("images.safetensors"))
    lines = report.read_text("utf-8").splitlines()
    assert len(lines) == len(NAMES) and all(line.endswith(": not a picture") for line in lines)
    assert all(character.isprintable() for line in lines for character in line)
    load_images(tmp_path / "photos", size=8)
    assert "\x1b" not in capsys.readouterr().err


def test_formats_that_are_not_read_are_counted(folder: Path) -> None:
    for name in ("a.eps", "b.ico", "c.fits", "d.ps"):
        (folder / name).write_bytes(b"")
    assert list_pictures(folder).unsupported == {".eps": 1, ".fits": 1, ".ico": 1, ".ps": 1}
    assert listing.is_picture(Path("a.eps"))
