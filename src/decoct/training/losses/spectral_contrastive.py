"""The spectral contrastive loss (HaoChen et al. 2021, arXiv 2106.04156): matrix factorisation."""

import torch

from decoct.core.shapes import Features, Scalar


def spectral_contrastive_loss(first: Features, second: Features) -> Scalar:
    """-2 E z.z+ + E (z.z')^2: views of an image agree, those of distinct images are orthogonal.

    `first` and `second` are the B x D embeddings of two views of the same images (eq. 6 of the
    paper). The second mean is over all ordered pairs of distinct images of the batch and, for each
    pair, all four pairs of views: a U-statistic, and therefore unbiased. A scalar.

    >>> z = torch.eye(2)
    >>> spectral_contrastive_loss(z, z).item()
    -2.0
    """
    count = len(first)
    agreement = (first * second).sum(1).mean()
    views = torch.stack([first, second])
    products = torch.einsum("aid,bjd->abij", views, views).square()
    strangers = products.sum() - products.diagonal(dim1=2, dim2=3).sum()
    return strangers / (4 * count * (count - 1)) - 2 * agreement
