"""The labeller carried along: a few real images and the network that labels any view of them.

Nothing is stored for a view. While training, each step draws fresh views and asks the labeller for
their targets, so a set of a given size has as many labelled views as training has time for.
"""

from abc import abstractmethod
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.codes import LOSSLESS, Coded, webp
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.provenance import versions
from decoct.artefacts.rule import TrainingRule
from decoct.core.place import Place
from decoct.core.settings import Bounds, Settings, Share
from decoct.core.shapes import Index
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images, normalise
from decoct.data.stored_views import FreshViews
from decoct.methods.axis import Axis, one_of
from decoct.methods.inputs import Inputs, images_of
from decoct.methods.method import Method, Shared, shared
from decoct.methods.sizes import Sizes

_MARGIN = 1.06  # chosen images differ more, and so take some per cent more, than a random sample


@dataclass(frozen=True)
class LabellerConfig(Settings):
    """How a set keeps its labeller and its images, and which views it shows while training."""

    section: ClassVar[str] = "labeller"

    weights: Literal["float32", "float16", "int8"] = "float16"  # how the network is kept
    quality: Annotated[int, Bounds(at_least=1, at_most=LOSSLESS)] = LOSSLESS  # of WebP
    plain: Share = 0.0  # fraction of the images that are shown unaugmented
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @property
    def fresh(self) -> FreshViews:
        """The views that are drawn while training."""
        return FreshViews(self.augment, self.plain)


@dataclass(frozen=True)
class Carrying(Method):
    """What the methods whose set carries its labeller have in common; it is the assistant."""

    labeller: Shared[LabellerConfig] = shared(LabellerConfig)
    rule: Shared[TrainingRule] = shared(TrainingRule)

    @abstractmethod
    def chooser(self) -> str:
        """The method that chooses the images."""

    def needs(self) -> tuple[str, ...]:
        """The labeller, and the method that chooses the images."""
        return ("images", "assistant", images_of(self.chooser()))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The chosen images and the labeller."""
        return carried_set(
            images=inputs.images,
            index=inputs.images_of(self.chooser()),
            labeller=inputs.assistant,
            config=self.labeller,
            rule=self.rule,
            method=self.name,
        )

    def bytes_an_image(self, sizes: Sizes) -> float:
        """What its pixels take compressed, as a sample of the images shows."""
        if sizes.sample is None or not len(sizes.sample):
            return sizes.pixels
        found = webp(sizes.sample, quality=self.labeller.quality).bytes / len(sizes.sample)
        return _MARGIN * found

    def fixed_bytes(self, sizes: Sizes) -> int:
        """The labeller's."""
        return labeller_bytes(self.labeller, sizes)


@dataclass(frozen=True)
class Carried(Carrying):
    """Which images are kept."""

    name: ClassVar[str] = "carried"
    summary: ClassVar[str] = "real images with the network that labels fresh views of them"
    proposed: ClassVar[bool] = True
    section: ClassVar[str] = "carried"

    select: str = "k-means"  # the method that chooses the images

    def chooser(self) -> str:
        """As the recipe says."""
        return self.select

    def axes(self) -> tuple[Axis, ...]:
        """The settings that an ablation may vary."""
        return (
            Axis(
                "select", "who chooses the images", "carried.select", one_of("random", self.select)
            ),
            Axis(
                "weights", "the labeller's numbers", "labeller.weights", one_of("float16", "int8")
            ),
            Axis("quality", "WebP quality", "labeller.quality", one_of(LOSSLESS, 90, 70, 50)),
            Axis("plain", "images shown unaugmented", "labeller.plain", one_of(0.0, 0.25, 0.5)),
        )


def labeller_bytes(config: LabellerConfig, sizes: Sizes) -> int:
    """What the weights of a labeller take in a set."""
    return (
        Assistant(
            network=sizes.network(sizes.assistant, sizes.dimensions),
            config=sizes.assistant,
            size=sizes.size,
            mean=torch.zeros(sizes.channels),
            std=torch.ones(sizes.channels),
            outputs=sizes.dimensions,
        )
        .compact(config.weights)
        .bytes
    )


def carried_set(
    *,
    images: Images,
    index: Index,
    labeller: Assistant,
    config: LabellerConfig | None = None,
    rule: TrainingRule | None = None,
    method: str = "carried",
) -> DistilledSet:
    """The images at `index` (int64, m), compressed, with a network that labels any view of them.

    >>> from decoct.models.registry import NetworkConfig, create_network
    >>> pictures, network = Images.from_array(torch.rand(8, 3, 16, 16)), NetworkConfig(width=4)
    >>> labeller = Assistant(create_network(network, channels=3, size=16, outputs=5), network,
    ...                      size=16, mean=pictures.mean, std=pictures.std, outputs=5)
    >>> found = carried_set(images=pictures, index=torch.arange(4), labeller=labeller)
    >>> views, targets = found.read(torch.arange(4))  # other views at each call
    >>> views.shape, targets.shape
    (torch.Size([4, 3, 16, 16]), torch.Size([4, 5]))
    """
    config = config or LabellerConfig()
    found = with_labeller(
        webp(images.pixels[index].cpu(), quality=config.quality),
        images=images,
        labeller=labeller,
        config=config,
        rule=rule or TrainingRule().by("muon"),
        method=method,
    )
    return replace(found, index=index)


def with_labeller(
    pictures: Coded,
    *,
    images: Images,
    labeller: Assistant,
    config: LabellerConfig,
    rule: TrainingRule,
    method: str,
) -> DistilledSet:
    """A set of pictures in a code, normalised like `images`, and the labeller as `config` asks."""
    mean, std = images.mean.cpu(), images.std.cpu()
    pixels = normalise(pictures.decode(), mean, std)
    return DistilledSet(
        images=pixels,
        targets=pixels.new_zeros(len(pixels), 0),
        mean=mean,
        std=std,
        rule=rule,
        method=method,
        labeller=labeller.compact(config.weights),
        fresh=config.fresh,
        coded={"images": pictures},
        network=labeller.config,
        provenance={"config": asdict(config), "images": images.name, **versions()},
    )
