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
_PAIRS = 2**23  # compared at a time


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
    limits = np.square(_ALIKE * np.maximum(flat.std(1), _FLAT)) * flat.shape[1]
    squares, ones = np.square(flat).sum(1), np.ones(count, np.float32)
    left = np.column_stack([-2 * flat, squares, ones])  # left @ right is |a - b|^2
    right = np.column_stack([flat, ones, squares]).T
    groups = np.arange(count)
    step = max(1, _PAIRS // max(1, count))
    with progress("looking for near-duplicates", total=-(-count // step)) as advance:
        for first in range(0, count, step):
            apart = left[first : first + step] @ right[:, first:]
            row, column = (apart <= limits[first : first + step, None]).nonzero()
            near = apart[row, column] <= limits[column + first]
            groups = _joined(groups, row[near] + first, column[near] + first)
            advance("")
    return groups


def _joined(
    groups: Int64[ndarray, " picture"], one: Int64[ndarray, " pair"], other: Int64[ndarray, " pair"]
) -> Int64[ndarray, " picture"]:
    """The groups once those of each pair of pictures are one."""
    pairs = coo_array((np.ones(len(one), bool), (groups[one], groups[other])), [len(groups)] * 2)
    joined: Int64[ndarray, " picture"] = connected_components(pairs, directed=False)[1][groups]
    return joined.astype(np.int64)
