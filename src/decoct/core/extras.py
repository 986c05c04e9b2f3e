"""Optional extras, imported when they are asked for."""

import importlib
from typing import Any

from decoct.core.errors import DecoctError


def import_extra(module: str, *, extra: str, package: str) -> Any:
    """Import a module of an optional extra, or say how to get it."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # torchvision on a foreign torch: RuntimeError
        raise DecoctError(
            f"{package} does not import ({error}); install it with: pip install 'decoct[{extra}]'"
        ) from error
