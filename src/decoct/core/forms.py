"""What a whole file must hold. A digest says that nobody changed it, not that it makes sense."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.on_disk import DiskTensor
from decoct.core.printable import brief

# What reading a file in disorder may end in; the rest are errors of ours.
_DISORDER = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
_DTYPES = {"int": torch.int64, "int32": torch.int32, "int8": torch.int8, "uint8": torch.uint8}


@contextmanager
def understood(path: Path | str | None) -> Iterator[None]:
    """Inside the block a file with a right digest is made sense of; say which one has none.

    Raises `DecoctError`, which names the file.
    """
    try:
        yield
    except DecoctError as error:
        if str(path) in str(error):
            raise
        raise DecoctError(f"{path}: {brief(error, most=300)}") from error
    except _DISORDER as error:
        raise DecoctError(
            f"{path} does not hold what a file of its kind must ({_reason(error)}); ask whoever "
            "made it, or delete it and make it again"
        ) from error


def _reason(error: Exception) -> str:
    said = f"{error} is missing" if isinstance(error, KeyError) else error
    return brief(said, most=300)


def check_forms(tensors: Mapping[str, Tensor | DiskTensor], forms: Mapping[str, str]) -> None:
    """Raise `DecoctError` unless tensors have their names, numbers and shapes, and are finite.

    A form is a sort of number (float, int, int32, int8, uint8) and its axes: a length, a letter
    that stands for the same length everywhere, `_` for any, `*` for any further axes. A name that
    ends in `?` may be missing.

    >>> forms = {"values": "float N D", "labels?": "int N"}
    >>> check_forms({"values": torch.zeros(3, 2)}, forms)
    >>> check_forms({"values": torch.zeros(3, 2), "labels": torch.arange(2)}, forms)
    Traceback (most recent call last):
    decoct.core.errors.DecoctError: labels are int64 of shape (2,); they must be int N, where N is 3
    """
    known = {name.removesuffix("?") for name in forms}
    if others := sorted(set(tensors) - known):
        raise DecoctError(f"{others[0]} does not belong into it")
    lengths: dict[str, int] = {}
    for name, form in forms.items():
        bare = name.removesuffix("?")
        if bare in tensors:
            _check(bare, tensors[bare], form, lengths)
        elif bare == name:
            raise DecoctError(f"{name} is missing")


def _check(name: str, tensor: Tensor | DiskTensor, form: str, lengths: dict[str, int]) -> None:
    sort, *axes = form.split()
    if not _fits(tensor, sort, axes, lengths):
        where = ", ".join(f"{a} is {lengths[a]}" for a in axes if a in lengths)
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DecoctError(
            f"{name} are {kind} of shape {tuple(tensor.shape)}; they must be {form}"
            + f", where {where}" * bool(where)
        )
    if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
        raise DecoctError(f"{name} holds numbers that are not finite")


def _fits(tensor: Tensor | DiskTensor, sort: str, axes: list[str], lengths: dict[str, int]) -> bool:
    """Whether a tensor has a form; notes the lengths that letters stand for."""
    right = tensor.dtype.is_floating_point if sort == "float" else tensor.dtype == _DTYPES[sort]
    more = axes[-1:] == ["*"]
    axes = axes[:-1] if more else axes
    axes_there = len(tensor.shape)
    if not right or axes_there < len(axes) or (axes_there > len(axes) and not more):
        return False
    found = dict(lengths)
    for axis, length in zip(axes, tensor.shape, strict=False):
        wanted = int(axis) if axis.isdecimal() else found.setdefault(axis, length)
        if axis != "_" and wanted != length:
            return False
    lengths |= {axis: found[axis] for axis in axes if axis.isalpha()}
    return True


def typed(content: Any, kind: Any) -> Any:
    """JSON as a dataclass, or as any other type; raises `DecoctError` if it does not fit.

    A field that the dataclass does not know counts as a misfit, too.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Walk:
    ...     steps: int = 3
    >>> typed({"steps": 4}, Walk)
    Walk(steps=4)
    >>> typed({"steps": "4"}, Walk)
    Traceback (most recent call last):
    decoct.core.errors.DecoctError: Expected `int`, got `str` - at `$.steps`
    """
    if dataclasses.is_dataclass(kind) and isinstance(content, dict):
        unknown = sorted(set(content) - {field.name for field in dataclasses.fields(kind)})
        if unknown:
            raise DecoctError(f"{unknown[0]} is nothing that this version knows")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise DecoctError(str(error)) from error


def read_json(path: Path | str, kind: Any, *, of: str) -> Any:
    """A JSON file of the kind `of` as a dataclass, or as any other type."""
    with understood(path):
        return typed(storage.load_json(path, kind=of), kind)
