"""Nearest neighbours before and after: what an encoder takes for alike."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.device import resolve_device
from decoct.core.seeding import random_subset
from decoct.core.shapes import Features, Index
from decoct.data.images import Images
from decoct.report.galleries import data_uri, side_of
from decoct.training.pretrain import fresh_encoder

_ASKED, _SHOWN = 6, 6  # pictures, and neighbours of each
_AMONG, _LEAST = 1000, 100  # pictures: enough to look at
_PIXELS = 2**23  # of them all, so that large ones are embedded in seconds, too


@dataclass(frozen=True)
class Neighbour:
    """A picture, and whether the teacher finds it among the nearest, too."""

    picture: str  # data URI
    agreed: bool


@dataclass(frozen=True)
class Neighbours:
    """Pictures outside the set with their neighbours, nearest first, by each network."""

    among: int
    side: int  # pixels on the page
    asked: list[tuple[str, list[tuple[str, list[Neighbour]]]]]  # picture; network, its neighbours


def neighbours(
    *, pool: Images, targets: Targets, encoder: Encoder, chosen: Index | None
) -> Neighbours | None:
    """The neighbours of a few pictures that are not in the set, by network; None if all are."""
    most = min(_AMONG, max(_LEAST, _PIXELS // encoder.size**2))
    asked, among = _drawn(len(pool), chosen, most=most)
    if not len(asked):
        return None
    pictures = pool.subset(torch.cat([asked, among]))
    untrained = fresh_encoder(
        encoder.config,
        mean=encoder.mean,
        std=encoder.std,
        size=encoder.size,
        outputs=targets.dimensions,
        seed=0,
    )
    device = resolve_device()
    features = {
        "untrained": untrained.embed(pictures, device=device),
        "encoder": encoder.embed(pictures, device=device),
        "teacher": targets.values[torch.cat([asked, among])],
    }
    nearest = {name: nearest_of(x, len(asked), _SHOWN) for name, x in features.items()}

    pixels = pictures.pixels[torch.arange(len(pictures))]

    def line(name: str, i: int) -> list[Neighbour]:
        by_teacher = nearest["teacher"][i].tolist()
        return [Neighbour(data_uri(pixels[j]), j in by_teacher) for j in nearest[name][i].tolist()]

    rows = [
        (data_uri(pixels[i]), [(name, line(name, i)) for name in features])
        for i in range(len(asked))
    ]
    return Neighbours(len(among), side_of(pool.size), rows)


def _drawn(total: int, chosen: Index | None, *, most: int) -> tuple[Index, Index]:
    """Rows of the pool: those to ask about, none of them in the set, and `most` to search."""
    outside = torch.ones(total, dtype=torch.bool)
    if chosen is not None:
        outside[chosen] = False
    rest = outside.nonzero().flatten()
    count = min(_ASKED, len(rest) // 2)
    seed = seeding.derive(0, "neighbours")
    asked = rest[random_subset(total=len(rest), count=count, seed=seed)] if count else rest[:0]
    searched = torch.ones(total, dtype=torch.bool)
    searched[asked] = False
    others = searched.nonzero().flatten()
    some = random_subset(total=len(others), count=min(most, len(others)), seed=seed)
    return asked, others[some]


def nearest_of(features: Features, asked: int, count: int) -> Tensor:
    """For each of the first `asked` rows, its `count` nearest among the others: by the cosine.

    The mean row is subtracted first.

    >>> nearest_of(torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-1.0, 0.1]]), 1, 1)
    tensor([[1]])
    """
    x = features.double()
    x = F.normalize(x - x.mean(0))
    alike = x[:asked] @ x[asked:].mT
    return asked + alike.topk(min(count, alike.shape[1])).indices
