"""The state of interrupted training, as tensors that safetensors can hold."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.core import ranks, storage
from decoct.core.console import note
from decoct.core.errors import DecoctError, UnreadableError

_KIND = "checkpoint"


def save(path: Path | None, tensors: Mapping[str, Tensor], *, meta: Mapping[str, Any]) -> None:
    """Write a checkpoint, on rank 0; do nothing if `path` is None."""
    if path is not None and ranks.is_first():
        storage.save_tensors(path, tensors, kind=_KIND, meta=meta)


def load(path: Path | None) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint at `path`; None if it does not exist or is damaged.

    Raises `UnreadableError` if it exists, but cannot be read.
    """
    if path is None or not storage.is_there(path):
        return None
    try:
        return storage.load_tensors(path, kind=_KIND)
    except UnreadableError:
        raise
    except DecoctError as error:
        note(f"{error}; restarting this stage from the beginning")
        return None


def remove(path: Path | None) -> None:
    """Delete the checkpoint of a finished stage, which does no harm where that fails."""
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def module_tensors(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers by name, under a prefix."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def restore_module(prefix: str, module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load into a module what `module_tensors` returned."""
    module.load_state_dict(_under(prefix, tensors))


def restore(variable: Tensor, saved: Tensor) -> None:
    """Copy what was saved into a variable; raises `DecoctError` if it has another shape."""
    if saved.shape != variable.shape:
        raise DecoctError(f"its variables are of shape {tuple(saved.shape)}, which is not theirs")
    variable.copy_(saved)


def optimiser_tensors(prefix: str, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments by parameter number and name, under a prefix."""
    state = optimiser.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": value
        for index, moments in state.items()
        for name, value in moments.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(
    prefix: str, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Load into an optimiser what `optimiser_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under(prefix, tensors).items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
