"""Images by name: folders, arrays on disk, IDX files, emoji, torchvision and Hugging Face sets."""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from decoct import storage
from decoct.console import note, progress
from decoct.data.emoji import load_emoji_arrays
from decoct.data.images import Images
from decoct.errors import DecoctError
from decoct.extras import import_extra

Split = Literal["train", "test", "all"]
_ARRAY_SUFFIXES = (".npz", ".npy")
_HUB_TEST_SPLITS = ("test", "validation", "valid", "val")
_MAX_UNREADABLE = 0.5  # a folder of which more than this cannot be read is refused


def load_images(
    source: str | Path, *, size: int = 32, channels: int = 3, split: Split = "train"
) -> Images:
    """Images of `size` x `size` pixels and 1 or 3 `channels` from a source.

    A source is a folder of pictures (class sub-folders give labels), a `.npz` or `.npy` file, an
    IDX file or a folder of them, an `images.safetensors` of ours, `emoji`, `torchvision:CIFAR10`
    or `hf:NAME`. Raises `DecoctError` where it cannot be read.

    >>> images = load_images("emoji", size=32)
    >>> images.channels, images.size
    (3, 32)
    """
    if channels not in (1, 3):
        raise DecoctError(f"channels is {channels}; images are grey (1) or colour (3)")
    if size < 1:
        raise DecoctError(f"size is {size}; it is a number of pixels")
    array, labels, class_names = _read(str(source), size=size, channels=channels, split=split)
    name = str(source) if split == "train" else f"{source} ({split})"
    return Images.from_array(
        array, labels=labels, class_names=class_names, size=size, channels=channels, name=name
    )


def fingerprint(source: str | Path) -> str:
    """A digest that changes when the files behind a source do (by path, size and time)."""
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        files = [path] if path.is_file() else []
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return storage.digest(str(source), stats)


Arrays = tuple[Any, Any, tuple[str, ...]]  # pixels, labels or None, class names


def _read(source: str, *, size: int, channels: int, split: Split) -> Arrays:
    path = Path(source)
    if source == "emoji":
        emoji = load_emoji_arrays(split)
        return emoji.images, emoji.groups, emoji.group_names
    if source.startswith("torchvision:"):
        return _read_torchvision(source.partition(":")[2], size, channels, split)
    if source.startswith("hf:"):
        return _read_hugging_face(source.partition(":")[2], size, channels, split)
    if not path.exists():
        raise DecoctError(
            f"{source} does not exist; a source is a folder, a .npz, .npy, IDX or .safetensors "
            "file, emoji, torchvision:NAME or hf:NAME"
        )
    if path.is_dir():
        idx = find_idx(path, split)
        return _read_idx(idx) if idx else _read_folder(path, size, channels)
    if path.suffix in _ARRAY_SUFFIXES:
        return _read_numpy(path, split)
    if path.suffix == ".safetensors":
        images = Images.load(path)
        return images.pixels, images.labels, images.class_names
    return _read_idx(path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz by name, or that of a .npy under the name ""; nothing is unpickled."""
    try:
        with path.open("rb") as file:  # np.load leaves a damaged file open that it opened itself
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                return {"": data}
            with data:
                return dict(data)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DecoctError(f"{path} cannot be read as numpy data: {error}") from error


def _read_numpy(path: Path, split: Split) -> Arrays:
    data = read_arrays(path)
    names = ("", f"{split}_images", "images", "x", "arr_0")
    key = next((name for name in names if name in data), None)
    if key is None:
        raise DecoctError(f"{path} holds {', '.join(data)}; an array called images is needed")
    label_key = next((n for n in (f"{split}_labels", "labels", "y") if n in data), None)
    class_names = tuple(map(str, data["class_names"])) if "class_names" in data else ()
    return data[key], None if label_key is None else data[label_key], class_names


def find_idx(folder: Path, split: Split) -> Path | None:
    """The IDX file of a split's images in a folder that has one, gzipped or not."""
    prefix = "t10k" if split == "test" else "train"
    return next(iter(sorted(folder.glob(f"{prefix}-images*idx3-ubyte*"))), None)


def _read_idx(path: Path) -> Arrays:
    labels_path = path.with_name(
        path.name.replace("-images", "-labels").replace("idx3-ubyte", "idx1-ubyte")
    )
    has_labels = labels_path != path and labels_path.exists()
    return read_idx(path), read_idx(labels_path) if has_labels else None, ()


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file (LeCun's MNIST format) of unsigned bytes, gzipped or not."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DecoctError(f"{path} cannot be read: {error}") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DecoctError(f"{path} is not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DecoctError(f"{path} is cut short within its header")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    body = np.frombuffer(bytearray(data[start:]), np.uint8)  # a copy that can be written to
    if body.size != (promised := math.prod(shape)):
        raise DecoctError(f"{path} is cut short: its header says {promised} bytes, not {body.size}")
    return body.reshape(shape)


def _read_folder(folder: Path, size: int, channels: int) -> Arrays:
    extensions = Image.registered_extensions()
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in extensions and f.is_file())
    if not files:
        raise DecoctError(f"{folder} holds no pictures that Pillow can read")
    pixels, kept, unreadable = [], [], []
    with progress(f"reading {folder.name}", total=len(files)) as advance:
        for file in files:
            try:
                with Image.open(file) as picture:
                    pixels.append(fit(picture, size=size, channels=channels))
                kept.append(file)
            except Exception as error:  # Pillow's plugins raise many kinds for a damaged file
                unreadable.append(f"{file.relative_to(folder)}: {_reason(error)}")
            advance("")
    _report_unreadable(folder, unreadable, len(files))
    return (np.stack(pixels), *_folder_labels(folder, kept))


def _reason(error: Exception) -> str:
    return "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)


def _report_unreadable(folder: Path, unreadable: list[str], total: int) -> None:
    if not unreadable:
        return
    shown = "\n  ".join(unreadable[:10]) + ("\n  ..." if len(unreadable) > 10 else "")
    text = f"{folder}: {len(unreadable)} of {total} pictures cannot be read:\n  {shown}"
    if len(unreadable) > _MAX_UNREADABLE * total:
        raise DecoctError(f"{text}\ntoo few are left to go on with")
    note(f"{text}\ngoing on with the other {total - len(unreadable)}")


def _folder_labels(folder: Path, files: list[Path]) -> tuple[Any, tuple[str, ...]]:
    parents = [file.relative_to(folder).parts[0] for file in files if file.parent != folder]
    if len(parents) < len(files):
        return None, ()
    class_names = tuple(sorted(set(parents)))
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[parent] for parent in parents]), class_names


