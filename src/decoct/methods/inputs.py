"""`Inputs`: what a stage or a method is made from, limited to what it declared that it needs."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, overload, runtime_checkable

from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.training.pretrain import PretrainConfig

_CHOSEN = "images of "
_WHOLE = "set of "


def images_of(method: str) -> str:
    """The name under which a method needs the images that another method chooses.

    >>> images_of("k-means")
    'images of k-means'
    """
    return _CHOSEN + method


def chooser(need: str) -> str:
    """The method that a name from `images_of` refers to; empty for any other name.

    >>> chooser(images_of("k-means")), chooser("targets")
    ('k-means', '')
    """
    return need.removeprefix(_CHOSEN) if need.startswith(_CHOSEN) else ""


def whole_set_of(method: str) -> str:
    """The name under which a method needs the whole set that another method makes.

    >>> whole_set_of("mkdt")
    'set of mkdt'
    """
    return _WHOLE + method


def maker(need: str) -> str:
    """The method that a name from `whole_set_of` refers to; empty for any other name.

    >>> maker(whole_set_of("mkdt")), maker("targets")
    ('mkdt', '')
    """
    return need.removeprefix(_WHOLE) if need.startswith(_WHOLE) else ""


T = TypeVar("T")


@runtime_checkable
class Maker(Protocol):
    """Returns things by name; each is made or read when it is first used."""

    def get(self, name: str) -> Any:
        """The thing of that name."""


class Made(Generic[T]):
    """An attribute that its owner makes or reads, under a given name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: Any = None) -> Self: ...
    @overload
    def __get__(self, owner: Maker, kind: Any = None) -> T: ...

    def __get__(self, owner: Maker | None, kind: Any = None) -> Any:
        return self if owner is None else owner.get(self.name)


class Inputs:
    """The declared inputs by name; each is made or read when it is first used.

    A set has `count` images. `seed` chooses them and initialises an encoder, which is trained as
    `pretraining` says, for `steps` gradient steps.
    """

    images = Made[Images]("images")  # for training (without the held-out images)
    targets = Made[Targets]("targets")  # the teacher's targets for these images
    teacher = Made[Encoder]("teacher")
    trajectories = Made[Trajectories]("experts")
    ssl_trajectories = Made[Trajectories]("ssl-experts")  # of experts trained without targets
    assistant = Made[Assistant]("assistant")
    difficulty = Made[Tensor]("difficulty")  # how hard students find each image: N
    tasks = Made[list[Task]]("tasks")
    encoder = Made[Encoder]("encoder")  # the one to be probed
    distilled = Made[DistilledSet]("distilled")  # the method's own set

    def __init__(
        self,
        sources: Mapping[str, Callable[[], Any]],
        *,
        count: int = 0,
        seed: int = 0,
        pretraining: PretrainConfig | None = None,
        steps: int = 0,
    ) -> None:
        self._sources, self.count, self.seed = sources, count, seed
        self.pretraining, self.steps = pretraining or PretrainConfig(), steps

    def get(self, name: str) -> Any:
        """The input of a given name."""
        assert name in self._sources, f"{name} is used, but not declared in `needs`"
        return self._sources[name]()

    def images_of(self, method: str) -> Tensor:
        """The images that another method chooses: rows of `images` (int64, m), increasing."""
        found: Tensor = self.get(images_of(method))
        return found

    def set_of(self, method: str) -> DistilledSet:
        """The set that another method makes, of the same size and with the same seed."""
        found: DistilledSet = self.get(whole_set_of(method))
        return found
