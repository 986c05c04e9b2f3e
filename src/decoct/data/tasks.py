"""`Task`: a labelled training and test set on which a probe evaluates an encoder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.core.printable import brief
from decoct.data.catalogue import PARTS, called, part_named
from decoct.data.emoji import load_emoji_arrays
from decoct.data.idx import find_idx
from decoct.data.images import Images
from decoct.data.numpy_files import open_arrays
from decoct.data.sources import load_images
from decoct.data.table import SUFFIXES as TABLES


@dataclass(frozen=True)
class Task:
    """Labelled training and test images of the same classes."""

    name: str
    train: Images
    test: Images

    def __post_init__(self) -> None:
        for part, images in (("training", self.train), ("test", self.test)):
            if images.labels is None:
                raise DecoctError(f"task {self.name}: the {part} images have no labels")
        train, test = (part.pixels.shape[1:] for part in (self.train, self.test))
        if train != test:
            raise DecoctError(
                f"task {self.name}: a training image is {' x '.join(map(str, train))}, but a test "
                f"image {' x '.join(map(str, test))} (channels x height x width)"
            )
        self._check_labels()

    def _check_labels(self) -> None:
        if int(min(self.train_labels.min(), self.test_labels.min())) < 0:
            raise DecoctError(f"task {self.name}: labels count from 0, but some are negative")
        unknown = sorted(set(self.test_labels.tolist()) - set(self.train_labels.tolist()))
        if unknown:
            names = brief(", ".join(map(self.class_name, unknown)))
            raise DecoctError(f"task {self.name}: test labels unknown in training: {names}")
        named, most = len(self.train.class_names), int(self.train_labels.max())
        if 0 < named <= most:
            raise DecoctError(
                f"task {self.name}: class_names has {named} names, but there are labels up to "
                f"{most}; labels count from 0, and each class needs a name"
            )
        if len(self.train_labels.unique()) < 2:
            raise DecoctError(f"task {self.name}: a single class leaves nothing to tell apart")

    @property
    def train_labels(self) -> Tensor:
        """int64, N: the labels of the training images."""
        assert self.train.labels is not None
        return self.train.labels

    @property
    def test_labels(self) -> Tensor:
        """int64, M: the labels of the test images."""
        assert self.test.labels is not None
        return self.test.labels

    @property
    def classes(self) -> int:
        """The number of classes: of different labels, however large these are."""
        return len(self.train_labels.unique())

    def numbered(self, labels: Tensor) -> Tensor:
        """Labels (int64) of the task as numbers of classes, without gaps: 0 ... classes - 1.

        >>> task = load_task("emoji")
        >>> task.numbered(torch.tensor([8, 0]))
        tensor([8, 0])
        """
        return torch.searchsorted(self.train_labels.unique(), labels)

    def class_name(self, label: int) -> str:
        """The name of a class, or its number if it has none."""
        names = self.train.class_names
        return names[label] if label < len(names) else str(label)

    def to(self, device: torch.device) -> Self:
        """The same task with its pixels on `device`."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def load_task(source: str, *, size: int = 32, channels: int = 3) -> Task:
    """A task from a source of labelled images.

    A source is a `.npz` with `train_images`, `train_labels`, `test_images` and `test_labels`, a
    folder with `train` and `test` folders of class sub-folders, a folder of IDX files, `emoji` (9
    groups), `emoji-subgroups` (the emoji's larger subgroups), `torchvision:NAME` or `hf:NAME`.

    A folder of class sub-folders alone is split, always in the same way: about a quarter of each
    class is the test part, and near-duplicates lie on one side. So is a `.csv` with a column of
    files and one of labels, unless a third column says which part each file belongs to.

    >>> load_task("emoji").classes
    9
    """
    if source == "emoji-subgroups":
        return _emoji_subgroups(size, channels)
    whole, part = part_named(source)
    if part:
        raise DecoctError(f"{source} is one part of a task; give {whole}")
    path = Path(source)
    if source != "emoji" and _is_catalogue(path):  # the name takes precedence over such a folder
        train, test = (
            load_images(f"{source}@{part}", size=size, channels=channels) for part in PARTS
        )
    else:
        _check_splits(source, path)
        train, test = (
            load_images(source, size=size, channels=channels, split=part) for part in PARTS
        )
    return Task(name=task_name(source), train=train, test=test)


