"""Arrays made to do harm, or that cannot be images: refused in a sentence, and in bounds."""

import gzip
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from decoct.artefacts.embedded_teacher import embedded_teacher
from decoct.artefacts.targets import read_representations
from decoct.core.errors import DecoctError
from decoct.data.expansion import check_expansion
from decoct.data.fingerprint import fingerprint
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.data.tasks import Task, load_task
from decoct.evaluation.probe import ProbeConfig, probe
from decoct.models.registry import NetworkConfig
from decoct.training.pretrained import load_teacher
from tests.hostile.bounded import refusal
from tests.hostile.numpy_makers import archive, array_bytes, framed, header

Maker = Callable[[Path], object]

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
MARKER = Path("/tmp/decoct-code-was-run")
ZEROS = bytes(36 * 2**20)


class Dangerous:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (MARKER,)


def content(data: bytes) -> Maker:
    return lambda path: path.write_bytes(data)


def saved(array: Any) -> Maker:
    return content(array_bytes(array))


def objects(path: Path) -> None:
    array = np.empty(2, object)
    array[:] = Dangerous()
    path.write_bytes(header("|O", (2,)) + pickle.dumps(array))


def zipped(**members: Any) -> Maker:
    """A .npz of arrays, or of the bytes of one."""
    found = {f"{n}.npy": m if isinstance(m, bytes) else array_bytes(m) for n, m in members.items()}
    return lambda path: archive(path, found)


