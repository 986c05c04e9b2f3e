"""Codes for many targets: principal components, and product quantisation; with their inverses."""

from collections.abc import Mapping

import sklearn.cluster
import torch
from jaxtyping import Float
from threadpoolctl import threadpool_limits
from torch import Tensor

from decoct.core.principal import principal_directions

_LEVELS = 127  # of int8 on either side of 0
_WORDS = 256  # of a codebook: a byte names one


def pca(targets: Float[Tensor, "..."], *, components: int) -> dict[str, Tensor]:
    """The first principal components of the rows, in eight bits each.

    >>> rows = torch.randn(9, 1) * torch.tensor([1.0, 2.0, 3.0])  # on a line
    >>> bool((from_pca(pca(rows, components=1)) - rows).abs().max() < 0.1)
    True
    """
    rows = targets.flatten(0, -2)
    mean = rows.mean(0)
    centred = rows - mean
    directions = principal_directions((centred.T @ centred).double(), components).to(rows)
    scores = centred @ directions
    scale = (scores.abs().amax(0) / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
    return {
        "scores": (scores / scale).round().to(torch.int8),
        "scale": scale,
        "directions": directions.half(),
        "mean": mean,
        "shape": torch.tensor(targets.shape),
    }


def from_pca(tensors: Mapping[str, Tensor]) -> Tensor:
    """The inverse of `pca`, up to what it leaves out."""
    scores = tensors["scores"].float() * tensors["scale"]
    rows = scores @ tensors["directions"].float().T + tensors["mean"]
    return rows.view(tensors["shape"].tolist())


def product_quantised(targets: Float[Tensor, "..."], *, dimensions: int) -> dict[str, Tensor]:
    """Every `dimensions` numbers of a row as the nearest of at most 256 words: a byte.

    Jegou, Douze & Schmid 2011, "Product quantization for nearest neighbor search". The words are
    the centres of k-means.
    """
    rows = targets.flatten(0, -2)
    parts = rows.split(dimensions, 1)
    count = min(_WORDS, *(len(part.unique(dim=0)) for part in parts))
    books = rows.new_zeros(len(parts), count, dimensions, dtype=torch.float16)
    words = torch.zeros(len(rows), len(parts), dtype=torch.uint8)
    for k, part in enumerate(parts):
        with threadpool_limits(1):  # sums would depend on the number of threads
            found = sklearn.cluster.KMeans(count, n_init=1, random_state=0).fit(part.numpy())
        books[k, :, : part.shape[1]] = torch.from_numpy(found.cluster_centers_).half()
        words[:, k] = torch.from_numpy(found.labels_).to(torch.uint8)
    return {"books": books, "words": words, "shape": torch.tensor(targets.shape)}


def from_product_quantised(tensors: Mapping[str, Tensor]) -> Tensor:
    """The nearest words of `product_quantised`, put together."""
    books, words = tensors["books"].float(), tensors["words"].long()
    rows = torch.cat([book[words[:, k]] for k, book in enumerate(books)], 1)
    shape = tensors["shape"].tolist()
    return rows[:, : shape[-1]].reshape(shape)
