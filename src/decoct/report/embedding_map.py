"""Which pictures were chosen: the pool as points, those of the set marked, some shown."""

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.principal import principal_directions
from decoct.core.seeding import random_subset
from decoct.core.shapes import Index, Rows
from decoct.data.images import Images
from decoct.report.svg import ACCENT, LINE, MUTED, STYLE, new_figure, svg_of

Points = Float[Tensor, "point 2"]

_MOST = 2000  # points of the pool: more would only be a blot, and a large page
_SIDE, _HEIGHT = 8.0, 5.2  # inches
_THUMBNAIL = 0.34  # inches
_APART = 0.085  # between thumbnails, as a share of the longer side


def embedding_map(*, pool: Images, targets: Targets, distilled: DistilledSet) -> Markup:
    """The pool by the first two principal components of its targets; the set's pictures marked."""
    assert distilled.index is not None
    points = two_components(targets.values)
    chosen = distilled.index
    shown = random_subset(
        total=len(points), count=min(_MOST, len(points)), seed=seeding.derive(0, "map")
    )
    with mpl.rc_context({**STYLE, "image.composite_image": False}):
        figure, axes = new_figure(_HEIGHT, _SIDE)
        axes.plot(*points[shown].T.numpy(), ".", color=MUTED, alpha=0.35, ms=3.5, mew=0)
        axes.plot(*points[chosen].T.numpy(), "o", color=ACCENT, ms=4, mew=0)
        for row in spread(points[chosen], aspect=_HEIGHT / _SIDE):
            at = chosen[row]
            picture = pool.pixels[at.unsqueeze(0)][0].permute(1, 2, 0).numpy()
            box = OffsetImage(
                picture[..., 0] if picture.shape[2] == 1 else picture,
                cmap="gray",
                interpolation="none",
                zoom=72 * _THUMBNAIL / picture.shape[0],
            )
            frame = {"edgecolor": LINE, "facecolor": ACCENT, "linewidth": 0.6}
            place = tuple(points[at].tolist())
            axes.add_artist(AnnotationBbox(box, place, pad=0.1, bboxprops=frame))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlabel("first principal component of the targets")
        axes.set_ylabel("second")
        axes.margins(0.06)
        return svg_of(figure, "Map of the pool, with the pictures of the set marked")


def two_components(values: Rows) -> Points:
    """N x D targets as N x 2.

    >>> two_components(torch.tensor([[0.0, 0.0, 9.0], [0.0, 2.0, 9.0], [9.0, 1.0, 9.0]])).shape
    torch.Size([3, 2])
    """
    centred = values.double() - values.double().mean(0)
    if centred.shape[1] < 2:
        centred = torch.cat([centred, torch.zeros_like(centred[:, :1])], 1)
    return centred @ principal_directions(centred.T @ centred, 2)


def spread(points: Points, *, aspect: float, apart: float = _APART) -> Index:
    """Rows of points that are apart, and so can be shown as pictures: the first that fit.

    >>> near = torch.tensor([[0.0, 0.0], [0.01, 0.0], [1.0, 1.0]])
    >>> spread(near, aspect=1.0)
    tensor([0, 2])
    """
    span = (points.amax(0) - points.amin(0)).clamp_min(1e-12)
    places = ((points - points.amin(0)) / span).numpy() * np.array([1.0, aspect])
    kept: list[int] = []
    for row, place in enumerate(places):
        if all(np.abs(place - places[other]).max() >= apart for other in kept):
            kept.append(row)
    return torch.tensor(kept)
