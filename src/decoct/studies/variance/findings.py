"""What was measured for each objective, in the form in which files store it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import msgspec

from decoct.core import storage
from decoct.core.forms import typed, understood
from decoct.studies.variance.gradient_variance import Noise
from decoct.studies.variance.matching import Matching
from decoct.studies.variance.objectives import Name
from decoct.studies.variance.spread import Spread

T = TypeVar("T")
Source = Literal["batches", "augmentations"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class NoiseAt:
    """The noise of a gradient at one point of training, for one batch size."""

    source: Source  # fresh batches with fresh views, or fresh views of one batch
    epoch: int
    batch: int
    noise: Noise


@dataclass(frozen=True)
class Findings:
    """Everything that was measured for one objective."""

    name: Name
    images: int
    lr: float  # the learning rate of training
    losses: tuple[float, ...]  # per epoch, of the first of the runs with the same start
    noise: tuple[NoiseAt, ...]
    spread: tuple[Spread, ...]
    matching: Matching

    def at(self, source: Source, epoch: int, batch: int) -> Noise | None:
        """The noise at a point of training and batch size, if it was measured."""
        wanted = (source, epoch, batch)
        return next((n.noise for n in self.noise if (n.source, n.epoch, n.batch) == wanted), None)

    def save(self, path: Path) -> None:
        """Write one JSON file."""
        storage.save_json(path, msgspec.to_builtins(self), kind="findings")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        return _convert(path, kind="findings", to=cls)


@dataclass(frozen=True)
class Variance:
    """The findings for all objectives, and their context."""

    findings: tuple[Findings, ...]
    notes: tuple[str, ...]
    batch: int  # the experts' batch size
    optimiser: str  # of the images, in matching
    targets_learnt: bool  # in matching distillation

    @property
    def epochs(self) -> list[int]:
        """The points of training at which noise was measured."""
        return sorted({n.epoch for found in self.findings for n in found.noise})

    @property
    def batches(self) -> list[int]:
        """The batch sizes."""
        return sorted({n.batch for found in self.findings for n in found.noise})

    @property
    def reference(self) -> int:
        """The batch size nearest to the experts' own."""
        return nearest(self.batches, self.batch)

    def named(self, name: Name) -> Findings | None:
        """The findings for one objective, if it was measured."""
        return next((found for found in self.findings if found.name == name), None)

    def save(self, path: Path) -> None:
        """Write one JSON file."""
        storage.save_json(path, msgspec.to_builtins(self), kind="variance")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        return _convert(path, kind="variance", to=cls)


def nearest(sizes: Sequence[int], size: int) -> int:
    """The element of `sizes` with the nearest ratio to `size`; the first if there are two.

    >>> nearest([32, 128, 512], 256)
    128
    """
    return min(sizes, key=lambda b: max(b / size, size / b))


def _convert(path: Path, *, kind: str, to: type[T]) -> T:
    with understood(path):
        found: T = typed(_upgraded(storage.load_json(path, kind=kind)), to)
        return found


def _upgraded(content: Any) -> Any:
    """Files of format version 1 call the inner learning rate `rate`."""
    if isinstance(content, dict):
        return {("lr" if k == "rate" else k): _upgraded(v) for k, v in content.items()}
    return [_upgraded(item) for item in content] if isinstance(content, list) else content
