"""`Catalogue`: the picture files of a folder or of a CSV, with their classes and their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np

from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.paths import exists
from decoct.core.printable import as_text
from decoct.core.readable import check_name
from decoct.data.listing import left_out, list_pictures
from decoct.data.source_arrays import Labels
from decoct.data.table import read_table

PARTS: tuple[Literal["train"], Literal["test"]] = ("train", "test")
_TEST = ("test", "validation", "valid", "val")  # what the test part may be called, the best first
_DIGITS = 20  # a label with as many is no number, but a name


@dataclass(frozen=True)
class Catalogue:
    """Picture files; of each, its class and part if there are any.

    Labels count the classes of the whole catalogue, so a class has the same number in every part.
    """

    path: Path  # the folder or the CSV
    files: tuple[Path, ...]
    classes: tuple[str, ...] | None = None  # of each file; "": none
    parts: tuple[str, ...] | None = None  # of each file; neither train nor test: of none
    class_names: tuple[str, ...] = ()
    unsupported: Mapping[str, int] = field(default_factory=dict)  # as in `Listing`
    closed: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder or file, wherever it lies."""
        return called(self.path)

    @cached_property
    def _root(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def name_of(self, file: Path) -> str:
        """A file's name within the folder, or beside the CSV: the same wherever that lies.

        It is text, also where the file's name is none.
        """
        inside = file.is_relative_to(self._root)
        return as_text((file.relative_to(self._root) if inside else file).as_posix())

    def labels(self, rows: Sequence[int]) -> Labels:
        """The numbers of the classes of the files at `rows`, if all have one, and all names."""
        chosen = [self.classes[i] for i in rows] if self.classes else [""]
        if not all(chosen):
            return None, ()
        number = {name: i for i, name in enumerate(self.class_names)}
        return np.array([number[name] for name in chosen]), self.class_names

    def having(self, rows: Sequence[int]) -> Self:
        """The files at `rows` alone; classes keep their numbers."""
        return replace(
            self,
            files=tuple(self.files[i] for i in rows),
            classes=self.classes and tuple(self.classes[i] for i in rows),
            parts=self.parts and tuple(self.parts[i] for i in rows),
        )


def called(path: Path) -> str:
    """The name of a folder or file, however its path is spelt.

    >>> called(Path("photos/")), called(Path("/data/photos"))
    ('photos', 'photos')
    """
    return path.name if path.name not in ("", "..") else path.resolve().name


def part_named(source: str | Path) -> tuple[str, str]:
    """A source, and the part of it that its name asks for: train, test or "".

    Raises `DecoctError` for a name that no file can have.

    >>> part_named("photos@train"), part_named("photos"), part_named("hf:mnist@test")
    (('photos', 'train'), ('photos', ''), ('hf:mnist@test', ''))
    """
    check_name(str(source))
    whole, _, part = str(source).rstrip("/").rpartition("@")
    hub = whole.startswith(("hf:", "torchvision:"))  # these split by themselves
    if not whole or part not in PARTS or hub or exists(source):
        return str(source), ""
    return whole, part


def part_folders(folder: Path) -> dict[str, str]:
    """The part that each of the folders `train` and `test` holds; {} unless there are both.

    Without `test`, `validation`, `valid` or `val` is the test part.
    """
    names = [name for name in ("train", *_TEST) if (folder / name).is_dir()]
    return {"train": "train", names[1]: "test"} if names[:1] == ["train"] and names[1:] else {}


def catalogue_of(path: Path) -> Catalogue:
    """The catalogue of a folder of pictures, or of a CSV. Raises `DecoctError` if there are none.

    If all pictures of a folder lie in sub-folders, these are the classes. In a folder with `train`
    and `test` inside, these are parts, and their sub-folders (those of any other, too) the classes.
    """
    if path.is_file():
        return _of_table(path)
    found = list_pictures(path)
    if not found.pictures:
        others = left_out(found.unsupported)
        raise DecoctError(f"{path} holds no pictures that Pillow can read{others and ': '}{others}")
    folders = [file.relative_to(path).parts[:-1] for file in found.pictures]
    parts = None
    if part_by_folder := part_folders(path):
        parts = tuple(part_by_folder.get(inside[0], "") if inside else "" for inside in folders)
        folders = [inside[1:] for inside in folders]
    classes = tuple(as_text(inside[0]) if inside else "" for inside in folders)
    return Catalogue(
        path=path,
        files=found.pictures,
        classes=classes if any(classes) else None,
        parts=parts,
        class_names=tuple(sorted(set(classes) - {""})),
        unsupported=found.unsupported,
        closed=found.closed,
    )


def _of_table(path: Path) -> Catalogue:
    rows = read_table(path)
    classes = tuple(row.label for row in rows)
    numbers = all(name.isdecimal() and len(name) < _DIGITS for name in classes)
    names = sorted(set(classes), key=int) if numbers else sorted(set(classes) - {""})
    given = {row.part for row in rows}
    test = next((name for name in _TEST if name in given), "test")
    parts = tuple("test" if row.part == test else row.part for row in rows)
    return Catalogue(
        path=path,
        files=tuple(row.file for row in rows),
        classes=classes if any(classes) else None,
        parts=parts if any(parts) else None,
        class_names=tuple(names),
    )


def say_what_is_left_out(found: Catalogue) -> None:
    """One line about the files that look like pictures but are not read."""
    if found.unsupported:
        note(f"{found.path}: left out {left_out(found.unsupported)}")
