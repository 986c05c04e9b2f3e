"""The order in which an ext4 folder lists its files: by a hash of their names.

The suite was first made from folders in the order in which the system listed them. That order
decides which of several equal pictures is kept, and the order of the rest. It depends only on the
names: it is the 64 bits of ext4's "half MD4" (Linux, `fs/ext4/hash.c`), without a seed.
`debugfs -R "dx_hash -h half_md4 NAME"` prints the same numbers.
"""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

Key = tuple[tuple[bool, int, int], ...]

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_ROUNDS: tuple[tuple[Callable[[int, int, int], int], int, str, tuple[int, ...]], ...] = (
    (lambda x, y, z: z ^ (x & (y ^ z)), 0, "01234567", (3, 7, 11, 19)),
    (lambda x, y, z: (x & y) + ((x ^ y) & z), 0x5A827999, "13570246", (3, 5, 9, 13)),
    (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1, "37261504", (3, 9, 11, 15)),
)


def half_md4(state: tuple[int, ...], words: list[int]) -> tuple[int, ...]:
    """Mix eight words into a state of four in 24 steps, each of which changes one word."""
    a, b, c, d = state
    for mix, constant, order, shifts in _ROUNDS:
        for step, index in enumerate(order):
            total = (a + mix(b, c, d) + words[int(index)] + constant) & _MASK
            shift = shifts[step % 4]
            a, b, c, d = d, (total << shift | total >> (32 - shift)) & _MASK, b, c
    return tuple((old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True))


def words_of(part: bytes) -> list[int]:
    """Up to 32 bytes as eight words, padded with the length of the remaining name."""
    fill = (len(part) & 0xFF) * 0x01010101
    words = []
    for i in range(0, 32, 4):
        word = fill
        for byte in part[:32][i : i + 4]:
            word = (word << 8 | byte) & _MASK
        words.append(word)
    return words


def name_hash(name: str) -> tuple[int, int]:
    """The two halves of a name's hash.

    >>> [hex(half) for half in name_hash("ghoul.png")]
    ['0x1ee91fe', '0x1e43d49']
    """
    state, rest = _START, name.encode()
    while True:
        state = half_md4(state, words_of(rest))  # type: ignore[assignment]
        rest = rest[32:]
        if not rest:
            return state[1] & ~1, state[2]


def listing_key(path: str) -> Key:
    """The sort key of a path: in a folder first its files, then its folders, each by its hash."""
    parts = PurePosixPath(path).parts
    last = len(parts) - 1
    return tuple((i < last, *name_hash(part)) for i, part in enumerate(parts))


def as_listed(paths: Iterable[str]) -> list[str]:
    """Paths in the order of a walk through their folders."""
    return sorted(paths, key=listing_key)
