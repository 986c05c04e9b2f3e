"""Optional dependencies, imported only when needed."""

import importlib
from typing import Any

from decoct.core.errors import DecoctError


def import_extra(module: str, *, extra: str, package: str) -> Any:
    """Import a module of an optional extra, or say how to install it."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision for another torch
        raise DecoctError(
            f"{package} cannot be imported ({error}); run: pip install 'decoct[{extra}]'"
        ) from error
