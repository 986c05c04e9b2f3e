"""The linear model of the paper's theorem: its exact variances on a recipe's own images."""

import torch.nn.functional as F

from decoct.core.seeding import random_subset
from decoct.run.pipeline import Run
from decoct.studies.variance.linear_model import (
    flattened,
    linear_model_table,
    linear_model_variance,
)
from decoct.studies.variance.objectives import choose_pictures

_MOST = 500  # images; the time grows with the number of pairs
_DIMENSIONS = 16


def theorem_text(run: Run) -> str:
    """A table for up to 500 of the images, 16 components each, with labels if a task has them."""
    task = run.tasks[0] if run.tasks else None
    pictures = choose_pictures(images=run.images, targets=run.targets, task=task)
    images = pictures.images if pictures.labelled is None else pictures.labelled
    chosen = random_subset(total=len(images), count=min(_MOST, len(images)), seed=run.recipe.seed)
    if images.labels is None:
        values, what = pictures.targets[chosen], "the teacher's targets"
    else:
        values, what = F.one_hot(images.labels)[chosen], "labels"
    dimensions = min(_DIMENSIONS, len(chosen) - 1, images.channels * images.size**2)
    rows = linear_model_variance(
        images=flattened(images.subset(chosen), dimensions),
        targets=values,
        batches=[b for b in (16, 64, 256) if b <= len(chosen)],
        seed=run.recipe.seed,
    )
    title = (
        f"The theorem's linear model, exact: {len(chosen)} of the images, {dimensions} components, "
        f"{what};\nprogress: fraction of the loss reduction that full gradient descent has achieved"
    )
    return "\n".join([title, *linear_model_table(rows)])