def bomb(path: Path) -> None:
    """38 MB of zeros in 38 kB."""
    members = {"images.npy": header("|u1", (len(ZEROS) // 64, 8, 8)) + ZEROS}
    archive(path, members, how=zipfile.ZIP_DEFLATED)


def idx(*sides: int, data: bytes = b"", kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{len(sides)}I", 0, 0, kind, len(sides), *sides) + data


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 9)


def tensors(text: str) -> bytes:
    """The start of a safetensors file with this header."""
    return struct.pack("<Q", len(text)) + text.encode() + bytes(16)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's whole path may have 107 characters
        end.bind(path.name)
        os.chdir(here)


NOT_NUMPY = "cannot be read as numpy data"
# A file's name; what makes it; and words of the refusal.
SOURCES: dict[str, tuple[str, Maker, str]] = {
    "objects": ("a.npy", objects, "its array holds Python objects, which may run code"),
    "a pickle": ("a.npy", content(pickle.dumps(Dangerous())), NOT_NUMPY),
    "objects in a zip": ("a.npz", zipped(images=header("|O", (2,)) + b"."), "images holds Python"),
    "a record of objects": ("a.npy", content(header([("a", "|O")], (2,))), "holds Python objects"),
    "10^12 rows": ("a.npy", content(header("|u1", (10**12, 8, 8, 3))), "promises more numbers"),
    "10^12 rows in a zip": (
        "a.npz",
        zipped(images=header("|u1", (10**12, 8, 8, 3))),
        "images is cut short: its header promises more numbers",
    ),
    "sides of 400 digits": ("a.npy", content(header("|u1", (10**400,))), "promises more numbers"),
    "a negative side": (
        "a.npy",
        content(header("|u1", (-1, 8, 8, 3)) + ZEROS[:192]),
        "has the shape (-1, 8, 8, 3); no side is negative",
    ),
    "two negative sides": ("a.npy", content(header("|u1", (-2, -8, 8))), "no side is negative"),
    "no images": ("a.npy", saved(PIXELS[:0]), "there are no images in it"),
    "H = 0": ("a.npy", saved(PIXELS[:, :0]), "images are 0 x 8 pixels, which is none"),
    "W = 0": ("a.npy", saved(PIXELS[:, :, :0]), "images are 8 x 0 pixels, which is none"),
    "H = W = 0": ("a.npy", saved(PIXELS[:, :0, :0]), "images are 0 x 0 pixels"),
    "no channels": ("a.npy", saved(PIXELS[..., :0]), "have neither 1 nor 3 channels"),
    "0-d": ("a.npy", saved(np.float32(3)), "an array of shape () does not hold images"),
    "0-d, and long": ("a.npy", content(header("<f8", ()) + ZEROS), "an array of shape ()"),
    "1-d": ("a.npy", saved(np.zeros(9)), "an array of shape (9,) does not hold images"),
    "64-d": ("a.npy", saved(np.zeros((1,) * 64)), "does not hold images"),
    "65-d": ("a.npy", content(header("|u1", (1,) * 65) + b"\0"), NOT_NUMPY),
    "thin": ("a.npy", saved(np.ones((1, 1, 10**6), np.uint8)), "the longer side may be at most"),
    "records": ("a.npy", saved(np.zeros(3, [("a", "u1")])), "holds records of [('a', 'u1')]"),
    "arrays of arrays": ("a.npy", content(header("(9,9)u1", (2,)) + ZEROS[:162]), "records of"),
    "text": ("a.npy", saved(np.array([["a"]])), "this array does not hold images"),
    "nothing, often": ("a.npy", content(header("<U0", (10**9,))), "holds records of <U0"),
    "complex": ("a.npy", saved(PIXELS.astype(complex)), "pixels are torch.complex128; give uint8"),
    "dates": ("a.npy", saved(PIXELS.astype("M8[s]")), "this array does not hold images"),
    "bool": ("a.npy", saved(PIXELS > 9), "pixels are torch.bool; give uint8, or floats"),
    "int64": ("a.npy", saved(PIXELS.astype(int)), "pixels are torch.int64; give uint8, or floats"),
    "float to 255": ("a.npy", saved(PIXELS * 1.0), "float pixels lie outside [0, 1]"),
    "negative": ("a.npy", saved(PIXELS / -255), "float pixels lie outside [0, 1]"),
    "nan": ("a.npy", saved(np.full((6, 8, 8), np.nan)), "6 images have non-finite pixels"),
    "all the same": ("a.npy", saved(PIXELS * 0), "the images are constant"),
    "cut in the numbers": ("a.npy", content(array_bytes(PIXELS)[:-1]), "is cut short"),
    "cut in the header": ("a.npy", content(array_bytes(PIXELS)[:50]), NOT_NUMPY),
    "another magic": ("a.npy", content(b"\x93NUMPZ" + ZEROS[:200]), NOT_NUMPY),
    "version 9": ("a.npy", content(b"\x93NUMPY\x09\x00" + ZEROS[:200]), NOT_NUMPY),
    "version 3": ("a.npy", content(framed(b"{}", version=3)), "numpy's format (3, 0)"),
    "a header of 4 GB": ("a.npy", content(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"), NOT_NUMPY),
    "a header of 1 MB": ("a.npy", content(framed(b"{" * 2**20, version=2)), NOT_NUMPY),
    "a header of 4 GB, packed": (
        "a.npz",
        lambda path: archive(
            path,
            {"images.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + ZEROS},
            how=zipfile.ZIP_DEFLATED,
        ),
        NOT_NUMPY,
    ),
    "a list for a header": ("a.npy", content(framed(b"[1]")), NOT_NUMPY),
    "a header of other keys": ("a.npy", content(framed(b"{1: 2, 'a': 3}")), NOT_NUMPY),
    "a header that calls": ("a.npy", content(framed(b"__import__('os').abort()")), NOT_NUMPY),
    "a header of brackets": ("a.npy", content(framed(b"(" * 9000)), NOT_NUMPY),
    "a header of minuses": ("a.npy", content(framed(b"-" * 9000 + b"1")), NOT_NUMPY),
    "a header of 5000 digits": ("a.npy", content(header("|u1", "9" * 5000)), NOT_NUMPY),
    "full-width digits": (
        "a.npy",
        content(framed("{'descr': '|u1', 'fortran_order': False, 'shape': (６,)}".encode())),
        NOT_NUMPY,
    ),
    "a shape of text": ("a.npy", content(header("|u1", ("6", 8, 8))), NOT_NUMPY),
    "a shape of floats": ("a.npy", content(header("|u1", (6.0, 8, 8))), NOT_NUMPY),
    "a type that is none": ("a.npy", content(header("evil", (6, 8, 8))), NOT_NUMPY),
    "a zip bomb": ("a.npz", bomb, "kB hold 37.7 MB, which no pictures do"),
    "a bomb called .npy": ("a.npy", bomb, "is a .npz file; call it so"),
    "twice the same": (
        "a.npz",
        lambda path: archive(path, {"images.npy": array_bytes(PIXELS)}, twice="images.npy"),
        "holds 2 arrays called images",
    ),
    "no such array": ("a.npz", zipped(**{"../../x": PIXELS}), "holds ../../x; an array called"),
    "no array at all": ("a.npz", lambda path: archive(path, {}), "holds no arrays"),
    "a thousand others": (
        "a.npz",
        zipped(**{f"other{i}": PIXELS[:1] for i in range(1000)}),
        "...; an array called images is needed",
    ),
    "a zip cut short": ("a.npz", content(b"PK\x03\x04" + ZEROS[:99]), NOT_NUMPY),
    "labels of text": ("a.npz", zipped(images=PIXELS, labels=["a"] * 6), "labels are <U1"),
    "labels of floats": ("a.npz", zipped(images=PIXELS, labels=np.ones(6)), "labels are float64"),
    "labels that are nan": (
        "a.npz",
        zipped(images=PIXELS, labels=np.full(6, np.nan)),
        "whole numbers are needed",
    ),
    "labels of 2^64": (
        "a.npz",
        zipped(images=PIXELS, labels=np.full(6, 2**64 - 1, np.uint64)),
        "a label is 18446744073709551615; labels are below 2^63",
    ),
    "too few labels": ("a.npz", zipped(images=PIXELS, labels=[1]), "1 labels for 6 images"),
    "labels that are a bomb": (
        "a.npz",
        zipped(images=PIXELS, labels=header("<i8", (10**12,))),
        "labels is cut short",
    ),
    "one class name": (
        "a.npz",
        zipped(images=PIXELS, labels=range(6), class_names=np.array("cat")),
        "class_names is no list, but of shape ()",
    ),
    "class names as objects": (
        "a.npz",
        zipped(images=PIXELS, labels=range(6), class_names=header("|O", (2,)) + b"."),
        "class_names holds Python objects",
    ),
    "IDX without images": ("a-idx3-ubyte", content(idx(0, 8, 8)), "its header says (0, 8, 8)"),
    "IDX without pixels": ("a-idx3-ubyte", content(idx(5, 0, 8)), "its header says (5, 0, 8)"),
    "IDX of 10^28 bytes": ("a-idx3-ubyte", content(idx(*[2**32 - 1] * 3)), "is cut short"),
    "IDX of 10^28 bytes, packed": (
        "a-idx3-ubyte.gz",
        content(packed(idx(*[2**32 - 1] * 3))),
        "which no pictures do",
    ),
    "IDX of 255 sides": ("a-idx3-ubyte", content(idx(*[1] * 255, data=b"1")), "no images or"),
    "IDX of labels": ("a-idx1-ubyte", content(idx(3, data=b"123")), "an array of 1 dimensions"),
    "IDX of floats": ("a-idx3-ubyte", content(idx(1, 1, 1, kind=13)), "not an IDX file"),
    "IDX cut in its header": ("a-idx3-ubyte", content(idx(5, 8, 8)[:9]), "within its header"),
    "IDX too long": ("a-idx3-ubyte", content(idx(1, 1, 1, data=b"12")), "is longer than"),
    "a gzip bomb": (
        "a-idx3-ubyte.gz",
        content(packed(idx(2**16, 32, 32, data=ZEROS))),
        "which no pictures do",
    ),
    "a gzip bomb behind few images": (
        "a-idx3-ubyte.gz",
        content(packed(idx(1, 1, 1, data=ZEROS))),
        "is longer than the 1 bytes",
    ),
    "broken gzip": ("a-idx3-ubyte.gz", content(packed(idx(9, 8, 8))[:30]), "cannot be read"),
    "a pipe": ("a.npy", os.mkfifo, "a.npy is a pipe; a regular file is needed"),
    "a pipe as CSV": ("a.csv", os.mkfifo, "a.csv is a pipe; a regular file is needed"),
    "a pipe as safetensors": ("a.safetensors", os.mkfifo, "is a pipe; a regular file"),
    "a pipe without a suffix": ("a", os.mkfifo, "a is a pipe; a regular file is needed"),
    "a socket": ("a.npz", listening, "a.npz is a socket; a regular file is needed"),
    "a device": ("a.npy", lambda path: path.symlink_to("/dev/zero"), "a.npy is a device"),
    "memory": ("a.npy", lambda path: path.symlink_to("/proc/self/mem"), "a.npy is empty"),
    "a loop": ("a.npy", lambda path: path.symlink_to(path), "(Too many levels of symbolic links)"),
    "nothing": ("a.npz", content(b""), "a.npz is empty"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_hostile_source_is_refused(name: str, tmp_path: Path) -> None:
    file, make, words = SOURCES[name]
    make(tmp_path / file)
    said = refusal(lambda: load_images(tmp_path / file, size=8))
    assert words in said and file in said
    assert not MARKER.exists()
    assert [path.name for path in tmp_path.iterdir()] == [file]


LABELS = np.array([0, 0, 0, 1, 1, 1])


def task(**other: Any) -> Maker:
    """A task of two classes, in which some arrays are others, or missing if None."""
    sound = {f"{part}_images": PIXELS for part in ("train", "test")}
    sound |= {f"{part}_labels": LABELS for part in ("train", "test")}
    return zipped(**{name: a for name, a in (sound | other).items() if a is not None})


TASKS: dict[str, tuple[Maker, str]] = {
    "no test labels": (task(test_labels=None), "is no task: it lacks test_labels"),
    "no test images": (task(test_images=PIXELS[:0]), "t.npz (test): there are no images in it"),
    "fewer test images": (task(test_images=PIXELS[:5]), "t.npz (test): 6 labels for 5 images"),
    "other channels": (task(test_images=PIXELS[..., :2]), "neither 1 nor 3 channels"),
    "negative": (task(train_labels=LABELS - 1), "labels count from 0, but some are negative"),
    "negative in the test": (task(test_labels=LABELS - 1), "but some are negative"),
    "one class": (
        task(train_labels=LABELS * 0, test_labels=LABELS * 0),
        "a single class leaves nothing to tell apart",
    ),
    "another class in the test": (task(test_labels=LABELS * 10**9), "in training: 1000000000"),
    "text": (task(train_labels=LABELS.astype(str)), "labels are <U21; whole numbers are needed"),
    "a bomb": (task(train_labels=header("<i8", (2**50,))), "train_labels is cut short"),
    "too few names": (task(class_names=["a"]), "class_names has 1 names, but there are labels up"),
    "names of 10^9": (task(class_names=header("<U250000000", (1,))), "class_names is cut short"),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_hostile_task_is_refused(name: str, tmp_path: Path) -> None:
    make, words = TASKS[name]
    make(tmp_path / "t.npz")
    assert words in refusal(lambda: load_task(str(tmp_path / "t.npz"), size=8))


@pytest.mark.parametrize("source", ["a\0b", "a\0b@train", "x" * 5000, "d/" * 3000 + "x.npz"])
def test_a_name_that_no_file_has_is_refused(source: str, tiny_images: Images) -> None:
    readers: list[Callable[[], object]] = [
        lambda: load_images(source),
        lambda: load_task(source),
        lambda: fingerprint(source),
        lambda: load_teacher(source, images=tiny_images, network=NetworkConfig()),
        lambda: read_representations(Path(f"{source}.npy")),
    ]
    for read in readers:
        with pytest.raises(DecoctError, match="names no file that can be opened") as caught:
            read()
        assert len(str(caught.value)) < 200 and "\0" not in str(caught.value)


def test_pipes_among_idx_files_are_refused(tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        os.mkfifo(tmp_path / name)
        assert f"{name} is a pipe" in refusal(lambda: load_images(tmp_path, size=8))
        assert fingerprint(tmp_path)  # whoever reads it says what is wrong
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(idx(6, 8, 8, data=PIXELS[..., 0].tobytes()))


TARGETS: dict[str, tuple[str, Maker, str]] = {
    "objects": ("t.npy", objects, "its array holds Python objects"),
    "objects in a zip": ("t.npz", zipped(a=header("|O", (2, 2)) + b"."), "a holds Python objects"),
    "10^12 rows": ("t.npy", content(header("<f4", (10**12, 4))), "promises more numbers"),
    "a bomb": (
        "t.npz",
        lambda path: archive(
            path, {"t.npy": header("<f4", (len(ZEROS) // 16, 4)) + ZEROS}, how=zipfile.ZIP_DEFLATED
        ),
        "which no pictures do",
    ),
    "1-d": ("t.npy", saved(np.ones(6)), "holds no N x D array of numbers"),
    "no columns": ("t.npy", saved(np.ones((6, 0))), "is 6 x 0: it is empty"),
    "no rows": ("t.npz", zipped(t=np.ones((0, 4))), "is 0 x 4: it is empty"),
    "complex": ("t.npy", saved(np.ones((6, 4), complex)), "holds no N x D array of numbers"),
    "text": ("t.npy", saved(np.full((6, 4), "1")), "holds no N x D array of numbers"),
    "nan": ("t.npy", saved(np.full((6, 4), np.nan)), "holds non-finite numbers"),
    "too long for float32": ("t.npy", saved(np.full((6, 4), np.longdouble("1e400"))), "non-finite"),
    "complex tensors": (
        "t.safetensors",
        lambda path: save_file({"t": torch.ones(6, 4, dtype=torch.complex64)}, path),
        "holds no N x D array of numbers",
    ),
    "a tensor of 10^12 rows": (
        "t.safetensors",
        content(tensors('{"t":{"dtype":"F32","shape":[1000000000000,4],"data_offsets":[0,4]}}')),
        "cannot be read",
    ),
    "a header of 2^63 bytes": ("t.safetensors", content(b"\xff" * 7 + b"\x7f{}"), "cannot be read"),
    "a pipe": ("t.npy", os.mkfifo, "t.npy is a pipe; a regular file is needed"),
    "a pipe of tensors": ("t.safetensors", os.mkfifo, "t.safetensors is a pipe"),
    "a device": ("t.npz", lambda path: path.symlink_to("/dev/zero"), "t.npz is a device"),
    "a folder": ("t.npy", Path.mkdir, "t.npy is a folder; a regular file is needed"),
    "nothing": ("t.safetensors", content(b""), "t.safetensors is empty"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_targets_are_refused(name: str, tmp_path: Path) -> None:
    file, make, words = TARGETS[name]
    make(tmp_path / file)
    said = refusal(lambda: read_representations(tmp_path / file))
    assert words in said and file in said
    assert not MARKER.exists()


# What is unusual, and right


@pytest.mark.parametrize("kind", ["<f4", ">f4", ">f8", np.longdouble])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_any_machine_are_the_same_images_and_targets(
    kind: Any, order: Any, tmp_path: Path
) -> None:
    array = np.asarray(PIXELS / 256, kind, order=order)
    np.save(tmp_path / "a.npy", array)
    plain = np.ascontiguousarray(array, np.float64)
    given = load_images(tmp_path / "a.npy", size=8).pixels[:]
    assert torch.equal(given, Images.from_array(plain).pixels[:])
    assert torch.equal(given, Images.from_array(array).pixels[:])
    np.save(tmp_path / "t.npy", array.reshape(6, -1, order="A"))
    expected = np.load(tmp_path / "t.npy").astype(np.float32)
    assert np.array_equal(read_representations(tmp_path / "t.npy").numpy(), expected)


def test_colours_turned_round_are_taken() -> None:
    turned = Images.from_array(PIXELS[..., ::-1]).pixels[:]
    assert torch.equal(turned, Images.from_array(PIXELS).pixels[:].flip(1))


def test_arrays_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    others = {"huge.npy": b"\x93NUMPY" + ZEROS, "../../x.npy": b"nonsense", "x": b"no array"}
    archive(tmp_path / "a.npz", {"images.npy": array_bytes(PIXELS), **others})
    blocks = bytearray((tmp_path / "a.npz").read_bytes())
    blocks[blocks.find(ZEROS[:99]) + 9] = 1  # now its checksum is wrong
    (tmp_path / "a.npz").write_bytes(blocks)
    assert len(load_images(tmp_path / "a.npz", size=8)) == 6


def test_shapes_that_pack_well_are_taken() -> None:
    check_expansion("dSprites", size=3_019_898_880, taken=26_000_000)  # as it is published


def test_labels_may_be_any_numbers(tmp_path: Path) -> None:
    """Identifiers, say: what a probe needs grows with the number of classes, not with them."""
    scores = []
    for factor in (1, 10**9):
        labels = LABELS * factor
        pixels = PIXELS // 2 + 100 * LABELS[:, None, None, None].astype(np.uint8)
        parts = {f"{part}_images": pixels for part in ("train", "test")}
        task(**parts, train_labels=labels, test_labels=labels)(tmp_path / "t.npz")
        found = load_task(str(tmp_path / "t.npz"), size=32)
        assert found.classes == 2
        few = ProbeConfig(fractions=(1.0,), draws=1)
        (score,) = probe(encoder=embedded_teacher(), task=found, config=few)
        assert list(score.by_class) == ["0", str(factor)]
        scores.append(score.accuracy)
    assert scores == [100.0, 100.0]


def test_class_names_may_be_bytes_or_numbers(tmp_path: Path) -> None:
    for names, expected in (([b"a", "\xe9".encode()], ("a", "é")), ([7, 8], ("7", "8"))):
        task(class_names=np.array(names))(tmp_path / "t.npz")
        assert load_task(str(tmp_path / "t.npz"), size=8).train.class_names == expected


def test_two_channels_are_no_images() -> None:
    for channels in (0, 2, 4):
        with pytest.raises(DecoctError, match=f"channels is {channels}; images are grey"):
            Images.from_array(PIXELS, channels=channels)
    with pytest.raises(DecoctError, match="size is 0"):
        Images.from_array(PIXELS, size=0)


def test_parts_of_a_task_are_alike() -> None:
    parts = [Images.from_array(PIXELS, labels=LABELS, channels=c) for c in (3, 1)]
    with pytest.raises(DecoctError, match="is 3 x 8 x 8, but a test image 1 x 8 x 8"):
        Task("t", *parts)
