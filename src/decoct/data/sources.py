"""Images by name: folders, arrays on disk, IDX files, emoji, torchvision and Hugging Face sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.on_disk import CHUNK, DiskTensor, rows_a_chunk, too_large
from decoct.core.paths import exists
from decoct.core.printable import brief
from decoct.core.readable import check_regular
from decoct.data.arrays import to_pixels
from decoct.data.catalogue import called, catalogue_of, part_named, say_what_is_left_out
from decoct.data.emoji import load_emoji_arrays
from decoct.data.hugging_face import read_hugging_face
from decoct.data.idx import find_idx, open_idx
from decoct.data.images import Images, write_images
from decoct.data.listing import is_picture
from decoct.data.numpy_files import StoredArray, open_arrays
from decoct.data.parts import part_of
from decoct.data.pictures import read_pictures
from decoct.data.source_arrays import SourceArrays
from decoct.data.table import SUFFIXES as TABLES
from decoct.data.torchvision_sets import read_torchvision

Split = Literal["train", "test", "all"]


def load_images(
    source: str | Path,
    *,
    size: int = 32,
    channels: int = 3,
    split: Split = "train",
    file: str | Path | None = None,
) -> Images:
    """Images of `size` x `size` pixels and 1 or 3 `channels` from a source.

    A source is a folder of pictures (class sub-folders give labels), a `.csv` that names pictures,
    a `.npz` or `.npy` file, an IDX file or a folder of them, an `images.safetensors` of ours,
    `emoji`, `torchvision:CIFAR10` (`@part`) or `hf:NAME` (`:config@split#column`). `photos@train`
    and `photos@test` are the two parts that `load_task("photos")` has. Raises `DecoctError` if it
    cannot be read.

    With `file`, the images are also written to it; if they are too large for memory, they are
    written while they are read, and stay there. `unreadable.txt` beside it then lists the pictures
    that cannot be read, if there are any. Without it, all images are held in memory.

    >>> images = load_images("emoji", size=32)
    >>> images.channels, images.size
    (3, 32)
    """
    if channels not in (1, 3):
        raise DecoctError(f"channels is {channels}; images are grey (1) or colour (3)")
    if size < 1:
        raise DecoctError(f"size is {size}; it is a number of pixels, at least 1")
    report = None if file is None else Path(file).with_name("unreadable.txt")
    found = _read(str(source), size=size, channels=channels, split=split, report=report)
    name = _name(source) if split == "train" else f"{_name(source)} ({split})"
    if file is not None and too_large(found.most * channels * size**2):
        _write(found, Path(file), size=size, channels=channels, name=name)
        return Images.load(file)
    pixels = to_pixels(found.joined(), size=size, channels=channels, name=name)
    labels, class_names = found.labels()
    images = Images.from_pixels(pixels, labels=labels, class_names=class_names, name=name)
    if file is not None:
        images.save(file)
    return images


def count_images(source: str | Path, *, size: int, channels: int) -> int:
    """How many images a source holds, including those that cannot be read."""
    return _read(str(source), size=size, channels=channels, split="train").most


def _name(source: str | Path) -> str:
    """What a source is called, wherever it lies."""
    whole, part = part_named(source)
    name = called(Path(whole)) if Path(whole).exists() else whole
    return f"{name}@{part}" if part else name


def _write(found: SourceArrays, file: Path, *, size: int, channels: int, name: str) -> None:
    def pieces() -> Iterator[Tensor]:
        first = 0
        for array in found.arrays:
            yield to_pixels(array, size=size, channels=channels, name=name, first=first)
            first += len(array)

    def describe(rows: DiskTensor) -> Images:
        labels, class_names = found.labels()
        return Images.from_pixels(rows, labels=labels, class_names=class_names, name=name)

    write_images(file, pieces(), most=found.most, describe=describe)


def _read(
    source: str, *, size: int, channels: int, split: Split, report: Path | None = None
) -> SourceArrays:
    source, part = part_named(source)
    path, split = Path(source), cast(Split, part or split)
    if source == "emoji":
        emoji = load_emoji_arrays(split)
        return SourceArrays.one(emoji.images, emoji.groups, emoji.group_names)
    if source.startswith("torchvision:"):
        name = source.partition(":")[2]
        return read_torchvision(name, size=size, channels=channels, split=split)
    if source.startswith("hf:"):
        name = source.partition(":")[2]
        return read_hugging_face(name, size=size, channels=channels, split=split)
    if not exists(path):
        raise DecoctError(
            f"{source} does not exist; a source is a folder, a .csv, .npz, .npy, IDX or "
            ".safetensors file, emoji, torchvision:NAME or hf:NAME"
        )
    if not path.is_dir():
        check_regular(path)
    elif idx := find_idx(path, split):
        return open_idx(idx)
    if path.is_dir() or path.suffix in TABLES:
        found = catalogue_of(path)
        if part != "test":  # of a task, say it once
            say_what_is_left_out(found)
        found = part_of(found, part) if part else found
        return read_pictures(found, size=size, channels=channels, report=report)
    if path.suffix == ".npz":
        return _read_npz(path, split, part)
    if part:
        raise DecoctError(f"{source} has no parts, so there is no {source}@{part}")
    if path.suffix == ".npy":
        return _read_npy(path)
    if path.suffix == ".safetensors":
        return _read_ours(Images.load(path))
    if is_picture(path):
        raise DecoctError(f"{source} is one picture; give the folder of all pictures")
    return open_idx(path)


def _read_ours(images: Images) -> SourceArrays:
    pixels = images.pixels
    if isinstance(pixels, Tensor):
        return SourceArrays.one(pixels, images.labels, images.class_names)
    arrays = pixels.chunks(f"reading {pixels.path.name}")
    return SourceArrays(arrays, len(images), lambda: (images.labels, images.class_names))


def _read_npy(path: Path) -> SourceArrays:
    with open_arrays(path) as arrays:
        if "" not in arrays:
            raise DecoctError(f"{path} is a .npz file; call it so")
        array = arrays[""]
        if array.size > CHUNK and array.shape:
            return _read_large_npy(array)
        return SourceArrays.one(array.read())


def _read_npz(path: Path, split: Split, part: str) -> SourceArrays:
    names = (f"{split}_images",) if part else (f"{split}_images", "images", "x", "arr_0")
    with open_arrays(path) as arrays:
        key = next((name for name in names if name in arrays), None)
        if key is None:
            held = brief(", ".join(arrays)) if arrays else "no arrays"
            wanted = names[0] if part else "images"
            raise DecoctError(f"{path} holds {held}; an array called {wanted} is needed")
        label_key = next((n for n in (f"{split}_labels", "labels", "y") if n in arrays), None)
        labels = arrays[label_key].read() if label_key else None
        class_names = _class_names(arrays["class_names"]) if "class_names" in arrays else ()
        return SourceArrays.one(arrays[key].read(), labels, class_names)


def _class_names(stored: StoredArray) -> tuple[str, ...]:
    names = stored.read()
    if names.ndim != 1:
        raise DecoctError(f"{stored.path}: class_names is no list, but of shape {names.shape}")
    if names.dtype.kind == "S":
        return tuple(name.decode("utf-8", "backslashreplace") for name in names.tolist())
    return tuple(map(str, names))


def _read_large_npy(array: StoredArray) -> SourceArrays:
    """Map the file again for each piece, because pages that were read stay in memory with a map."""

    def mapped() -> NDArray[Any]:
        try:
            return cast(NDArray[Any], np.load(array.path, mmap_mode="r", allow_pickle=False))
        except (ValueError, OSError, EOFError) as error:
            raise DecoctError(f"{array.path} cannot be read as numpy data: {error}") from error

    def arrays() -> Iterator[NDArray[Any]]:
        with progress(f"reading {array.path.name}", total=-(-count // size)) as advance:
            for first in range(0, count, size):
                yield np.array(mapped()[first : first + size])
                advance("")

    count, size = len(mapped()), rows_a_chunk(mapped()[:1].nbytes)
    return SourceArrays(arrays(), count, lambda: (None, ()))
