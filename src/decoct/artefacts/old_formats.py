"""Files of format version 1, read under the names of version 2."""

from typing import Any

from torch import Tensor

_TENSORS = {"start": "initial", "history.rate": "history.lr"}
_META = {"story": "provenance"}


def upgraded(
    tensors: dict[str, Tensor], meta: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and meta of either version, under version 2's names.

    >>> upgraded({}, {"story": {"seed": 0}})
    ({}, {'provenance': {'seed': 0}})
    """
    return (
        {_renamed(name): tensor for name, tensor in tensors.items()},
        {_META.get(name, name): value for name, value in meta.items()},
    )


def _renamed(name: str) -> str:
    """`start.uint8` and `start.range` are parts of `start`."""
    base, dot, part = name.partition(".")
    return _TENSORS.get(name, _TENSORS.get(base, base) + dot + part)
