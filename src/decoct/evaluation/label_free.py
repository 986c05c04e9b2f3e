"""What an encoder is worth without labels: three numbers, on images that were left out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.core import storage
from decoct.core.forms import read_json
from decoct.core.shapes import Features, Index
from decoct.data.images import Images
from decoct.evaluation.target_probe import seen_and_unseen, unexplained

_NEIGHBOURS = 10
_ROWS = 1024  # images whose similarities to all others are in memory at a time


@dataclass(frozen=True)
class LabelFree:
    """An encoder's scores without labels, on images that were left out."""

    error: float  # share of the targets' variance that its features do not predict: less is better
    rankme: float  # how many directions its features use: more is better
    agreement: float  # share of an image's nearest neighbours that are the teacher's, too


@dataclass(frozen=True)
class LabelFreeRow(LabelFree):
    """Which encoder the scores are of."""

    method: str
    seed: int


@dataclass(frozen=True)
class LabelFreeScores:
    """The encoders of a run, judged without labels."""

    rows: tuple[LabelFreeRow, ...]
    left_out: int = 0  # images
    stopped: tuple[str, ...] = ()  # sets that were not learnt to the end, and where

    def save(self, path: Path | str) -> None:
        """Write `label_free.json`."""
        storage.save_json(path, asdict(self), kind="label-free")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a run's `label_free.json`; raises `DecoctError` for a damaged file."""
        found: Self = read_json(path, cls, of="label-free")
        return found

    def of(self, method: str) -> list[LabelFreeRow]:
        """A method's scores, one for each seed."""
        return [row for row in self.rows if row.method == method]

    @property
    def methods(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(row.method for row in self.rows))


def label_free_scores(
    *,
    encoder: Encoder,
    images: Images,
    targets: Targets,
    known: Index,
    left_out: Index,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LabelFree:
    """Score an encoder by the teacher's targets alone; each image is embedded once.

    `targets` has a row for each of the `images`. Rows `known` (int64) are what the linear map is
    fitted on, of which 2,000 are enough; all scores are of the rows `left_out`. Raises
    `DecoctError` if those are fewer than two, `DivergedError` if the features are not finite.

    >>> from decoct.data.sources import load_images
    >>> from decoct.artefacts.targets import compute_targets
    >>> from decoct.artefacts.embedded_teacher import embedded_teacher
    >>> rows = torch.arange(120)
    >>> pictures, teacher = load_images("emoji").subset(rows), embedded_teacher()
    >>> targets = compute_targets(images=pictures, teacher=teacher)
    >>> scores = label_free_scores(encoder=teacher, images=pictures, targets=targets,
    ...                            known=rows[:90], left_out=rows[90:])
    >>> 0 <= scores.error < 0.5, 1 < scores.rankme < 30, scores.agreement
    (True, True, 1.0)
    """
    known, seen, unseen = seen_and_unseen(
        encoder=encoder, images=images, known=known, left_out=left_out, seed=seed, device=device
    )
    truth = targets.values[left_out]
    return LabelFree(
        error=unexplained(seen, targets.values[known], unseen, truth),
        rankme=rankme(unseen),
        agreement=neighbour_agreement(unseen, truth),
    )


def rankme(features: Features) -> float:
    """exp(entropy) of the normalised singular values of N x F features (Garrido et al. 2023).

    1 if all features are multiples of one vector; F, or N if that is less, if every direction is
    used equally. It is 0 for features that are all zero. Compare only encoders of equal F and N.

    >>> round(rankme(torch.eye(5)), 4)
    5.0
    """
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp()) if values.sum() > 0 else 0.0


def neighbour_agreement(
    features: Float[Tensor, "image feature"],
    targets: Float[Tensor, "image dimension"],
    count: int = _NEIGHBOURS,
) -> float:
    """The share of an image's `count` nearest neighbours that two representations agree on.

    The mean over the images. Neighbours are the most alike by the cosine of the rows, from which
    the mean row is subtracted. If the two are independent, about count / (N - 1) are shared.

    >>> points = torch.tensor([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    >>> neighbour_agreement(points, -2 * points, count=1)
    1.0
    """
    count = min(count, len(features) - 1)
    first, second = (F.normalize(x.double() - x.double().mean(0)) for x in (features, targets))
    shared = 0
    for rows in torch.arange(len(first)).split(_ROWS):
        a, b = (_neighbours(x, rows, count) for x in (first, second))
        shared += int((a.unsqueeze(2) == b.unsqueeze(1)).sum())
    return shared / (count * len(first))


def _neighbours(directions: Features, rows: Index, count: int) -> Tensor:
    """The `count` rows that are most alike to each of `rows`, except itself: int64, B x count."""
    alike = directions[rows] @ directions.mT
    alike[torch.arange(len(rows)), rows] = -torch.inf
    return alike.topk(count).indices
