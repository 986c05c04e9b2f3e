"""`Stage`: one thing that a run makes, with everything that other code needs to know about it."""

import sys
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
# By images and targets, methods and training mean those that are not held out.
ANY_NUMBER = (
    sys.maxsize
)  # `parts` of what is divided by batches of the pool, of which there are many
LEARNT = {"images": "images learnt from", "targets": "targets learnt from"}


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
    """How a stage's result is kept: the kind of its file."""

    file: str  # its name in the stage's folder
    kind: str  # as in the file's header
    load: Callable[[Path], A]
    save: Callable[[A, Path], None]


@dataclass(frozen=True)
class Stage(Generic[A]):
    """A node of the graph, under one recipe.

    `settings` is the part of the recipe that its result depends on. The key is made of these, the
    keys of its inputs and the version of its algorithm. Without an artefact nothing is kept, unless
    the stage has a folder that it fills itself, file by file.
    """

    name: str
    inputs: tuple[str, ...]
    settings: object
    make: Callable[[Inputs, Place], A]
    artefact: Artefact[A] | None = None
    fills_folder: bool = False
    read: object = None  # how much of the result is read: part of dependants' keys, not of its own
    choice: object = None  # the part of `settings` that decides which images a set holds
    aliases: Mapping[str, str] = field(default_factory=dict)  # what `make` calls its inputs
    work: Callable[[Sizes], Mapping[Unit, float]] = _no_work
    disk: Callable[[Sizes], int] = _no_bytes
    memory: Callable[[Sizes], Mapping[str, int]] = _no_memory
    networks: Callable[[int], tuple[tuple[NetworkConfig, int], ...]] = lambda dimensions: ()
    check: Callable[[Sizes], None] = _no_check
    sort: str = ""  # its label when times of similar stages are added up
    seed: int | None = None  # the seed that it belongs to; None: shared by all
    given: Callable[[Sizes], Mapping[str, Any]] = _nothing  # what else `Inputs` holds
    parts: int = 1  # among so many processes it can be divided; 1: one of them makes it alone
    version: int = 1  # increase it when the algorithm changes, so that old artefacts are made again

    @property
    def is_kept(self) -> bool:
        """Whether its result is on disk, so that it is made once."""
        return self.artefact is not None or self.fills_folder
