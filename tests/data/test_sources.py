"""Images from everything that holds some: folders, arrays and IDX files."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data.idx import read_idx
from decoct.data.images import Images
from decoct.data.sources import load_images

RED, GREEN = (200, 10, 10), (10, 200, 90)


def _picture(size: tuple[int, int] = (20, 20), seed: int = 0) -> Image.Image:
    draws = np.random.default_rng(seed)
    return Image.fromarray(draws.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def _halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (32, 32), left)
    picture.paste(right, (16, 0, 32, 32))
    return picture


def _idx(path: Path, array: NDArray[np.uint8]) -> None:
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _bytes(count: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_folder_of_any_size_and_format(tmp_path: Path) -> None:
    for i, suffix in enumerate(("png", "jpg", "gif", "webp", "bmp", "TIFF")):
        _picture((10 + 7 * i, 40 - 5 * i), seed=i).save(tmp_path / f"{i}.{suffix}")
    (tmp_path / "notes.txt").write_text("not a picture, and not called one")
    images = load_images(tmp_path, size=16)
    assert images.pixels.shape == (6, 3, 16, 16)
    assert images.labels is None


def test_folder_of_class_folders(tmp_path: Path) -> None:
    for name, count in (("cat", 2), ("dog", 3)):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(count):
            _picture(seed=i).save(tmp_path / name / "deeper" / f"{i}.png")
    images = load_images(tmp_path, size=8)
    assert images.class_names == ("cat", "dog")
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1, 1, 1]


def test_one_picture_outside_the_class_folders_leaves_no_labels(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    _picture().save(tmp_path / "cat" / "a.png")
    _picture(seed=1).save(tmp_path / "b.png")
    assert load_images(tmp_path, size=8).labels is None


def test_resized_by_the_shorter_side_and_cropped_in_the_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (96, 32), RED)
    wide.paste(GREEN, (32, 0, 64, 32))
    wide.save(tmp_path / "wide.png")
    _picture().save(tmp_path / "other.png")
    pixels = load_images(tmp_path, size=16).pixels[1]
    assert pixels[:, :, 3:13].float().mean((1, 2)).round().tolist() == list(GREEN)


def test_transparent_pictures_stand_on_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    rgba.paste((*RED, 255), (0, 0, 8, 16))
    rgba.save(tmp_path / "rgba.png")
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0, *RED])
    palette.paste(1, (0, 0, 8, 16))
    palette.save(tmp_path / "palette.png", transparency=0)
    for pixels in load_images(tmp_path, size=16).pixels:
        assert pixels[:, 8, 2].tolist() == list(RED)
        assert pixels[:, 8, 13].tolist() == [255, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_mix(tmp_path: Path, channels: int) -> None:
    _picture(seed=1).save(tmp_path / "colour.png")
    _picture(seed=2).convert("L").save(tmp_path / "grey.png")
    _picture(seed=3).convert("CMYK").save(tmp_path / "print.tif")
    images = load_images(tmp_path, size=16, channels=channels)
    assert images.pixels.shape == (3, channels, 16, 16)
    assert images.channels == channels
    grey = images.pixels[1]
    assert torch.equal(grey, grey[:1].expand_as(grey))


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 16).astype(np.uint16)[None].repeat(16, 0)
    Image.fromarray(ramp).save(tmp_path / "scan.png")
    row = load_images(tmp_path, size=16, channels=1).pixels[0, 0, 0].tolist()
    assert row == (ramp[0] >> 8).tolist()


def test_camera_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    _halves(RED, GREEN).save(tmp_path / "turned.png", exif=exif)
    pixels = load_images(tmp_path, size=32).pixels[0]
    assert pixels[:, 16, 4].tolist() == list(GREEN)


def test_unreadable_pictures_are_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        _picture(seed=i).save(tmp_path / f"{i}.png")
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    assert len(load_images(tmp_path, size=8)) == 3
    said = " ".join(capsys.readouterr().err.split())  # undo the console's wrapping
    assert "2 of 5 pictures cannot be read" in said
    assert "cut.png" in said and "text.jpg: not a picture" in said


def test_numpy_files(tmp_path: Path) -> None:
    pixels = _bytes(5, 12, 12, 3)
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "b.npz", images=pixels, labels=[0, 1, 2, 1, 0], class_names=["x", "y", "z"])
    np.savez(
        tmp_path / "c.npz",
        train_images=pixels,
        train_labels=np.zeros(5, int),
        test_images=pixels[:2],
        test_labels=np.ones(2, int),
    )
    first = load_images(tmp_path / "a.npy", size=12)
    assert torch.equal(first.pixels, torch.as_tensor(pixels).permute(0, 3, 1, 2))
    second = load_images(tmp_path / "b.npz", size=12)
    assert second.class_names == ("x", "y", "z")
    assert second.labels is not None and second.labels.tolist() == [0, 1, 2, 1, 0]
    assert len(load_images(tmp_path / "c.npz", size=12)) == 5
    assert len(load_images(tmp_path / "c.npz", size=12, split="test")) == 2


def test_images_of_ours(tmp_path: Path) -> None:
    images = Images.from_array(_bytes(4, 8, 8), labels=[0, 1, 0, 1])
    images.save(tmp_path / "images.safetensors")
    again = load_images(tmp_path / "images.safetensors", size=8, channels=1)
    assert torch.equal(again.pixels, images.pixels)


@pytest.mark.parametrize("suffix", ["", ".gz"])  # Debian's dataset-fashion-mnist has .gz
@pytest.mark.parametrize("split, prefix", [("train", "train"), ("test", "t10k")])
def test_folder_of_idx_files(tmp_path: Path, suffix: str, split: Any, prefix: str) -> None:
    for name, count in (("train", 6), ("t10k", 3)):
        _idx(tmp_path / f"{name}-images-idx3-ubyte{suffix}", _bytes(count, 28, 28))
        _idx(tmp_path / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8))
    images = load_images(tmp_path, size=28, channels=1, split=split)
    count = 6 if prefix == "train" else 3
    assert np.array_equal(images.pixels[:, 0].numpy(), _bytes(count, 28, 28))
    assert images.labels is not None and images.labels.tolist() == list(range(count))
    file = load_images(tmp_path / f"{prefix}-images-idx3-ubyte{suffix}", size=32, channels=3)
    assert file.pixels.shape == (count, 3, 32, 32)


def test_idx_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    _idx(path, _bytes(3, 8, 8))
    whole = path.read_bytes()
    for kept, sentence in ((-5, "cut short"), (9, "cut short"), (2, "not an IDX file")):
        path.write_bytes(whole[:kept])
        with pytest.raises(DecoctError, match=sentence):
            read_idx(path)
    zipped = tmp_path / "train-images-idx3-ubyte.gz"
    zipped.write_bytes(gzip.compress(whole)[:-12])
    with pytest.raises(DecoctError, match="cannot be read"):
        read_idx(zipped)
