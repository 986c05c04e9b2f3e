"""State dicts from other people's files: tensors by name, and nothing that runs."""

import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from decoct.core.errors import DecoctError
from decoct.core.printable import brief
from decoct.core.readable import check_regular
from decoct.training.pickles import check_pickle

_KEYS = ("state_dict", "model", "model_state_dict")  # under which checkpoints keep it
_PICKLES = 5  # in a file that is no zip: marks, versions, the state dict, the names of its storages
_SAVE = "torch.save(model.state_dict(), 'weights.pt')"
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # what torch says of a class or function in a pickle
_FORMATS = {  # words of torch's errors: what the file is
    "TorchScript": "it is a TorchScript program; take its weights out of it with "
    "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')",
    "legacy .tar": "it is in torch's oldest format, which can hold code; where you trust it, load "
    f"it with torch and save it again: {_SAVE}",
}


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, or of a checkpoint that `torch.save` wrote, by name.

    Of a checkpoint, what is under `state_dict`, `model` or `model_state_dict` if it has one. Raises
    `DecoctError` for a file that holds code, more than its bytes, or no state dict.
    """
    check_regular(path)
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        _check_growth(path)
        with warnings.catch_warnings(action="ignore"):  # of sparse tensors, and old protocols
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except DecoctError:
        raise
    except Exception as error:  # unpickling refused, zip damaged, not a checkpoint: many types
        raise DecoctError(
            f"{path} cannot be loaded as a state dict with weights_only=True: {_reason(error)}"
        ) from error
    for key in _KEYS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not _names_tensors(loaded):
        raise DecoctError(f"{path} holds no state dict (names to tensors); save one: {_SAVE}")
    return dict(loaded)


def _names_tensors(found: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(v, Tensor) for name, v in found.items())


def _check_growth(path: Path) -> None:
    """Refuse what would be far more in memory than in the file."""
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            _check_archive(path)
        elif not tarfile.is_tarfile(path):  # torch refuses that
            file.seek(0)
            for _ in range(_PICKLES):
                if file.peek(1):
                    check_pickle(file, size=path.stat().st_size, name=str(path))


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            return  # TorchScript, which torch refuses before it reads more
        compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if compressed or sum(member.file_size for member in members) > path.stat().st_size:
            raise DecoctError(
                f"{path} is compressed, which torch's checkpoints are not: it may grow beyond all "
                f"measure; where you trust it, load it with torch and save it again: {_SAVE}"
            )
        for member in members:
            if member.filename.endswith("data.pkl"):
                program = BytesIO(archive.read(member))
                check_pickle(program, size=member.file_size, name=str(path))


def _reason(error: Exception) -> str:
    """What torch says, without its advice to load the file unsafely."""
    text = str(error)
    for word, reason in _FORMATS.items():
        if word in text:
            return reason
    if found := _GLOBAL.search(text):
        return (
            f"besides tensors it holds {found[1]}, which could run code; where you trust it, load "
            f"it with torch and save its weights alone: {_SAVE}"
        )
    if isinstance(error, LookupError) or "Weights only" in text:
        return "it is damaged, or no checkpoint"
    return brief(error)


def check_plain(path: Path, name: str, value: Tensor, wanted: Tensor) -> None:
    """Raise `DecoctError` unless a tensor is numbers in memory that can stand in for `wanted`."""
    ordinary = type(value) in (Tensor, torch.nn.Parameter) and not value.is_nested
    if not ordinary or value.is_meta or value.is_quantized or value.layout != torch.strided:
        raise DecoctError(
            f"{path}: {name} is sparse, quantised or without data; save it as a plain tensor "
            "(to_dense(), dequantize())"
        )
    if wanted.is_floating_point() and not value.is_floating_point():
        raise DecoctError(f"{path}: {name} is of {value.dtype}; weights are floats")


def check_finite(path: Path, name: str, value: Tensor) -> None:
    """Raise `DecoctError` for a tensor with numbers that are none."""
    if value.is_floating_point() and not bool(value.float().isfinite().all()):
        raise DecoctError(f"{path}: {name} holds numbers that are not finite; it cannot teach")
