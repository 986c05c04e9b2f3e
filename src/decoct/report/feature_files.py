"""Files of features with the pictures' names: numpy, CSV and Parquet, written piece by piece."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decoct.core import atomic
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.core.printable import one_line

Named = tuple[list[str], NDArray[np.float32]]  # names, and as many rows of features

# What makes a spreadsheet read a cell as a formula, at its beginning (OWASP, "CSV Injection")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def check_format(out: Path) -> None:
    """Raise `DecoctError` if features cannot be written to a file of this name."""
    if out.suffix not in _WRITERS:
        raise DecoctError(f"{out}: features are written as {', '.join(_WRITERS)}; end its name so")
    if out.suffix == ".parquet":
        _pyarrow()


def write_features(out: Path, pieces: Iterable[Named], *, rows: int, features: int) -> None:
    """Write a file of `rows` x `features` numbers, of the format that its name ends in."""
    _WRITERS[out.suffix](out, pieces, rows, features)


def names_file(out: Path) -> Path:
    """Where the names are that a `.npy` file has no place for."""
    return out.with_suffix(".names.txt")


def as_line(name: str) -> str:
    """A name in one line of a text file.

    >>> print(as_line("two\\nlines.png"))
    two\\nlines.png
    """
    return one_line(name.replace("\\", r"\\"))


def _write_npy(out: Path, pieces: Iterable[Named], rows: int, features: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, features)}
    with (
        atomic.new_file(out) as temporary,
        atomic.new_file(names_file(out)) as named,
        temporary.open("wb") as file,
        named.open("w", encoding="utf-8", newline="\n") as lines,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for names, values in pieces:
            file.write(np.ascontiguousarray(values, "<f4").data)
            lines.writelines(f"{as_line(name)}\n" for name in names)


def _write_csv(out: Path, pieces: Iterable[Named], rows: int, features: int) -> None:
    as_read_back = ",".join(["%.9g"] * features)  # nine digits tell any two float32 apart
    with (
        atomic.new_file(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        quoted = csv.writer(file, lineterminator=",", quoting=csv.QUOTE_ALL)
        file.write(",".join(["name", *(f"f{i}" for i in range(features))]) + "\n")
        for names, values in pieces:
            for name, row in zip(names, values.tolist(), strict=True):
                quoted.writerow([_harmless(name)])
                file.write(as_read_back % tuple(row) + "\n")


def _harmless(name: str) -> str:
    """A name that no spreadsheet takes for a formula; without a first apostrophe it is the name.

    >>> _harmless("=1+2.png"), _harmless("a=b.png"), _harmless("'a.png")
    ("'=1+2.png", 'a=b.png', "''a.png")
    """
    return f"'{name}" if name.startswith((*_FORMULA, "'")) else name


def _write_parquet(out: Path, pieces: Iterable[Named], rows: int, features: int) -> None:
    arrow, parquet = _pyarrow()
    kind = arrow.list_(arrow.float32(), features)
    schema = arrow.schema([("name", arrow.string()), ("features", kind)])
    with (
        atomic.new_file(out) as temporary,
        parquet.ParquetWriter(temporary, schema) as file,
    ):
        for names, values in pieces:
            column = arrow.FixedSizeListArray.from_arrays(arrow.array(values.ravel()), features)
            file.write_table(arrow.table([arrow.array(names, arrow.string()), column], schema))


def _pyarrow() -> tuple[Any, Any]:
    names = ("pyarrow", "pyarrow.parquet")
    arrow, parquet = (import_extra(name, extra="parquet", package="pyarrow") for name in names)
    return arrow, parquet


_WRITERS: dict[str, Callable[[Path, Iterable[Named], int, int], None]] = {
    ".npy": _write_npy,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
