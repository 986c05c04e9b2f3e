"""SimCLR (Chen et al. 2020, arXiv 2002.05709): tell an image's other view from all other views."""

import torch
import torch.nn.functional as F

from decoct.core.shapes import Features, Scalar


def simclr_loss(first: Features, second: Features, *, temperature: float = 0.5) -> Scalar:
    """The normalised, temperature-scaled cross-entropy, NT-Xent (eq. 1 of the paper). A scalar.

    `first` and `second` are the B x D embeddings of two views of the same images.

    >>> z = torch.eye(2)
    >>> round(simclr_loss(z, z, temperature=1.0).item(), 4)  # -log(e / (e + 1 + 1))
    0.5514
    """
    z = F.normalize(torch.cat([first, second]), dim=1)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(
        torch.eye(len(z), dtype=torch.bool, device=z.device), float("-inf")
    )
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity, partner)
