"""`Method`: one way to get from images and targets to an encoder, in a file of its own.

A method is a frozen dataclass; its fields are its section of the recipe. What other code needs to
know about it, it says here, so that nothing else has to know it by name.
"""

from abc import ABC
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core.place import Place
from decoct.core.settings import Settings
from decoct.methods.axis import Axis
from decoct.methods.inputs import Inputs, chooser
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit, training_step
from decoct.models.registry import NetworkConfig
from decoct.training.pretrain import PretrainConfig, pretrain, steps_an_epoch

FLOAT = 4  # bytes
_SHARED = "shared"
T = TypeVar("T")
# A section of the recipe by itself, which several methods have in common: no flag of the method's
Shared = Annotated[T, tyro.conf.Fixed, tyro.conf.Suppress]


def shared(kind: type[T]) -> T:
    """The default of a field that is `Shared`."""
    made: T = field(default_factory=kind, metadata={_SHARED: True})
    return made


@dataclass(frozen=True)
class Method(Settings, ABC):
    """What every method says of itself; the defaults are those of a small set with targets."""

    name: ClassVar[str]
    summary: ClassVar[str]  # one line, for --help, docs and the report
    paper: ClassVar[str] = ""  # citation; "" for ours
    proposed: ClassVar[bool] = False  # one to be compared with the rest, not part of the rest
    makes_set: ClassVar[bool] = True  # False: it goes from images to an encoder directly
    synthetic: ClassVar[bool] = False  # the images of its set are learnt
    whole_pool: ClassVar[bool] = False  # it trains on all images
    as_many_steps_as: ClassVar[str] = ""  # the method that it is, for as many steps as small sets
    keeps_encoder: ClassVar[bool] = True  # False: its encoder costs nothing to make again
    another_network: ClassVar[bool] = False  # its encoder is not of the kind that is pre-trained

    def needs(self) -> tuple[str, ...]:
        """The stages that it is made from, and `images_of` other methods."""
        return ("images", "targets")

    def chosen_by(self) -> tuple[str, ...]:
        """The methods whose images it needs."""
        return tuple(filter(None, map(chooser, self.needs())))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The method's set."""
        raise NotImplementedError(f"{self.name} makes no set")

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """An encoder; by default trained on the method's own set, by the set's rule."""
        return pretrain(
            distilled=inputs.distilled,
            config=inputs.pretraining,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
        )

    @property
    def trains(self) -> bool:
        """Whether anything is pre-trained."""
        return self.keeps_encoder

    @classmethod
    def own_length(cls) -> bool:
        """Whether it trains for as long as all images are worth, not for as long as small sets."""
        return cls.whole_pool and not cls.as_many_steps_as

    def training_batch(self) -> int:
        """The batch that its encoder is trained in."""
        rule: TrainingRule = getattr(self, "rule", TrainingRule())
        return rule.batch

    def seen(self, sizes: Sizes) -> int:
        """Images in an epoch of pre-training."""
        own = sizes.images if self.whole_pool else sizes.count
        return sizes.count if self.as_many_steps_as else own

    def steps(self, sizes: Sizes, pretraining: PretrainConfig) -> int:
        """Gradient steps of pre-training."""
        return pretraining.epochs * steps_an_epoch(self.seen(sizes), self.training_batch())

    def facts(self, sizes: Sizes, pretraining: PretrainConfig) -> dict[str, Any]:
        """What it keeps and how long it trains: for tables."""
        if not self.trains:
            return {}
        count = sizes.images if self.whole_pool else sizes.count
        found: dict[str, Any] = {
            "images": count,
            "bytes": count * self.bytes_an_image(sizes),
            "steps": self.steps(sizes, pretraining),
        }
        if self.as_many_steps_as:
            found["as_many_steps_as"] = self.as_many_steps_as
        return found | self._length(pretraining)

    def _length(self, pretraining: PretrainConfig) -> dict[str, int]:
        """Epochs, where steps are not counted otherwise."""
        return {} if self.as_many_steps_as else {"epochs": pretraining.epochs}

    def bytes_an_image(self, sizes: Sizes) -> int:
        """Bytes of an image and of all that is said of it."""
        return sizes.pixels * (FLOAT if self.synthetic else 1) + FLOAT * sizes.dimensions

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """What making its set takes, in units whose time is measured."""
        return {}

    def pretraining_work(self, sizes: Sizes, pretraining: PretrainConfig) -> Mapping[Unit, float]:
        """What pre-training one encoder takes."""
        if not self.trains:
            return {}
        epoch = sizes.images if self.whole_pool else self.seen(sizes)  # which may be cut short
        batch = self.training_batch()
        images = epoch * self.steps(sizes, pretraining) / steps_an_epoch(epoch, batch)
        return {training_step(pretraining.network, batch): images}

    def memory(self, sizes: Sizes) -> Mapping[str, int]:
        """Bytes at the peak of making its set, by what holds them."""
        return {}

    def networks(self, dimensions: int) -> tuple[tuple[NetworkConfig, int], ...]:
        """The networks that it trains, with their outputs: they must be able to take the images."""
        return ()

    def check(self, sizes: Sizes) -> None:
        """Raise `DecoctError` for data that it cannot be made from."""

    def axes(self) -> tuple[Axis, ...]:
        """What of it an ablation may vary."""
        return ()


def section_of(kind: type[Method]) -> str:
    """The name of a method's section of the recipe; empty where it has no settings of its own."""
    return kind.name.replace("-", "_") if own_fields(kind) else ""


def own_fields(kind: type[Method]) -> list[str]:
    """The settings that are the method's own."""
    return [f.name for f in fields(kind) if not f.metadata.get(_SHARED)]


def shared_fields(kind: type[Method]) -> list[str]:
    """The sections of a recipe that it has in common with other methods."""
    return [f.name for f in fields(kind) if f.metadata.get(_SHARED)]


def with_shared(method: Method, sections: Mapping[str, Any]) -> Method:
    """The method with the recipe's sections in place of its own copies."""
    return replace(method, **{name: sections[name] for name in shared_fields(type(method))})


def without_rule(method: Method) -> Method:
    """The method with the usual rule: how its set is trained on has no part in which images it has.

    >>> without_rule(Method()) == Method()
    True
    """
    has_rule = "rule" in shared_fields(type(method))
    return replace(method, **{"rule": TrainingRule()} if has_rule else {})


def total(*parts: Mapping[Unit, float]) -> dict[Unit, float]:
    """The sum of several works."""
    found: Counter[Unit] = Counter()
    for part in parts:
        for unit, count in part.items():
            found[unit] += count  # type: ignore[assignment]
    return dict(found)