def fit(picture: Image.Image, *, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture upright on white, its shorter side at `size`, centre-cropped: size x size x C.

    Raises `ValueError` for a picture of floating-point numbers, whose range nobody knows.
    """
    picture.draft("RGB", (size, size))  # lets JPEG decode at a lower resolution; harmless elsewhere
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise ValueError("floating-point pixels; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits: Pillow would clip what is above 255
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    picture = picture.convert("RGB" if channels == 3 else "L")
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    array = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.uint8)
    return array.reshape(size, size, channels)


def _read_torchvision(name: str, size: int, channels: int, split: Split) -> Arrays:
    module: Any = import_extra("torchvision.datasets", extra="torchvision", package="torchvision")
    if not hasattr(module, name):
        raise DecoctError(f"torchvision has no data set called {name}")
    root = str(Path.home() / ".cache" / "decoct" / "torchvision")
    try:
        dataset = _torchvision_set(getattr(module, name), root, split)
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        raise DecoctError(f"torchvision could not provide {name}: {error}") from error
    pairs = (dataset[i] for i in range(len(dataset)))
    class_names = tuple(map(str, getattr(dataset, "classes", ())))
    return _read_pairs(name, pairs, len(dataset), size=size, channels=channels, names=class_names)


def _torchvision_set(factory: Callable[..., Any], root: str, split: Split) -> Any:
    try:
        return factory(root=root, download=True, train=split != "test")
    except TypeError:  # newer sets name the split instead
        return factory(root=root, download=True, split="test" if split == "test" else "train")


def _read_hugging_face(name: str, size: int, channels: int, split: Split) -> Arrays:
    module: Any = import_extra("datasets", extra="hf", package="datasets")
    repository, _, hub_split = name.partition("@")
    try:
        if split == "test" and not hub_split:  # many sets call it something else
            names = module.get_dataset_split_names(repository)
            hub_split = next((name for name in _HUB_TEST_SPLITS if name in names), split)
        dataset = module.load_dataset(repository, split=hub_split or split)
    except Exception as error:  # the hub's own exceptions have no common base
        raise DecoctError(f"Hugging Face could not provide {name}: {error}") from error
    image_key = next((k for k in ("image", "img") if k in dataset.features), None)
    label_key = next((k for k in ("label", "labels", "fine_label") if k in dataset.features), None)
    if image_key is None:
        raise DecoctError(f"hf:{name} has columns {', '.join(dataset.features)}, but no image")
    class_names = tuple(getattr(dataset.features.get(label_key), "names", None) or ())
    pairs = ((row[image_key], row[label_key] if label_key else -1) for row in dataset)
    return _read_pairs(name, pairs, len(dataset), size=size, channels=channels, names=class_names)


def _read_pairs(
    name: str,
    pairs: Iterable[tuple[Image.Image, Any]],
    total: int,
    *,
    size: int,
    channels: int,
    names: tuple[str, ...],
) -> Arrays:
    if total == 0:
        raise DecoctError(f"{name} holds no images")
    pixels, labels = [], []
    with progress(f"reading {name}", total=total) as advance:
        for picture, label in pairs:
            if not isinstance(label, int | np.integer):
                raise DecoctError(f"{name}: labels are numbers, but the first is {label!r}")
            pixels.append(fit(picture, size=size, channels=channels))
            labels.append(int(label))
            advance("")
    return np.stack(pixels), None if min(labels) < 0 else np.array(labels), names
