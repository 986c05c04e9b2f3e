"""What checks annotations while tests run: beartype, but for methods that return `Self`."""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, too


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with arguments and result checked; beartype knows `Self` in classes alone."""
    annotations = getattr(function, "__annotations__", {})
    if annotations.get("return") is Self:
        function.__annotations__ = {k: v for k, v in annotations.items() if k != "return"}
    return beartype(function, conf=_CONF)
