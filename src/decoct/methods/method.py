"""`Method`: one way to get from images and targets to an encoder, in its own file.

A method is a frozen dataclass whose fields are its section of the recipe. It declares here whatever
other code needs to know about it, so that no other code has to know it by name.
"""

from abc import ABC
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, TypeVar

import tyro
from rich.filesize import decimal as size_text

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core.errors import DecoctError
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
# A section of the recipe that several methods share, so its settings are not the method's own flags
Shared = Annotated[T, tyro.conf.Fixed, tyro.conf.Suppress]


def shared(kind: type[T]) -> T:
    """The default value of a `Shared` field."""
    made: T = field(default_factory=kind, metadata={_SHARED: True})
    return made


@dataclass(frozen=True)
class Method(Settings, ABC):
    """What every method declares; the defaults suit a small set with targets."""

    name: ClassVar[str]
    summary: ClassVar[str]  # one line, for --help, docs and the report
    paper: ClassVar[str] = ""  # citation; "" for ours
    proposed: ClassVar[bool] = False  # True: compared with the others, which are its baselines
    makes_set: ClassVar[bool] = True  # False: it makes an encoder directly from images
    synthetic: ClassVar[bool] = False  # the images of its set are learnt
    whole_pool: ClassVar[bool] = False  # it trains on all images
    as_many_steps_as: ClassVar[str] = ""  # the method that it repeats, with a small set's steps
    keeps_encoder: ClassVar[bool] = True  # False: making its encoder again costs nothing
    another_network: ClassVar[bool] = False  # its encoder is not the network that is pre-trained

    def needs(self) -> tuple[str, ...]:
        """The stages that it is made from, and `images_of` other methods."""
        return ("images", "targets")

    def chosen_by(self) -> tuple[str, ...]:
        """The methods that choose images for it."""
        return tuple(filter(None, map(chooser, self.needs())))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The method's set."""
        raise NotImplementedError(f"{self.name} makes no set")

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """An encoder; by default trained on the method's own set, with the set's rule."""
        return pretrain(
            distilled=inputs.distilled,
            config=inputs.pretraining,
            seed=inputs.seed,
            device=place.device,
            state=place.state,
        )

    @classmethod
    def own_length(cls) -> bool:
        """Whether it trains for the length given for all images, not for that of small sets."""
        return cls.whole_pool and not cls.as_many_steps_as

    @property
    def parts(self) -> int:
        """Among how many processes the making of its set can be divided."""
        return 1

    def training_batch(self) -> int:
        """The batch size for training its encoder."""
        rule: TrainingRule = getattr(self, "rule", TrainingRule())
        return rule.batch

    def seen(self, sizes: Sizes) -> int:
        """Images in an epoch of pre-training."""
        own = sizes.images if self.whole_pool else sizes.count
        return sizes.count if self.as_many_steps_as else own

    def steps(self, sizes: Sizes, pretraining: PretrainConfig) -> int:
        """Gradient steps of pre-training."""
        return pretraining.length(self.seen(sizes), self.training_batch()).steps

    def facts(self, sizes: Sizes, pretraining: PretrainConfig) -> dict[str, Any]:
        """How much it keeps and how long it trains, for tables."""
        if not self.keeps_encoder:
            return {}
        count = sizes.images if self.whole_pool else sizes.count
        found: dict[str, Any] = {
            "images": count,
            "bytes": round(count * self.bytes_an_image(sizes)) + self.fixed_bytes(sizes),
            "steps": self.steps(sizes, pretraining),
        }
        if self.as_many_steps_as:
            found["as_many_steps_as"] = self.as_many_steps_as
        return found | self._length(pretraining)

    def _length(self, pretraining: PretrainConfig) -> dict[str, int]:
        """The number of epochs, unless the length is given in steps."""
        in_steps = self.as_many_steps_as or pretraining.steps
        return {} if in_steps else {"epochs": pretraining.epochs}

    def bytes_an_image(self, sizes: Sizes) -> float:
        """Bytes per image, including its targets and views."""
        return sizes.pixels * (FLOAT if self.synthetic else 1) + FLOAT * sizes.dimensions

    def fixed_bytes(self, sizes: Sizes) -> int:
        """Bytes that its set takes however many images it holds."""
        return 0

    def images_in(self, budget: int, sizes: Sizes) -> int:
        """How many images fit in `budget` bytes; raises `DecoctError` if none does."""
        room = budget - self.fixed_bytes(sizes)
        each = self.bytes_an_image(sizes)
        if room < each:
            raise DecoctError(
                f"{size_text(budget)} are too few for {self.name}: without any image it takes "
                f"{size_text(self.fixed_bytes(sizes))}, and {size_text(round(each))} for each"
            )
        return sizes.count if each == 0 else min(sizes.images, int(room // each))

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """The work of making its set, in units whose time is measured."""
        return {}

    def pretraining_work(self, sizes: Sizes, pretraining: PretrainConfig) -> Mapping[Unit, float]:
        """The work of pre-training one encoder."""
        if not self.keeps_encoder:
            return {}
        epoch = sizes.images if self.whole_pool else self.seen(sizes)  # may be cut short
        batch = self.training_batch()
        images = epoch * self.steps(sizes, pretraining) / steps_an_epoch(epoch, batch)
        return {training_step(pretraining.network, batch): images}

    def memory(self, sizes: Sizes) -> Mapping[str, int]:
        """Peak memory in bytes while making its set, by what holds it."""
        return {}

    def networks(self, dimensions: int) -> tuple[tuple[NetworkConfig, int], ...]:
        """The networks that it trains, with their outputs; they must accept the images."""
        return ()

    def check(self, sizes: Sizes) -> None:
        """Raise `DecoctError` for data that it cannot work with."""

    def axes(self) -> tuple[Axis, ...]:
        """The settings that an ablation may vary."""
        return ()


def section_of(kind: type[Method]) -> str:
    """The name of a method's section of the recipe; empty if it has no settings of its own."""
    return kind.name.replace("-", "_") if own_fields(kind) else ""


def own_fields(kind: type[Method]) -> list[str]:
    """The settings that are the method's own."""
    return [f.name for f in fields(kind) if not f.metadata.get(_SHARED)]


def shared_fields(kind: type[Method]) -> list[str]:
    """The sections of the recipe that it shares with other methods."""
    return [f.name for f in fields(kind) if f.metadata.get(_SHARED)]


def with_shared(method: Method, sections: Mapping[str, Any]) -> Method:
    """The method with the recipe's sections instead of its own copies."""
    return replace(method, **{name: sections[name] for name in shared_fields(type(method))})


def without_rule(method: Method) -> Method:
    """The method with the default rule, since the choice of images does not depend on the rule.

    >>> without_rule(Method()) == Method()
    True
    """
    has_rule = "rule" in shared_fields(type(method))
    return replace(method, **{"rule": TrainingRule()} if has_rule else {})


def total(*parts: Mapping[Unit, float]) -> dict[Unit, float]:
    """The sum of several amounts of work."""
    found: Counter[Unit] = Counter()
    for part in parts:
        for unit, count in part.items():
            found[unit] += count  # type: ignore[assignment]
    return dict(found)
