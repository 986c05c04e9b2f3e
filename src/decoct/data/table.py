"""A CSV of picture files, with their labels and parts if it has columns for them."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from decoct.core.errors import DecoctError
from decoct.core.printable import brief
from decoct.core.readable import open_regular

SUFFIXES = (".csv", ".tsv")
_COLUMNS = {  # what a column is called, in small letters; the first that is there counts
    "file": ("file", "filename", "file_name", "path", "filepath", "image", "image_path"),
    "label": ("label", "class", "category", "class_name"),
    "part": ("split", "part", "subset"),
}
_PARTS = {"training": "train", "testing": "test"}
_SHOWN = 10  # columns in a message
_HEAD = 2**16  # characters that tell the separator


@dataclass(frozen=True)
class Row:
    """One picture that a CSV names; what it does not say is empty."""

    file: Path
    label: str
    part: str  # as in the column, in small letters: train, test, val, ...


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV with a header, separated by commas, semicolons or tabs.

    Files are relative to the CSV's folder. Raises `DecoctError` for a table without a column of
    files, without rows, with a file that is not there or with a label in some rows only.
    """
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as opened:
            head = opened.readline(_HEAD)
            opened.seek(0)
            separator = max(",;\t", key=head.count)
            rows = list(_rows(path, csv.DictReader(opened, delimiter=separator)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DecoctError(f"{path} cannot be read as CSV ({error})") from error
    if not rows:
        raise DecoctError(f"{path} names no pictures")
    return rows


def _rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[Row]:
    columns = _columns(path, reader.fieldnames or ())
    for cells in reader:
        found = {what: (cells[column] or "").strip() for what, column in columns.items()}
        where = f"{path}, line {reader.line_num}"
        file = path.parent / found["file"]
        if not found["file"]:
            raise DecoctError(f"{where}: it names no file")
        if not os.path.isfile(file):  # noqa: PTH113 (a Path's raises an error for a long name)
            raise DecoctError(f"{where}: {brief(file)} does not exist, or is no file")
        if "label" in found and not found["label"]:
            raise DecoctError(f"{where}: {file} has no label; give one in every row or in none")
        part = found.get("part", "").lower()
        yield Row(file, found.get("label", ""), _PARTS.get(part, part))


def _columns(path: Path, header: Sequence[str]) -> Mapping[str, str]:
    """Which column holds what."""
    by_name = {name.strip().lower(): name for name in reversed(header) if name}
    found = {
        what: next(by_name[name] for name in names if name in by_name)
        for what, names in _COLUMNS.items()
        if any(name in by_name for name in names)
    }
    if "file" not in found:
        shown = ", ".join(map(brief, header[:_SHOWN])) + ", ..." * (len(header) > _SHOWN)
        raise DecoctError(
            f"{path} has the columns {shown or 'of an empty file'}; one of them must "
            f"be called {', '.join(_COLUMNS['file'][:4])} or image"
        )
    return found
