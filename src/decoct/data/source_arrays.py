"""`SourceArrays`: a source's contents array by array, so that they need not all fit in memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decoct.core.on_disk import rows_a_chunk

Labels = tuple[Any, tuple[str, ...]]  # numbers or None, and the classes' names


@dataclass(frozen=True)
class SourceArrays:
    """Arrays of images, to be read once and in order, and the labels of all images."""

    arrays: Iterable[Any]
    most: int  # number of images if every one can be read
    labels: Callable[[], Labels]  # call it after the arrays are read

    @classmethod
    def one(
        cls, array: Any, labels: Any = None, class_names: tuple[str, ...] = ()
    ) -> "SourceArrays":
        """A source that is a single array in memory."""
        return cls([array], len(array) if np.ndim(array) else 0, lambda: (labels, class_names))

    def joined(self) -> Any:
        """All arrays joined to one."""
        arrays = list(self.arrays)
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def stacked(pictures: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Stack pictures of the same shape into larger arrays."""
    pile = []
    for picture in pictures:
        pile.append(picture)
        if len(pile) == rows_a_chunk(picture.nbytes):
            yield np.stack(pile)
            pile = []
    if pile:
        yield np.stack(pile)
