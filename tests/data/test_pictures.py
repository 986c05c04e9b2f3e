"""Pictures of many bits, odd shapes and bad contents, decoded in threads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from decoct.data import pictures
from decoct.data.pictures import fit
from decoct.data.sources import load_images

RAMP = np.linspace(0, 1, 16)[None].repeat(16, 0)


def shown(path: Path) -> list[int]:
    with Image.open(path) as picture:
        row: list[int] = fit(picture, size=16, channels=1)[0, :, 0].tolist()
    return row


def ramp(bits: int, dtype: type[np.integer]) -> NDArray[np.integer]:
    return (RAMP * (2**bits - 1)).round().astype(dtype)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name, dtype", [("a.png", np.uint16), ("a.tif", np.int32)])
def test_few_bits_in_a_larger_number_are_not_black(
    bits: int, name: str, dtype: type[np.integer], tmp_path: Path
) -> None:
    values = ramp(bits, dtype)
    Image.fromarray(values).save(tmp_path / name)
    assert shown(tmp_path / name) == (values[0] >> (bits - 8)).tolist()


def test_a_declared_range_counts_more_than_what_is_used_of_it(tmp_path: Path) -> None:
    dark = ramp(10, np.uint16)
    Image.fromarray(dark).save(tmp_path / "dark.tif", tiffinfo={281: 2**12 - 1})
    assert shown(tmp_path / "dark.tif") == (dark[0] >> 4).tolist()
    head = b"P5 16 16 65535\n"
    (tmp_path / "dark.pgm").write_bytes(head + dark.astype(">u2").tobytes())
    assert shown(tmp_path / "dark.pgm") == (dark[0] >> 8).tolist()


def test_values_out_of_range_are_clipped(tmp_path: Path) -> None:
    Image.fromarray(ramp(16, np.uint16)).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    assert shown(tmp_path / "a.tif")[1:] == [255] * 15
    Image.fromarray(ramp(8, np.int32) - 100).save(tmp_path / "b.tif")
    assert shown(tmp_path / "b.tif") == (ramp(8, np.int32)[0] - 100).clip(0).tolist()


@pytest.mark.parametrize("size", [(2, 30_000), (30_000, 2)])
def test_a_very_long_picture_is_never_blown_up_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    resize = Image.Image.resize

    def spied(picture: Image.Image, size: tuple[int, int], *rest: Any, **more: Any) -> Image.Image:
        made.append(size)
        return resize(picture, size, *rest, **more)

    monkeypatch.setattr(Image.Image, "resize", spied)
    picture = Image.new("RGB", size, "red")
    left, top = (side // 2 - 3 if side > 2 else 0 for side in size)
    picture.paste((0, 0, 255), (left, top, left + 6, top + 6))  # the centre and around it
    assert fit(picture, size=224, channels=3).reshape(-1, 3).mean(0).tolist() == [0, 0, 255]
    assert [sorted(size) for size in made] == [[224, 896]]


def test_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "b.png", "c.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        with Image.open(tmp_path / name) as picture:
            assert picture.n_frames == 2  # type: ignore[attr-defined]
            assert fit(picture, size=16, channels=3)[0, 0].tolist() == [255, 0, 0]


def test_what_is_too_large_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (12, 16, 20):  # below the size that Pillow warns of, above it, above twice it
        noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
        for copy in "ab" if side == 12 else "a":
            Image.fromarray(noise).save(tmp_path / f"{side}{copy}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 190)
    images = load_images(tmp_path, size=12, file=tmp_path / "out" / "images.safetensors")
    assert len(images) == 3
    bombs = (tmp_path / "out" / "unreadable.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in bombs] == ["20a.png"]
    assert all("megapixels; scale it down" in line for line in bombs)


def test_what_is_unreadable_is_listed_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(12):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / f"good{i}.png")
        (tmp_path / f"bad{i:02}.png").write_bytes(b"nonsense")
    (tmp_path / "bad11.png").unlink()
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    Image.fromarray(np.tri(8, dtype=np.uint8) * 255).save(tmp_path / "good12.png")
    report = tmp_path / "out" / "unreadable.txt"
    load_images(tmp_path, size=8, file=report.with_name("images.safetensors"))
    lines = report.read_text().splitlines()
    assert lines == [
        *(f"bad{i:02}.png: not a picture" for i in range(11)),
        "lost.jpg: No such file or directory",
    ]
    said = capsys.readouterr().err
    assert f"12 of 25 pictures cannot be read: see {report}" in said and "bad00" not in said
    load_images(tmp_path, size=8)
    said = capsys.readouterr().err
    assert "bad09" in said and "bad10" not in said and "the other 13" in said


def test_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    for i in range(40):
        noise = draws.integers(0, 256, (9 + i, 50 - i, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.{'png' if i % 2 else 'jpg'}")
    (tmp_path / "7.png").write_bytes(b"nonsense")
    found = []
    for threads, most in ((1, 16), (5, 1)):
        monkeypatch.setattr(pictures, "_THREADS", threads)
        monkeypatch.setattr(pictures, "_AHEAD", most)
        found.append(load_images(tmp_path, size=16))
    assert torch.equal(found[0].pixels, found[1].pixels) and len(found[0]) == 39
