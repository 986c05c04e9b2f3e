"""`Inputs`: what a stage or a method is made from, and no more than it said that it needs."""

from collections.abc import Callable, Mapping
from typing import Any

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


def images_of(method: str) -> str:
    """The name under which a method needs the images that another one chooses.

    >>> images_of("k-means")
    'images of k-means'
    """
    return _CHOSEN + method


def chooser(need: str) -> str:
    """The method that is meant by a name from `images_of`; empty for any other name.

    >>> chooser(images_of("k-means")), chooser("targets")
    ('k-means', '')
    """
    return need.removeprefix(_CHOSEN) if need.startswith(_CHOSEN) else ""


class Inputs:
    """What was asked for by name, each made or read when it is first used.

    `count` images are to be in a set; `seed` chooses them and initialises an encoder, which is
    trained as `pretraining` says, for `steps` gradient steps.
    """

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

    def __getitem__(self, name: str) -> Any:
        assert name in self._sources, f"{name} is used, but not among what is needed"
        return self._sources[name]()

    @property
    def images(self) -> Images:
        """The images that are learnt from."""
        found: Images = self["images"]
        return found

    @property
    def targets(self) -> Targets:
        """What the teacher says of each of them."""
        found: Targets = self["targets"]
        return found

    @property
    def teacher(self) -> Encoder:
        """The network whose representations are distilled."""
        found: Encoder = self["teacher"]
        return found

    @property
    def trajectories(self) -> Trajectories:
        """The experts' parameters, epoch by epoch."""
        found: Trajectories = self["experts"]
        return found

    @property
    def ssl_trajectories(self) -> Trajectories:
        """As `trajectories`, of experts that train by self-supervision."""
        found: Trajectories = self["ssl-experts"]
        return found

    @property
    def assistant(self) -> Assistant:
        """The small network that says a view's target."""
        found: Assistant = self["assistant"]
        return found

    @property
    def difficulty(self) -> Tensor:
        """How hard students find each image: N."""
        found: Tensor = self["difficulty"]
        return found

    @property
    def tasks(self) -> list[Task]:
        """The labelled sets that encoders are judged by."""
        found: list[Task] = self["tasks"]
        return found

    @property
    def distilled(self) -> DistilledSet:
        """The method's own set."""
        found: DistilledSet = self["distilled"]
        return found

    def images_of(self, method: str) -> Tensor:
        """The images that another method chooses: rows of `images` (int64, m), increasing."""
        found: Tensor = self[images_of(method)]
        return found
