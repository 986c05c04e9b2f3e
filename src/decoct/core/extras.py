"""Optional dependencies, imported only when needed."""

import importlib
from typing import Any

from decoct.core.errors import DecoctError


def import_extra(module: str, *, extra: str, package: str) -> Any:
    """Import a module of an optional extra, or say how to install it."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision for another torch
        missing = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
        why = "is not installed" if missing else f"cannot be imported ({error})"
        raise DecoctError(f"{package} {why}; run: pip install 'decoct[{extra}]'") from error
