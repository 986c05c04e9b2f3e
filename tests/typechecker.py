"""The checker of annotations, including array shapes, while tests run: beartype."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from beartype import BeartypeConf, beartype

_OWN = (Literal, Annotated)
_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, too


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with arguments and result checked.

    But for `Self`, which beartype knows in classes alone, and for choices of words and numbers with
    bounds: settings refuse wrong ones themselves, in a sentence.
    """
    annotations = getattr(function, "__annotations__", {})
    left_out = {k for k, v in annotations.items() if v is Self or _is_setting(v)}
    if left_out:
        function.__annotations__ = {k: v for k, v in annotations.items() if k not in left_out}
    return beartype(function, conf=_CONF)


def _is_setting(hint: Any) -> bool:
    """A choice of words, a number with bounds, or several of them."""
    return get_origin(hint) in _OWN or any(map(_is_setting, get_args(hint)))
