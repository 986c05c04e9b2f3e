"""The penalty of a logistic regression, chosen by cross-validation on the labelled examples."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from decoct.core import seeding
from decoct.evaluation.logistic import Logistic

PENALTIES = tuple(10.0**e for e in (1, 0, -1, -2, -3, -4))
_FOLDS = 5
_TOLERANCE = 1e-3  # 1e-4 chose the same penalties


def cross_validated_penalty(
    features: Float[Tensor, "probe example feature"],
    labels: Int64[Tensor, "probe example"],
    *,
    classes: int,
) -> float:
    """The penalty with the lowest cross-validated cross-entropy over stratified folds.

    D x n x F features and D x n labels give one penalty: the held-out losses of all D probes are
    summed. Penalties fall, each fit starting from the last, until the sum grows. With one example
    per class nothing can be held out, so it takes the middle of the grid.
    """
    folds = torch.stack([stratified_folds(row) for row in labels.cpu()]).to(labels.device)
    count = int(folds.max()) + 1
    if count < 2:
        return PENALTIES[len(PENALTIES) // 2]
    # The folds of a probe share its features, and single precision is enough for choosing.
    held = (folds.unsqueeze(1) == torch.arange(count, device=folds.device).view(-1, 1)).flatten(
        0, 1
    )
    repeated = labels.repeat_interleave(count, 0)
    fits = Logistic(features.float(), repeated.masked_fill(held, -1), classes=classes)
    best, lowest = PENALTIES[0], torch.inf
    for penalty in PENALTIES:
        fits.fit(fits.x.new_full((len(held),), penalty), tolerance=_TOLERANCE)
        log_p = fits.log_p().gather(1, repeated.unsqueeze(1)).squeeze(1)
        loss = -float((log_p * held).sum())
        if loss >= lowest:
            break
        best, lowest = penalty, loss
    return best


def stratified_folds(labels: Int64[Tensor, " example"]) -> Int64[Tensor, " example"]:
    """A fold for each example, each class spread evenly over at most five folds.

    The only example of a class gets no fold (-1): held out, its class would be unseen in training.
    """
    fold = torch.full_like(labels, -1)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) > 1:
            order = torch.randperm(len(members), generator=seeding.generator(0, "folds", label))
            fold[members[order]] = torch.arange(len(members)) % _FOLDS
    return fold
