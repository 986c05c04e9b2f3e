"""Near-duplicates: pictures that are nearly the same as thumbnails of 16 x 16 grey pixels."""

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from decoct.core.console import progress

THUMBNAIL = 16  # pixels
_ALIKE = 0.1  # root mean square difference of two thumbnails, in their standard deviations
_FLAT = 16.0  # grey levels: a thumbnail with a smaller deviation is taken to have this one
_PAIRS = 2**24  # compared at a time


def near_duplicates(
    thumbnails: UInt8[ndarray, "picture 16 16"],
) -> Int64[ndarray, " picture"]:
    """The number of the group that each picture belongs to; most groups have one member.

    Copies that were resized, compressed or converted are found, and the same scene a moment later;
    copies that were turned, mirrored or cropped by more than a little are not. Groups are closed:
    what is nearly the same as any member belongs to them.

    >>> draws = np.random.default_rng(0)
    >>> noise = draws.integers(0, 256, (2, 16, 16), dtype=np.uint8)
    >>> near_duplicates(np.stack([noise[0], noise[1], noise[0] ^ 1])).tolist()
    [0, 1, 0]
    """
    count = len(thumbnails)
    flat = thumbnails.reshape(count, -1).astype(np.float32)
    spread = np.maximum(flat.std(1), _FLAT)
    squares = np.square(flat).sum(1)
    rows, columns = [], []
    step = max(1, _PAIRS // max(1, count))
    with progress("looking for near-duplicates", total=-(-count // step)) as advance:
        for first in range(0, count, step):
            own, others = slice(first, first + step), slice(first, None)
            apart = squares[own, None] + squares[None, others] - 2 * flat[own] @ flat[others].T
            least = np.minimum(spread[own, None], spread[None, others])
            near = apart <= np.square(_ALIKE * least) * flat.shape[1]
            row, column = near.nonzero()
            rows.append(row + first)
            columns.append(column + first)
            advance("")
    row, column = np.concatenate(rows), np.concatenate(columns)
    pairs = coo_array((np.ones(len(row), bool), (row, column)), shape=(count, count))
    groups = connected_components(pairs, directed=False)[1]
    return np.asarray(groups, dtype=np.int64)
