"""The rules by which the proxy suite is rebuilt; none of its packages is fetched."""

import io
import itertools
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

Load = Callable[[str], ModuleType]

FOLDER = Path(__file__).parents[2] / "benchmarks" / "proxy32"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """The folder's modules by name; their names are too common to stay in `sys.modules`."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_quarter_of_the_groups_is_tested_on(load: Load) -> None:
    pictures = load("pictures")
    sides = [pictures.is_test(str(i)) for i in range(20_000)]
    assert abs(np.mean(sides) - 0.25) < 0.02
    assert pictures.is_test("b", start=zlib.crc32(b"a/")) == pictures.is_test("a/b")


def test_the_square_is_centred_on_what_is_visible(load: Load) -> None:
    pictures = load("pictures")
    image = Image.new("RGBA", (50, 40))
    image.paste((255, 0, 0, 255), (3, 5, 13, 25))  # 10 wide, 20 high
    square = np.asarray(pictures.square(image))
    assert square.shape == (20, 20, 3)
    assert (square[:, 5:15] == (255, 0, 0)).all()
    assert (square[:, :5] == 255).all() and (square[:, 15:] == 255).all()
    assert pictures.square(Image.new("RGBA", (4, 4))) is None
    assert len(pictures.make_tile(image)) == 32 * 32 * 3


def test_of_equal_pictures_the_first_stays(load: Load) -> None:
    pictures = load("pictures")
    made = [pictures.Picture(tile, label, False) for tile, label in ((b"x", "a"), (b"x", "b"))]
    assert pictures.distinct(made) == made[:1]


# What `debugfs -R "dx_hash -h half_md4 NAME"` of e2fsprogs prints.
@pytest.mark.parametrize(
    ("name", "halves"),
    [
        ("people", (0xFBD177E6, 0x1FD71EFC)),
        ("soulless-serpent-attack-n.png", (0x27F71D8, 0xBBB80E9F)),
        ("a-name-that-is-longer-than-thirty-two-bytes.png", (0x86241E84, 0x1A478B7C)),
    ],
)
def test_names_hash_as_the_file_system_does(load: Load, name: str, halves: tuple[int, int]) -> None:
    assert load("order").name_hash(name) == halves


def test_files_come_before_folders(load: Load) -> None:
    order = load("order")
    paths = ["a", "b", "f/a", "f/b", "f/g/a", "h/a"]
    for shuffled in itertools.islice(itertools.permutations(paths), 0, 720, 97):
        listed = order.as_listed(shuffled)
        assert listed == order.as_listed(paths)
        assert {*listed[:2]} == {"a", "b"}
        assert listed.index("f/g/a") > max(listed.index("f/a"), listed.index("f/b"))


def test_a_units_frames_are_one_group(load: Load) -> None:
    unit = load("sprites").unit
    assert unit("elves-wood/ranger+female-bow.png") == unit("elves-wood/ranger.png")
    assert unit("monsters/skeletal-dragon/bite.png") == "monsters/skeletal-dragon"


def test_every_place_is_in_one_cell_and_one_continent(load: Load) -> None:
    satellite = load("satellite")
    cells = {satellite.cell(y, x) for y in range(-90, 90, 5) for x in range(-180, 180, 5)}
    assert len(cells) == 12 * 24
    places = {(40, -100): "N.America", (-10, -55): "S.America", (0, 20): "Africa"}
    places |= {(60, 100): "Asia", (42, 13): "Europe", (-41, 175): "Oceania"}
    assert {place: satellite.continent(*place) for place in places} == places


def test_half_a_tile_of_land(load: Load) -> None:
    mask = np.zeros((32, 64), bool)
    mask[:8] = True
    assert load("satellite").land_share(mask, 0, 32, scale=0.5) == 0.5


def test_debian_archives_are_read_and_links_followed(load: Load, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        file = tarfile.TarInfo("./usr/art/a.png")
        file.size = 3
        tar.addfile(file, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("./usr/art/b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a.png"
        tar.addfile(link)
    members = (("debian-binary", b"2.0\n"), ("odd", b"x"), ("data.tar.xz", packed.getvalue()))
    with (tmp_path / "a.deb").open("wb") as deb:
        deb.write(b"!<arch>\n")
        for name, data in members:
            deb.write(f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
            deb.write(data + b"\n" * (len(data) % 2))
    found = load("packages").read_debian(tmp_path / "a.deb", "usr/art/", ".png")
    assert found == {"a.png": b"abc", "b.png": b"abc"}


def test_a_damaged_file_is_named(load: Load, tmp_path: Path) -> None:
    packages = load("packages")
    path = tmp_path / "a.tgz"
    path.write_bytes(b"half of it")
    with pytest.raises(SystemExit, match=r"a\.tgz"):
        packages.check(path, packages.GOOGLE.integrity)


def test_the_comparison_sees_order_and_loss(load: Load) -> None:
    compare = load("compare")
    images = np.arange(12, dtype=np.uint8).reshape(4, 3)
    assert compare.compare_images(images, images) == "equal"
    assert compare.compare_images(images[::-1], images) == "equal as a set"
    assert compare.compare_images(images[:3], images).startswith("75.00% found")
