"""`Provenance`: how an artefact was made, as its file says it."""

from typing import Any, TypedDict

import torch

from decoct.core.forms import typed


class Provenance(TypedDict, total=False):
    """What is read of it; there may be more."""

    config: dict[str, Any]
    matching: dict[str, Any]
    objective: dict[str, Any]
    rule: dict[str, Any]
    losses: list[float]  # by epoch
    images: str
    method: str
    source: str
    seed: int
    decoct: str
    torch: str


def checked(content: Any) -> dict[str, Any]:
    """A file's provenance; raises `DecoctError` if what is read of it has another type.

    >>> checked({"seed": 3})
    {'seed': 3}
    """
    typed(content, Provenance)
    found: dict[str, Any] = content
    return found


def versions() -> dict[str, str]:
    """The versions of the software that makes an artefact."""
    from decoct import __version__

    return {"decoct": __version__, "torch": torch.__version__}
