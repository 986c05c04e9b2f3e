"""Invalid images give a sentence that says what, where and what to do, never a traceback."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.images import Images

Refused = Callable[..., str]


def _picture(path: Path, seed: int = 0) -> None:
    draws = np.random.default_rng(seed)
    Image.fromarray(draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)


def test_source_that_does_not_exist(refused: Refused, data: Path) -> None:
    said = refused("stage load-images", "--images.source", "nowhere")
    assert "nowhere does not exist; a source is a folder" in said


def test_empty_folder(refused: Refused, data: Path) -> None:
    (data / "empty").mkdir()
    said = refused("stage load-images", "--images.source", data / "empty")
    assert "empty holds no pictures" in said


def test_folder_of_which_too_few_can_be_read(refused: Refused, data: Path) -> None:
    folder = data / "pictures"
    folder.mkdir()
    _picture(folder / "whole.png")
    for i in range(2):
        (folder / f"broken{i}.png").write_bytes(b"nonsense")
    said = refused("stage load-images", "--images.source", folder)
    assert "2 of 3 pictures cannot be read: broken0.png: not a picture broken1.png" in said
    assert "too few are left to continue" in said


def test_folder_of_which_some_cannot_be_read_goes_on(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data / "pictures"
    folder.mkdir()
    for i in range(3):
        _picture(folder / f"{i}.png", seed=i)
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:200])
    flags = ("--images.source", folder, "--out", data / "run")
    assert main(["stage", "load-images", *map(str, (data / "mine.yaml", *flags))]) == 0
    (report,) = (data / "run").glob("images-*/unreadable.txt")
    assert report.read_text().startswith("broken.png: ")
    assert f"1 of 4 pictures cannot be read: see {report}" in capsys.readouterr().err


def test_images_that_differ_in_channels(refused: Refused, data: Path) -> None:
    mixed = [np.zeros((16, 16, 3)), np.zeros((16, 16, 1))]
    with pytest.raises(DecoctError, match="differ in size or channels"):
        Images.from_array(mixed)
    ragged = np.empty(2, dtype=object)
    ragged[:] = mixed
    np.savez(data / "mixed.npz", images=ragged)
    said = refused("stage load-images", "--images.source", "mixed.npz")
    assert "mixed.npz cannot be read as numpy data" in said
    np.save(data / "alpha.npy", np.zeros((2, 16, 16, 4), np.uint8))
    said = refused("stage load-images", "--images.source", "alpha.npy")
    assert "have neither 1 nor 3 channels" in said


def test_constant_images(refused: Refused, data: Path) -> None:
    np.save(data / "grey.npy", np.full((5, 16, 16, 3), 128, np.uint8))
    said = refused("stage load-images", "--images.source", "grey.npy")
    assert "grey.npy: the images are constant; there is nothing to learn" in said


def test_non_finite_images(refused: Refused, data: Path) -> None:
    pixels = np.random.default_rng(0).random((5, 16, 16, 3))
    pixels[3, 2, 2, 1] = np.nan
    np.save(data / "nan.npy", pixels)
    said = refused("stage load-images", "--images.source", "nan.npy")
    assert "nan.npy: 1 images have non-finite pixels, the first at index 3" in said


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "train-images-idx3-ubyte.gz", "a.safetensors"])
def test_files_that_are_something_else(refused: Refused, data: Path, name: str) -> None:
    for content in (b"", b"PK\x03\x04 but no zip", b"\x1f\x8b\x08\x00broken gzip" * 3):
        (data / name).write_bytes(content)
        assert name in refused("stage load-images", "--images.source", name)


@pytest.mark.parametrize(
    "flag, value, sentence",
    [
        ("channels", 2, "'2' for argument '--images.channels'. Expected one of ('1', '3')"),
        ("size", 0, "size is 0"),
    ],
)
def test_impossible_shapes(refused: Refused, flag: str, value: int, sentence: str) -> None:
    assert sentence in refused("stage load-images", f"--images.{flag}", value)
