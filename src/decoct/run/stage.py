"""`Stage`: one thing that a run makes, and all that anybody needs to know about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from decoct.core.place import Place
from decoct.methods.inputs import Inputs
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit
from decoct.models.registry import NetworkConfig

A = TypeVar("A")


def _no_work(sizes: Sizes) -> Mapping[Unit, float]:
    return {}


def _nothing(sizes: Sizes) -> Mapping[str, Any]:
    return {}


def _no_bytes(sizes: Sizes) -> int:
    return 0


def _no_memory(sizes: Sizes) -> Mapping[str, int]:
    return {}


def _no_check(sizes: Sizes) -> None:
    return None


@dataclass(frozen=True)
class Artefact(Generic[A]):
    """How a stage's result is kept: a kind of file."""

    file: str  # its name in the stage's folder
    kind: str  # as its header says
    load: Callable[[Path], A]
    save: Callable[[A, Path], None]


@dataclass(frozen=True)
class Stage(Generic[A]):
    """A node of the graph, under one recipe.

    `settings` is what of the recipe its result depends on; with the keys of its inputs and the
    version of its algorithm that makes its key. Without an artefact nothing is kept, unless it has
    a folder that it fills by itself, file by file.
    """

    name: str
    inputs: tuple[str, ...]
    settings: object
    make: Callable[[Inputs, Place], A]
    artefact: Artefact[A] | None = None
    fills_folder: bool = False
    read: object = None  # what of it is read: counts for what is made from it, not for itself
    choice: object = None  # what of `settings` counts where only the choice of its images is read
    aliases: Mapping[str, str] = field(default_factory=dict)  # what `make` calls its inputs
    work: Callable[[Sizes], Mapping[Unit, float]] = _no_work
    disk: Callable[[Sizes], int] = _no_bytes
    memory: Callable[[Sizes], Mapping[str, int]] = _no_memory
    networks: Callable[[int], tuple[tuple[NetworkConfig, int], ...]] = lambda dimensions: ()
    check: Callable[[Sizes], None] = _no_check
    sort: str = ""  # what it is called where stages of one sort are added up
    seed: int | None = None  # of one seed; None: shared by all
    given: Callable[[Sizes], Mapping[str, Any]] = _nothing  # what `Inputs` holds beside
    version: int = 1  # raise it when the algorithm changes: old artefacts are then made anew
