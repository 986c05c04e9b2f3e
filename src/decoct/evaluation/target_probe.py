"""How well an encoder's features predict the teacher's targets: quality without labels or tasks."""

import torch
from jaxtyping import Float
from sklearn.linear_model import RidgeCV
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.seeding import random_subset
from decoct.core.shapes import Index
from decoct.data.images import Images

MOST_KNOWN = 2000  # images on which the linear map is fitted
_PENALTIES = tuple(10.0**e for e in range(-2, 6))  # of ridge regression on standardised features


def target_probe_error(
    *,
    encoder: Encoder,
    images: Images,
    targets: Targets,
    known: Index,
    left_out: Index,
    most: int = MOST_KNOWN,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """The fraction of the variance of held-out targets that a linear map does not explain.

    Ridge regression is fitted on the features of at most `most` rows of `images` among `known`
    (int64), with the penalty chosen by leave-one-out, and evaluated on the rows `left_out`: 0 is
    perfect, 1 is no better than the mean. It works for every encoder, with or without a teacher,
    and uses no task, so settings can be chosen by it. Raises `DecoctError` if fewer than two images
    are held out, `DivergedError` if the features are not finite.

    >>> from decoct.data.sources import load_images
    >>> from decoct.artefacts.targets import compute_targets
    >>> from decoct.artefacts.embedded_teacher import embedded_teacher
    >>> rows = torch.arange(120)
    >>> pictures, teacher = load_images("emoji").subset(rows), embedded_teacher()
    >>> targets = compute_targets(images=pictures, teacher=teacher)
    >>> error = target_probe_error(encoder=teacher, images=pictures, targets=targets,
    ...                            known=rows[:100], left_out=rows[100:])
    >>> 0 <= error < 0.5
    True
    """
    known, x, unseen = seen_and_unseen(
        encoder=encoder,
        images=images,
        known=known,
        left_out=left_out,
        most=most,
        seed=seed,
        device=device,
    )
    return unexplained(x, targets.values[known], unseen, targets.values[left_out])


def seen_and_unseen(
    *,
    encoder: Encoder,
    images: Images,
    known: Index,
    left_out: Index,
    most: int = MOST_KNOWN,
    seed: int,
    device: torch.device | str,
) -> tuple[Index, Float[Tensor, "seen feature"], Float[Tensor, "unseen feature"]]:
    """At most `most` of the rows `known`, the encoder's features of those, and of `left_out`.

    Raises `DecoctError` if fewer than two images are left out.
    """
    check_left_out(left_out)
    draws = seeding.derive(seed, "pool error")
    known = known[random_subset(total=len(known), count=min(most, len(known)), seed=draws)]
    x, unseen = (encoder.embed(images.part(rows), device=device) for rows in (known, left_out))
    return known, x, unseen


def unexplained(
    x: Float[Tensor, "known feature"],
    y: Float[Tensor, "known dimension"],
    unseen: Float[Tensor, "unseen feature"],
    truth: Float[Tensor, "unseen dimension"],
) -> float:
    """The fraction of the variance of `truth` that ridge regression of `y` on `x` leaves.

    Raises `DivergedError` if the features are not finite.
    """
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x, unseen = (x - mean) / std, (unseen - mean) / std
    if not bool(x.isfinite().all() and unseen.isfinite().all()):
        raise DivergedError("the encoder's features are not finite; lower its learning rate")
    fit = RidgeCV(alphas=_PENALTIES).fit(x.numpy(), y.numpy())
    error = truth - torch.as_tensor(fit.predict(unseen.numpy()))
    return float(error.square().sum() / (truth - truth.mean(0)).square().sum())


def check_left_out(left_out: Tensor) -> None:
    """Raise `DecoctError` if too few rows are held out to choose settings with."""
    if len(left_out) < 2:  # the variance of one is nothing
        raise DecoctError(
            f"{len(left_out)} pool images are held out to choose settings with; raise "
            "images.holdout (0.1, say)"
        )
