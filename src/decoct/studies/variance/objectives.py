"""Six objectives for one network and one set of images, with one interface."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.core.on_disk import chunks_of
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import (
    FlatLoss,
    InnerGradient,
    distillation_loss,
    flat_network,
)
from decoct.methods.mtt_ssl import flat_loss
from decoct.models.network import Network
from decoct.training.objective import SSL_LOSSES, Objective

Name = Literal[
    "supervised", "distillation", "spectral_contrastive", "barlow_twins", "simclr", "vicreg"
]
NAMES: tuple[Name, ...] = get_args(Name)
_ENOUGH = 200  # if the pool has this many labelled pictures, all objectives are measured on them


@dataclass(frozen=True)
class Problem:
    """One objective, the images on which it is measured, and its values for them."""

    name: Name
    images: Images
    values: Tensor  # N x D: targets, one-hot labels, or N x 0 for self-supervision
    outputs: int  # of the network's head
    loss: Callable[[Network], FlatLoss]

    @property
    def augmented(self) -> bool:
        """Whether the loss draws views of the images."""
        return self.name in SSL_LOSSES

    def inner(self, network: Network, dtype: torch.dtype | None = None) -> InnerGradient:
        """The gradient for flat parameters: by hand for distillation, otherwise by autograd."""
        if self.name == "distillation":
            return InnerGradient.by_hand(ConvNetGradient(network, dtype=dtype))
        return InnerGradient.by_autograd(self.loss(network))

    def to(self, device: torch.device) -> Self:
        """The same with images and values on `device`."""
        return replace(self, images=self.images.to(device), values=self.values.to(device))


@dataclass(frozen=True)
class Pictures:
    """The images on which the objectives are measured: the same for all of them, if possible."""

    images: Images
    targets: Tensor  # N x D
    labelled: Images | None  # with labels: `images`, or the task's own if too few are in the pool
    notes: tuple[str, ...] = ()


def choose_pictures(*, images: Images, targets: Targets, task: Task | None) -> Pictures:
    """The rows of the pool that the task labels, found by their pixels.

    If these are fewer than 200: the whole pool, and for labels the task's own images. All are
    normalised by the pool's statistics.

    >>> pool = Images.from_array(torch.rand(8, 3, 8, 8))
    >>> given = Targets(torch.rand(8, 2), torch.zeros(2), torch.zeros(0, 0), torch.ones(2))
    >>> choose_pictures(images=pool, targets=given, task=None).notes
    ('supervised is skipped: the recipe names no task (compare.tasks)',)
    """
    if task is None:
        why = "supervised is skipped: the recipe names no task (compare.tasks)"
        return Pictures(images, targets.values, None, (why,))
    rows, labels = labelled_rows(images, task)
    if len(rows) >= _ENOUGH:
        chosen = replace(images.subset(rows), labels=labels)
        return Pictures(chosen, targets.values[rows], chosen)
    why = (
        f"supervised is measured on the {len(task.train)} training images of {task.name}, the "
        f"others on the pool, which contains only {len(rows)} of these images"
    )
    own = task.train.with_statistics(images.mean, images.std)
    return Pictures(images, targets.values, own, (why,))


def labelled_rows(images: Images, task: Task) -> tuple[Tensor, Tensor]:
    """Rows of `images` (int64, m, increasing) equal to a training image, with their labels.

    If a picture occurs more than once, its first row and its first label count.
    """
    labels: dict[bytes, int] = {}
    for content, label in zip(_bytes(task.train), task.train_labels.tolist(), strict=True):
        labels.setdefault(content, label)
    first: dict[bytes, int] = {}
    for row, content in enumerate(_bytes(images)):
        if content in labels:
            first.setdefault(content, row)
    found = [labels[content] for content in first]
    return torch.tensor(list(first.values()), dtype=torch.int64), torch.tensor(found)


def _bytes(images: Images) -> Iterator[bytes]:
    """Each picture as bytes, for finding equal ones."""
    for chunk in chunks_of(images.pixels, f"reading {images.name}"):
        for pixels in chunk.cpu():
            yield pixels.numpy().tobytes()


def make_problem(name: Name, pictures: Pictures, *, objective: Objective) -> Problem:
    """One objective on `pictures`; views and the projector's width are those of `objective`.

    The caller skips `supervised` if there are no labels.
    """
    if name == "distillation":
        targets = pictures.targets
        return Problem(name, pictures.images, targets, targets.shape[1], distillation_loss)
    if name == "supervised":
        images = pictures.labelled
        assert images is not None and images.labels is not None
        values = F.one_hot(images.labels).float()
        return Problem(name, images, values, values.shape[1], supervised_loss)
    own = replace(objective, algorithm=name)
    images = pictures.images
    return Problem(
        name,
        images,
        torch.zeros(len(images), 0),
        own.projector,
        lambda network: flat_loss(network, images, own),
    )


def supervised_loss(network: Network) -> FlatLoss:
    """Cross-entropy to class probabilities (B x classes), as a function of flat parameters."""
    forward = flat_network(network)

    def loss(theta: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(forward(theta, images), targets)

    return loss
