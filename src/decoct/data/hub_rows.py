"""Pictures and labels row by row, as the libraries of data sets give them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from decoct.core.console import note, progress
from decoct.core.errors import DecoctError
from decoct.data.pictures import fit, reason, without_warnings
from decoct.data.source_arrays import Labels, SourceArrays, stacked

Row = Callable[[], tuple[Image.Image | None, Any]]  # decodes a picture, and gives its label
_MOST_MISSING = 0.5  # refuse a set that lacks a larger share of its pictures


def read_rows(
    name: str,
    rows: Iterable[Row],
    *,
    total: int,
    size: int,
    channels: int,
    class_names: Sequence[str] = (),
) -> SourceArrays:
    """The pictures of all rows that have one; the others are counted in a line.

    Labels are numbers or, if they are all text, classes: those of `class_names`, or of the rows.
    Any other labels are left out. Raises `DecoctError` if there are no rows, or too few pictures.
    """
    if total == 0:
        raise DecoctError(f"{name} holds no images")
    labels: list[Any] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        missing = []
        with without_warnings(), progress(f"reading {name}", total=total) as advance:
            for number, row in enumerate(rows):
                advance("")
                try:
                    picture, label = row()
                    if picture is None:
                        raise ValueError("it is empty")
                    pixels = fit(picture, size=size, channels=channels)
                except Exception as error:  # Pillow and the libraries raise many types
                    missing.append(f"row {number}: {reason(error)}")
                    continue
                labels.append(label)
                yield pixels
        _report_missing(name, missing, total)

    return SourceArrays(stacked(pictures()), total, lambda: _as_labels(name, labels, class_names))


def _report_missing(name: str, missing: list[str], total: int) -> None:
    if not missing:
        return
    text = f"{name}: {len(missing)} of {total} images are missing or damaged ({missing[0]})"
    if len(missing) > _MOST_MISSING * total:
        raise DecoctError(f"{text}; too few are left to continue")
    note(f"{text}; continuing with the other {total - len(missing)}")


def _as_labels(name: str, labels: list[Any], class_names: Sequence[str]) -> Labels:
    if all(label is None or isinstance(label, int | np.integer) for label in labels):
        numbers = [-1 if label is None else int(label) for label in labels]
        return (None, ()) if min(numbers) < 0 else (np.array(numbers), tuple(class_names))
    if all(isinstance(label, str) for label in labels):
        names = tuple(class_names or sorted(set(labels)))
        return np.array([names.index(label) for label in labels]), names
    kinds = " and ".join(sorted({type(label).__name__ for label in labels}))
    note(f"{name}: its labels ({kinds}) are no classes, and are left out")
    return None, ()
