"""Stored views: a few real images, each in several views, and the assistant's targets for them.

Nothing is matched; the labels are distilled. A view costs nine bytes and its target.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.provenance import versions
from decoct.artefacts.rule import TrainingRule
from decoct.core import ranks, seeding
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.core.settings import Few
from decoct.core.shapes import Index
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.data.stored_views import NUMBERS, draw_views, plain_views, show_views
from decoct.methods.axis import Axis, one_of
from decoct.methods.inputs import Inputs, images_of
from decoct.methods.labels import Label, Labels, labeller, needed_by
from decoct.methods.method import Method, Shared, shared
from decoct.methods.sizes import Sizes

_AT_ONCE = 1024  # images at a time
_HALF = 2  # bytes of a float16 number


@dataclass(frozen=True)
class Views(Method):
    """How many views an image has, which images are kept, and who labels the views."""

    name: ClassVar[str] = "views"
    summary: ClassVar[str] = "real images in several stored views, labelled by an assistant"
    proposed: ClassVar[bool] = True
    section: ClassVar[str] = "views"

    count: Few = 32  # including the image itself, which is the first view
    select: str = "k-means"  # the method that chooses the images
    labels: Labels = "assistant"  # who gives views their targets
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    rule: Shared[TrainingRule] = shared(TrainingRule)

    def needs(self) -> tuple[str, ...]:
        """The labeller of the views, and the method that chooses the images."""
        return ("images", "targets", images_of(self.select), *needed_by(self.labels))

    def make(self, inputs: Inputs, place: Place) -> DistilledSet:
        """The chosen images, with a target for each of their views."""
        found = stored_views(
            images=inputs.images,
            index=inputs.images_of(self.select),
            label=labeller(self.labels, inputs, place),
            config=self,
            seed=inputs.seed,
            device=place.device,
        )
        asked = inputs.assistant.config if self.labels == "assistant" else found.network
        return replace(found, network=asked)

    @property
    def parts(self) -> int:
        """The views of an image."""
        return self.count

    def seen(self, sizes: Sizes) -> int:
        """The number of views."""
        return sizes.count * self.count

    def bytes_an_image(self, sizes: Sizes) -> float:
        """Pixels, and nine bytes and a target for each view."""
        return sizes.pixels + self.count * (_HALF * sizes.dimensions + NUMBERS)

    def axes(self) -> tuple[Axis, ...]:
        """The settings that an ablation may vary."""
        return (
            Axis("views", "views per image", "views.count", one_of(1, 4, 8, 16, 32)),
            Axis("select", "who chooses the images", "views.select", one_of("random", self.select)),
            Axis("labels", "who labels the views", "views.labels", one_of("assistant", "image")),
            Axis("assistant", "the assistant's epochs", "assistant.epochs", one_of(3, 12, 30)),
        )


@torch.no_grad()
def stored_views(
    *,
    images: Images,
    index: Index,
    label: Label,
    config: Views | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> DistilledSet:
    """The images at `index` (int64, m) with V views each, and a target by `label` for every view.

    Ranks divide the views. Targets are float16 in training as well as on disk.

    >>> pictures = Images.from_array(torch.rand(8, 3, 16, 16))
    >>> config = Views(count=4)
    >>> found = stored_views(images=pictures, index=torch.arange(2), config=config,
    ...                      label=lambda views, rows: views.mean((2, 3)))
    >>> len(found), found.targets.shape
    (8, torch.Size([2, 4, 3]))
    """
    config = config or Views()
    pixels = images.pixels[index].to(device).float() / 255
    draws = seeding.generator(seed, "views")
    numbers = torch.stack(
        [plain_views(len(index))]
        + [draw_views(config.augment, len(index), draws) for _ in range(config.count - 1)],
        1,
    )
    own = ranks.share(numbers.unbind(1)) or numbers[:, :1].unbind(1)  # one at least, for its shape
    with ranks.alone():  # who labels must not divide the work once more
        labelled = [_label_in_parts(label, pixels, n.to(device), index) for n in own]
    targets = ranks.in_order(labelled, total=config.count, like=labelled[0])
    provenance = {"config": asdict(config), "seed": seed, "images": images.name, **versions()}
    return DistilledSet(
        images=images.normalised(index).cpu(),
        targets=torch.stack(targets, 1),
        views=numbers,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        rule=config.rule,
        method="views",
        index=index,
        provenance=provenance,
    )


def _label_in_parts(label: Label, pixels: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
    """Label one view of every image: m x D float16, on the CPU."""
    parts = torch.arange(len(pixels)).split(_AT_ONCE)
    found = [label(show_views(pixels[part], numbers[part]), rows[part]) for part in parts]
    targets = torch.cat(found).half().cpu()
    if not bool(targets.isfinite().all()):
        raise DecoctError(
            "a view's target is too large for float16 or not a number; scale the targets "
            "(targets.scaling: overall)"
        )
    return targets
