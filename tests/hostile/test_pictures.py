"""Hostile pictures: each is read, or refused in a few words, in little time and memory."""

import io
import json
import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoct.core.readable import open_regular
from decoct.data.listing import picture_formats, picture_suffixes
from decoct.data.pictures import decoded, fit, open_picture
from tests.hostile.bounded import bounded

READ, REFUSED = "read", "(?!read$).+"


def picture(mode: str = "RGB", side: int = 24) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(colours).convert(mode)


def saved(kind: str, mode: str = "RGB", **more: object) -> bytes:
    file = io.BytesIO()
    picture(mode).save(file, kind, **more)
    return file.getvalue()


def png(width: int, height: int, *, bits: int = 1, chunks: bytes = b"") -> bytes:
    """Black and white or grey, all of it black: a thousand times smaller than its pixels."""
    deflate = zlib.compressobj(9)
    rows = min(height, 13000)  # what is beyond need not be there to be declared
    packed = b"".join(deflate.compress(bytes(1 + -(-width * bits // 8))) for _ in range(rows))
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = chunk(b"IDAT", packed + deflate.flush()) if rows else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunks + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text(kind: bytes, size: int, count: int = 1) -> bytes:
    """A picture whose text chunks unpack to `size` bytes each."""
    before = {b"zTXt": b"key\0\0", b"iCCP": b"key\0\0", b"iTXt": b"key\0\1\0\0\0"}[kind]
    return png(24, 24, chunks=chunk(kind, before + zlib.compress(bytes(size), 9)) * count)


def patched(content: bytes, place: int, value: bytes) -> bytes:
    return content[:place] + value + content[place + len(value) :]


def after(content: bytes, mark: bytes, value: bytes) -> bytes:
    return patched(content, content.index(mark) + len(mark), value)


def tiff(entries: list[tuple[int, int, int, int]], *, then: int = 0, pixels: int = 256) -> bytes:
    """A grey picture of 16 x 16 with more tags than it needs, and the place of the next page."""
    needed = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    needed += [(273, 4, 1, 8), (278, 3, 1, 16), (279, 4, 1, 256)]
    tags = sorted({entry[0]: entry for entry in [*needed, *entries]}.values())
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8 + pixels) + bytes(pixels)
    return head + struct.pack("<H", len(tags)) + body + struct.pack("<I", then)


def many_tags() -> bytes:
    """Every tag claims the whole file for itself."""
    return tiff([(tag, 7, 60_000, 8) for tag in range(1000, 6000)])


def frames(kind: str, count: int, **more: object) -> bytes:
    others = [picture().rotate(i) for i in range(1, count)]
    return saved(kind, save_all=True, append_images=others, loop=0, **more)


def exif(content: bytes) -> bytes:
    return saved("JPEG", exif=b"Exif\0\0" + content)


def orientation(value: int) -> bytes:
    tags = Image.Exif()
    tags[274] = value
    return saved("JPEG", exif=tags)


def icon_of(content: bytes) -> bytes:
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(content), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + content


MEGAPIXELS = r"\d+ megapixels from \d+ bytes are no photograph, and fill the memory"
SCALE = r"more than 178 megapixels; scale it down"
SIZES = struct.pack(">II", 60_000, 60_000)
CORPUS: dict[str, tuple[Callable[[], bytes], str]] = {
    # more pixels than bytes can hold
    "bomb.png": (lambda: png(13_000, 13_000), MEGAPIXELS),
    "grey-bomb.png": (lambda: png(5000, 5000, bits=8), MEGAPIXELS),
    "larger.png": (lambda: png(60_000, 60_000)[:2000], SCALE),
    "bomb.gif": (lambda: patched(saved("GIF"), 6, b"\xff\xff\xff\xff"), SCALE),
    "bomb.jp2": (lambda: after(saved("JPEG2000"), b"ihdr", SIZES), SCALE),
    "bomb.j2k": (lambda: patched(saved("JPEG2000", no_jp2=True), 8, SIZES), SCALE),
    "bomb.bmp": (lambda: patched(saved("BMP"), 18, struct.pack("<II", 12_000, 9000)), MEGAPIXELS),
    "bomb.ppm": (lambda: b"P6 12000 9000 255\n", MEGAPIXELS),
    "bomb.tga": (lambda: patched(saved("TGA"), 12, b"\xff\xff\xff\xff"), SCALE),
    "bomb.qoi": (lambda: patched(saved("QOI"), 4, SIZES), SCALE),
    "bomb.tif": (lambda: tiff([(256, 3, 1, 12_000), (257, 3, 1, 9000)]), MEGAPIXELS),
    "bomb.webp": (lambda: after(saved("WEBP", lossless=True), b"VP8L", b"\0" * 9), REFUSED),
    "bomb.psd": (
        lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9000, 12_000, 8, 3) + bytes(14),
        MEGAPIXELS,
    ),
    "bomb.ico": (lambda: icon_of(png(13_000, 13_000)), "not a picture"),
    "bomb.jpg": (lambda: after(saved("JPEG"), b"\xff\xc0\0\x11\x08", b"\xff\xff" * 2), SCALE),
    "progressive.jpg": (
        lambda: after(saved("JPEG", progressive=True), b"\xff\xc2\0\x11\x08", b"\x30\0" * 2),
        MEGAPIXELS,
    ),
    # text that unpacks to megabytes
    "text.png": (lambda: text(b"zTXt", 2**24), "Decompressed data too large.*"),
    "text-often.png": (lambda: text(b"zTXt", 2**20 - 9, 80), "Too much memory.*"),
    "international.png": (lambda: text(b"iTXt", 2**24), REFUSED),
    "profile.png": (lambda: text(b"iCCP", 2**24), REFUSED),
    # tags
    "tags.tif": (many_tags, READ),
    "tags.jpg": (lambda: exif(many_tags()[:65_000]), READ),
    "loop.jpg": (lambda: exif(tiff([(34665, 4, 1, 264)], then=264)), READ),
    "loop.tif": (lambda: tiff([], then=264), READ),
    "sub-loop.tif": (lambda: tiff([(330, 4, 1, 264), (34665, 4, 1, 264)]), READ),
    "no-strips.tif": (lambda: tiff([(273, 4, 0, 0)]), REFUSED),
    "far-strip.tif": (lambda: tiff([(273, 4, 1, 2**32 - 1)]), REFUSED),
    "bits.tif": (lambda: tiff([(258, 3, 1, 65_535)]), REFUSED),
    "range.tif": (lambda: tiff([(281, 4, 1, 2**32 - 1)]), READ),
    "nonsense-exif.jpg": (lambda: exif(b"nonsense" * 9), READ),
    "short-exif.jpg": (lambda: exif(b"II*\0"), READ),
    "orientation.jpg": (lambda: orientation(60_000), READ),
    # many frames, of which the first is taken
    "frames.gif": (lambda: frames("GIF", 40) * 20, READ),
    "frames.png": (lambda: frames("PNG", 40), READ),
    "frames.webp": (lambda: frames("WEBP", 8), READ),
    "pages.tif": (lambda: frames("TIFF", 40), READ),
    "no-end.gif": (lambda: frames("GIF", 3)[:-1], READ),
    # sizes
    "empty.png": (lambda: b"", "not a picture"),
    "byte.jpg": (lambda: b"\xff", "not a picture"),
    "no-rows.png": (lambda: png(24, 0), REFUSED),
    "no-columns.png": (lambda: png(0, 24), REFUSED),
    "no-rows.bmp": (lambda: patched(saved("BMP"), 22, bytes(4)), REFUSED),
    "no-rows.gif": (lambda: patched(saved("GIF"), 8, bytes(2)), READ),  # its frame has rows
    "no-rows.tif": (lambda: tiff([(257, 3, 1, 0)]), REFUSED),
    "no-rows.jpg": (lambda: after(saved("JPEG"), b"\xff\xc0\0\x11\x08", bytes(2)), REFUSED),
    "negative.bmp": (lambda: patched(saved("BMP"), 18, b"\xff\xff\xff\xff"), REFUSED),
    # modes
    "cmyk.jpg": (lambda: saved("JPEG", "CMYK"), READ),
    "cmyk.tif": (lambda: saved("TIFF", "CMYK"), READ),
    "lab.tif": (lambda: saved("TIFF", "LAB"), READ),
    "palette.png": (lambda: saved("PNG", "P", transparency=0), READ),
    "grey-alpha.png": (lambda: saved("PNG", "LA"), READ),
    "bit.png": (lambda: saved("PNG", "1"), READ),
    "sixteen.png": (lambda: saved("PNG", "I;16"), READ),
    "thirty-two.tif": (lambda: saved("TIFF", "I"), READ),
    "float.tif": (lambda: saved("TIFF", "F"), ".*floating-point.*"),
    # formats
    "jpeg.png": (lambda: saved("JPEG"), READ),
    "postscript.png": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not a picture",
    ),
    "saved.png": (lambda: saved("EPS"), "not a picture"),
    "dcx.png": (lambda: struct.pack("<2I", 0x3ADE68B1, 12) + saved("PCX"), "not a picture"),
    "svg.png": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "html.jpg": (lambda: b"<html><script>alert(1)</script></html>", "not a picture"),
}
CUT = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "TGA", "PPM", "QOI", "GIF", "JPEG2000", "AVIF", "HEIF")


