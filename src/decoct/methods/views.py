"""Stored views: a few real images, each in several views, and what the assistant says of each.

Nothing is matched: it is the labels that are distilled. A view costs nine bytes and its target.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, TrainingRule, versions
from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.data.augment import ViewsConfig
from decoct.data.images import Images
from decoct.data.stored_views import draw_views, plain_views, show_views

_AT_ONCE = 1024  # images
Label = Callable[[Tensor, Tensor], Tensor]  # of views B x C x H x W in [0, 1], rows B: B x D


@dataclass(frozen=True)
class StoredViewsConfig:
    """How many views an image has, which images, and who says what the views' targets are."""

    count: int = 32  # the first of which is the image itself
    start: Literal["random", "k-means", "k-center", "sas"] = "k-means"
    labels: Literal["assistant", "teacher", "image"] = "assistant"  # image: its own target
    augment: ViewsConfig = field(default_factory=ViewsConfig)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DecoctError(f"views.count is {self.count}; an image has at least 1 view: itself")


@torch.no_grad()
def stored_views(
    *,
    images: Images,
    start: Tensor,
    label: Label,
    rule: TrainingRule,
    config: StoredViewsConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> DistilledSet:
    """The images at `start` (int64, m) with V views each, and `label`'s target for every view.

    Targets are float16: what is trained on is what is stored.

    >>> pictures = Images.from_array(torch.rand(8, 3, 16, 16))
    >>> rule = TrainingRule(lr=0.1, momentum=0.9, weight_decay=0.0, batch=4)
    >>> config = StoredViewsConfig(count=4)
    >>> found = stored_views(images=pictures, start=torch.arange(2), config=config, rule=rule,
    ...                      label=lambda views, rows: views.mean((2, 3)))
    >>> len(found), found.targets.shape
    (8, torch.Size([2, 4, 3]))
    """
    config = config or StoredViewsConfig()
    pixels = images.pixels[start].to(device).float() / 255
    draws = seeding.generator(seed, "views")
    numbers = torch.stack(
        [plain_views(len(start))]
        + [draw_views(config.augment, len(start), draws) for _ in range(config.count - 1)],
        1,
    )
    targets = [_label_in_parts(label, pixels, n.to(device), start) for n in numbers.unbind(1)]
    story = {"config": asdict(config), "seed": seed, "images": images.name, **versions()}
    return DistilledSet(
        images=images.normalised(start).cpu(),
        targets=torch.stack(targets, 1),
        views=numbers,
        mean=images.mean.cpu(),
        std=images.std.cpu(),
        rule=rule,
        method="views",
        index=start,
        story=story,
    )


def _label_in_parts(label: Label, pixels: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
    """One view of every image: m x D float16, on the CPU."""
    parts = torch.arange(len(pixels)).split(_AT_ONCE)
    found = [label(show_views(pixels[part], numbers[part]), rows[part]) for part in parts]
    targets = torch.cat(found).half().cpu()
    if not bool(targets.isfinite().all()):
        raise DecoctError(
            "a view's target is too large for float16, or no number; scale the targets "
            "(targets.scaling: overall)"
        )
    return targets
