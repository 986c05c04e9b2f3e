"""Each random draw is seeded by (run seed, stage, step, ...), so resumed runs are bit-identical."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from decoct.core.shapes import Index


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one place in a run; different places are independent.

    >>> derive(0, "experts", 3) == derive(0, "experts", 3)
    True
    >>> derive(0, "experts", 3) == derive(0, "experts", 4)
    False
    """
    key = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator for one place in a run. It draws on the CPU, so all devices agree.

    >>> torch.randperm(4, generator=generator(0, "doc")).shape
    torch.Size([4])
    """
    return torch.Generator().manual_seed(derive(seed, *path))


@contextmanager
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block, and restore them afterwards.

    Use it around code that draws from the global generators: weight initialisation, augmentation.

    >>> with seeded(0, "doc"):
    ...     a = torch.rand(2)
    >>> with seeded(0, "doc"):
    ...     torch.equal(a, torch.rand(2))
    True
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(seed, *path))
        yield


def generator_states() -> dict[str, Tensor]:
    """The states of torch's global generators, by device."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """Set torch's global generators to what `generator_states` returned, where they are there."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def random_subset(*, total: int, count: int, seed: int) -> Index:
    """`count` of `total` indices without replacement: int64, sorted.

    >>> len(random_subset(total=10, count=4, seed=0).unique())
    4
    """
    order = torch.randperm(total, generator=generator(seed, "subset", "random"))
    return order[:count].sort().values