def cut(kind: str) -> bytes:
    content = saved(kind)
    return content[: len(content) // 3]


CORPUS |= {
    f"cut.{kind.lower()}": (partial(cut, kind), REFUSED)
    for kind in CUT
    if kind in picture_formats()
}


def read(file: Path) -> str:
    (found,) = decoded([file], size=16, channels=3, doing="")
    if isinstance(found, str):
        return found
    assert found.shape == (16, 16, 3)
    return READ


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, float]]:
    """What is said of each picture, and in how many seconds; the memory is of all together."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in CORPUS.items():
        (folder / name).write_bytes(make())

    def work() -> str:
        found = {}
        for name in CORPUS:
            start = time.monotonic()
            said = read(folder / name)
            found[name] = said, time.monotonic() - start
        return json.dumps(found)

    outcome = bounded(work)
    assert outcome.megabytes < 300
    found: Mapping[str, tuple[str, float]] = json.loads(outcome.said)
    return found


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_picture(name: str, answers: Mapping[str, tuple[str, float]]) -> None:
    said, seconds = answers[name]
    assert re.fullmatch(CORPUS[name][1], said) and len(said) < 250
    assert seconds < 2


def test_no_format_of_them_runs_a_program(tmp_path: Path) -> None:
    assert not {"EPS", "WMF", "ICO", "PDF", "FPX"} & set(picture_formats())
    assert not {".eps", ".ps", ".wmf", ".pdf"} & picture_suffixes()


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path) -> None:
    picture(side=600).save(tmp_path / "a.bmp")
    with open_regular(tmp_path / "a.bmp") as file, open_picture(file) as opened:
        os.truncate(tmp_path / "a.bmp", 60)
        with pytest.raises(OSError, match="truncated"):  # mapped memory would end the process
            fit(opened, size=16, channels=3)
