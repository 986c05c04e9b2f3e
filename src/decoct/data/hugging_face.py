"""Data sets of the Hugging Face hub, or that `datasets` reads from disk (extra: hf)."""

import re
from collections.abc import Collection, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.core.paths import exists
from decoct.core.printable import brief
from decoct.core.readable import open_regular
from decoct.data.hub_rows import Row, read_rows
from decoct.data.pictures import open_picture
from decoct.data.source_arrays import SourceArrays

# A set's name or path; and its configuration, split and image column.
_NAME = re.compile(r"(.+?)(?::([^:@#/]+))?(?:@([^@#]+))?(?:#(.+))?")
_TEST = ("test", "validation", "valid", "val")  # what sets call their test split
_LABELS = ("label", "labels", "fine_label", "class", "category", "cls")  # and their labels
_WHY = 500  # characters of a library's message
_SAVED = ("dataset_dict.json", "state.json")  # in a folder that `save_to_disk` wrote


class Parts(NamedTuple):
    """What a data set's name consists of."""

    place: str  # its name on the hub, or its path
    config: str | None
    split: str | None
    column: str | None


def name_parts(name: str) -> Parts:
    """The parts of `NAME:config@split#column`, of which all but the first may be missing.

    >>> name_parts("ana/flowers@train")
    Parts(place='ana/flowers', config=None, split='train', column=None)
    """
    found = None if exists(name) else _NAME.fullmatch(name)
    return Parts(*found.groups()) if found else Parts(name, *[None] * 3)


def read_hugging_face(name: str, *, size: int, channels: int, split: str) -> SourceArrays:
    """A data set by its name on the hub or its path, with `:config@split#column` if needed.

    Raises `DecoctError` if it cannot be had, or has no such split or column of images.
    """
    module: Any = import_extra("datasets", extra="hf", package="datasets")
    place, config, chosen, column = name_parts(name)
    if not place.isprintable() or not place.strip():
        raise DecoctError(f"hf:{brief(name)} is no name of a data set, and no path of one")
    if chosen and split == "test":
        raise DecoctError(f"hf:{name} is one split, and a task needs two: leave out @{chosen}")
    try:
        found = _load(module, place, config, chosen)
    except Exception as error:  # the hub's own exceptions have no common base
        why = brief(error, _WHY)
        raise DecoctError(f"Hugging Face could not provide {brief(name)}: {why}") from error
    splits: Mapping[str, Any] = found if isinstance(found, dict) else {"train": found}
    dataset = splits[_split(name, splits, "train" if chosen else split)]
    image = _image_column(name, dataset.features, module.Image, column)
    label = _label_column(dataset.features, module.ClassLabel)
    return read_rows(
        name,
        _rows(dataset, image, label, module.Image),
        total=len(dataset),
        size=size,
        channels=channels,
        class_names=_class_names(splits.values(), label),
    )


def _load(module: Any, place: str, config: str | None, split: str | None) -> Any:
    """A data set, or one for each split."""
    path = Path(place)
    if path.is_file():
        folder = str(path.resolve().parent)
        return module.load_dataset(folder, config, data_files=path.name, split=split)
    if any((path / file).is_file() for file in _SAVED):
        saved = module.load_from_disk(place)
        return saved[split] if split else saved
    return module.load_dataset(place, config, split=split)


def _split(name: str, splits: Collection[str], wanted: str) -> str:
    """The split that is asked for; the only one is for training, whatever it is called."""
    words = _TEST if wanted == "test" else ("train",)
    found = next((word for word in words if word in splits), None)
    if found is None and wanted != "test" and len(splits) == 1:
        found = next(iter(splits))
    if found is None:
        raise DecoctError(
            f"hf:{name} has no {wanted} split, but {', '.join(splits)}; choose one with "
            f"hf:{name}@{next(iter(splits))}"
        )
    return found


def _image_column(name: str, features: Mapping[str, Any], kind: type, wanted: str | None) -> str:
    columns = [column for column, feature in features.items() if isinstance(feature, kind)]
    if not columns:
        raise DecoctError(f"hf:{name} has columns {', '.join(features)}, but no images in them")
    if wanted and wanted not in columns:
        raise DecoctError(f"hf:{name}: its columns of images are {', '.join(columns)}")
    if wanted:
        return wanted
    usual = next((column for column in ("image", "img") if column in columns), columns[0])
    if len(columns) > 1:
        others = ", ".join(f"hf:{name}#{column}" for column in columns if column != usual)
        note(f"hf:{name} has {len(columns)} columns of images; reading {usual}, not {others}")
    return usual


def _label_column(features: Mapping[str, Any], kind: type) -> str | None:
    named = [column for column in _LABELS if column in features]
    return next(iter([*named, *(c for c, f in features.items() if isinstance(f, kind))]), None)


def _class_names(datasets: Collection[Any], label: str | None) -> tuple[str, ...]:
    """The names of classes; of labels that are text, those in all splits, so that numbers agree."""
    found: set[str] = set()
    for dataset in datasets:
        feature = dataset.features.get(label)
        if names := getattr(feature, "names", None):
            return tuple(names)
        if getattr(feature, "dtype", "") == "string":
            found |= set(dataset.unique(label)) - {None}
    return tuple(sorted(found))


def _rows(dataset: Any, image: str, label: str | None, kind: Any) -> Iterator[Row]:
    """Its rows, of which each is decoded on its own: one that is damaged stops nothing."""
    feature = dataset.features[image]
    plain = dataset.select_columns([image, label] if label else [image])

    def decoded(row: Mapping[str, Any]) -> Row:
        value = row[image]
        return lambda: (value and _picture(value, feature.mode), row[label] if label else None)

    return map(decoded, plain.cast_column(image, kind(decode=False)))


def _picture(value: Mapping[str, Any], mode: str | None) -> Image.Image:
    """As the feature's `decode_example`, but only of what we read, and never from the network."""
    content = value["bytes"]
    if content is None:
        with open_regular(Path(value["path"])) as file:
            content = file.read()
    picture = open_picture(BytesIO(content))
    picture.load()
    return picture.convert(mode) if mode and mode != picture.mode else picture
