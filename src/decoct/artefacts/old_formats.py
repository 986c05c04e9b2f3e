"""Convert files of format version 1 to the names of version 2."""

from typing import Any

from torch import Tensor

_TENSORS = {"start": "initial", "history.rate": "history.lr"}
_META = {"story": "provenance"}
_OBJECTIVE = {"views": "augment"}


def upgraded(
    tensors: dict[str, Tensor], meta: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and meta of either version, with version 2's names.

    >>> upgraded({}, {"story": {"seed": 0}})
    ({}, {'provenance': {'seed': 0}})
    """
    found = {_META.get(name, name): value for name, value in meta.items()}
    provenance = found.get("provenance", {})
    if "objective" in provenance:  # the loss for training on a set without targets
        found["provenance"] = provenance | {"objective": _objective(provenance["objective"])}
    return {_renamed(name): tensor for name, tensor in tensors.items()}, found


def _objective(old: dict[str, Any]) -> dict[str, Any]:
    return {_OBJECTIVE.get(name, name): value for name, value in old.items()}


def _renamed(name: str) -> str:
    """`start.uint8` and `start.range` are parts of `start`."""
    base, dot, part = name.partition(".")
    return _TENSORS.get(name, _TENSORS.get(base, base) + dot + part)
