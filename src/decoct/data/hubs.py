"""Data sets by name, from torchvision and the Hugging Face hub."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.data.pictures import fit
from decoct.data.source_arrays import SourceArrays, stacked

_HUB_TEST_SPLITS = ("test", "validation", "valid", "val")


def read_torchvision(name: str, *, size: int, channels: int, split: str) -> SourceArrays:
    """A torchvision data set, downloaded to the user's cache."""
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


def _torchvision_set(factory: Callable[..., Any], root: str, split: str) -> Any:
    try:
        return factory(root=root, download=True, train=split != "test")
    except TypeError:  # newer sets name the split instead
        return factory(root=root, download=True, split="test" if split == "test" else "train")


def read_hugging_face(name: str, *, size: int, channels: int, split: str) -> SourceArrays:
    """A Hugging Face data set; `name@split` chooses the split explicitly."""
    module: Any = import_extra("datasets", extra="hf", package="datasets")
    repository, _, hub_split = name.partition("@")
    try:
        if split == "test" and not hub_split:  # many data sets give this split another name
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
) -> SourceArrays:
    if total == 0:
        raise DecoctError(f"{name} holds no images")
    labels: list[int] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        with progress(f"reading {name}", total=total) as advance:
            for picture, label in pairs:
                if not isinstance(label, int | np.integer):
                    raise DecoctError(f"{name}: labels are numbers, but the first is {label!r}")
                labels.append(int(label))
                yield fit(picture, size=size, channels=channels)
                advance("")

    return SourceArrays(
        stacked(pictures()), total, lambda: (None if min(labels) < 0 else np.array(labels), names)
    )