def task_name(source: str) -> str:
    """What a task is called in tables, and its draws of labels: the name of its folder or file.

    >>> task_name("data/labelled.npz"), task_name("hf:mnist")
    ('labelled', 'hf:mnist')
    """
    path = Path(source)
    return Path(called(path)).stem if path.exists() else path.stem or source


def _is_catalogue(path: Path) -> bool:
    """Whether a task's pictures are files, in a folder or named by a CSV."""
    if path.is_dir():
        return all(find_idx(path, part) is None for part in PARTS)
    return path.is_file() and path.suffix in TABLES


def _check_splits(source: str, path: Path) -> None:
    """Refuse a source whose training and test images would be the same."""
    if source == "emoji" or not path.exists():
        return
    missing: list[str] = []
    if path.suffix == ".npz":
        needed = (f"{part}_{what}" for part in PARTS for what in ("images", "labels"))
        with open_arrays(path) as arrays:
            missing = sorted(set(needed) - set(arrays))
    elif not path.is_dir() or any(find_idx(path, part) is None for part in PARTS):
        missing = ["a train and a test part (a folder each, or IDX files, or one .npz of both)"]
    if missing:
        raise DecoctError(f"{source} is no task: it lacks {', '.join(missing)}")


def _emoji_subgroups(size: int, channels: int, at_least: int = 40) -> Task:
    """The emoji's subgroups with at least `at_least` training images, so that 5 % is a few."""
    train, test = (load_emoji_arrays(split) for split in PARTS)
    counts = np.bincount(train.subgroups, minlength=len(train.subgroup_names))
    kept = np.flatnonzero(counts >= at_least)
    names = tuple(train.subgroup_names[i] for i in kept)
    parts = []
    for emoji, split in ((train, "train"), (test, "test")):
        index = np.flatnonzero(np.isin(emoji.subgroups, kept))
        labels = np.searchsorted(kept, emoji.subgroups[index])
        parts.append(
            Images.from_array(
                emoji.images[index],
                labels=labels,
                class_names=names,
                size=size,
                channels=channels,
                name=f"emoji-subgroups ({split})",
            )
        )
    return Task(name="emoji-subgroups", train=parts[0], test=parts[1])


def labelled_indices(
    task: Task,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int,
    draw: int = 0,
) -> Tensor:
    """The training images whose labels a probe may see: stratified, the same for every method.

    Give either a `fraction` of each class, rounded but at least one image, or a count `per_class`.
    Returns int64 indices, sorted. Raises `DecoctError` if a class has fewer images than that.

    >>> task = load_task("emoji")
    >>> a = labelled_indices(task, per_class=2, seed=0)
    >>> len(a)
    18
    """
    if (fraction is None) == (per_class is None):
        raise DecoctError("give either a label fraction or a count per class")
    if fraction is not None and not 0 < fraction <= 1:
        raise DecoctError(f"label fraction {fraction} is outside (0, 1]")
    if per_class is not None and per_class < 1:
        raise DecoctError(f"{per_class} labels per class: at least 1 is needed")
    labels = task.train_labels
    chosen = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        count = per_class or max(1, round(float(fraction or 0) * len(members)))
        if count > len(members):
            raise DecoctError(
                f"task {task.name}: class {task.class_name(label)} has {len(members)} training "
                f"images, but {count} per class are asked for; ask for no more than it has"
            )
        draws = seeding.generator(seed, "labels", task.name, label, draw)
        chosen.append(members[torch.randperm(len(members), generator=draws)[:count]])
    return torch.cat(chosen).sort().values
