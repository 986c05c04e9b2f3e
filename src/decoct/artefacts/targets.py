"""`Targets`: the teacher's representation of every image, on a scale that students learn well."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import safetensors
import torch
from jaxtyping import Float
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.forms import check_forms, understood
from decoct.core.principal import principal_directions
from decoct.core.printable import brief
from decoct.core.readable import check_regular
from decoct.core.settings import CountOrNone, Settings
from decoct.core.shapes import Features, Index, Rows
from decoct.data.images import Images
from decoct.data.numpy_files import numeric_tensor, open_arrays

# What safetensors calls the kinds of numbers that are targets.
_NUMBERS = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


@dataclass(frozen=True)
class TargetsConfig(Settings):
    """Where the representations come from, and the affine map that is applied to them."""

    section: ClassVar[str] = "targets"

    source: str = ""  # a .npy, .npz or .safetensors file of N x D; "": ask the teacher
    components: CountOrNone = 0  # number of principal components; 0: no PCA
    scaling: Literal["overall", "dimension", "none"] = "overall"  # what is given a variance of 1


@dataclass(frozen=True)
class Targets:
    """N x D targets: (representations - shift) @ rotation / scale."""

    values: Rows
    shift: Float[Tensor, " feature"]  # the mean that was subtracted
    rotation: Float[Tensor, "_ _"]  # feature x dimension: principal directions; 0 x 0 without PCA
    scale: Float[Tensor, " dimension"]  # the divisor of each dimension

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dimensions(self) -> int:
        """D."""
        return self.values.shape[1]

    def of(self, representations: Features) -> Rows:
        """Further representations, N x F, as targets: N x D."""
        centred = representations - self.shift
        return (centred @ self.rotation if self.rotation.numel() else centred) / self.scale

    def part(self, index: Index) -> Self:
        """The targets of the images at `index` (int64, m)."""
        return replace(self, values=self.values[index])

    def save(self, path: Path | str) -> None:
        """Write one safetensors file."""
        storage.save_tensors(path, vars(self), kind="targets", meta={})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        with understood(path):
            tensors, _ = storage.load_tensors(path, kind="targets")
            plain = tensors["rotation"].shape == (0, 0)
            check_forms(tensors, _FORMS | (_PLAIN if plain else {}))
            return cls(**tensors)


_FORMS = {"values": "float N D", "shift": "float F", "rotation": "float F D", "scale": "float D"}
_PLAIN = {"shift": "float D", "rotation": "float 0 0"}  # without principal components


def compute_targets(
    *,
    images: Images,
    teacher: Encoder | None = None,
    config: TargetsConfig | None = None,
    device: torch.device | str = "cpu",
) -> Targets:
    """The targets of all images: from the file that `config` names, otherwise from the teacher.

    Raises `DecoctError` if there is neither, or if there is not one target per image.

    >>> from decoct.artefacts.embedded_teacher import embedded_teacher
    >>> pictures = Images.from_array(torch.rand(9, 3, 32, 32))
    >>> compute_targets(images=pictures, teacher=embedded_teacher()).dimensions
    256
    """
    config = config or TargetsConfig()
    if config.source:
        representations = read_representations(Path(config.source))
    elif teacher is not None:
        representations = teacher.embed(images, device=device)
    else:
        raise DecoctError("targets need a teacher, or a file of representations")
    if len(representations) != len(images):
        raise DecoctError(
            f"{config.source or 'the teacher'} gives {len(representations)} targets for "
            f"{len(images)} images; there must be one per image, in the same order"
        )
    return fit_targets(representations, config)


def fit_targets(representations: Features, config: TargetsConfig) -> Targets:
    """Centre, rotate to principal components, and scale N x F representations.

    Scaling `overall` divides by one number, so that the mean variance over dimensions is 1 and
    large directions stay large. `dimension` gives each dimension variance 1. `none` leaves the
    representations as they are (without PCA they are not even centred), as published.

    >>> config = TargetsConfig(components=1)
    >>> fit_targets(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), config).values.abs()
    tensor([[1.],
            [1.]])
    """
    x = representations.double()
    features = x.shape[1]
    if config.components > min(x.shape):
        raise DecoctError(
            f"{config.components} principal components cannot be computed from {len(x)} targets "
            f"of {features} dimensions"
        )
    if bool((x == x[0]).all()):
        raise DecoctError("the targets are constant: the teacher does not distinguish any images")
    plain = config.scaling == "none" and not config.components
    shift = torch.zeros_like(x[0]) if plain else x.mean(0)
    x = x - shift
    rotation = torch.zeros(0, 0, dtype=torch.float64)
    if config.components:
        rotation = principal_directions(x.T @ x, config.components)
        x = x @ rotation
    if config.scaling == "none":
        scale = torch.ones_like(x[0])
    elif config.scaling == "overall":
        scale = x.square().mean().sqrt().repeat(x.shape[1])
    else:
        scale = x.square().mean(0).sqrt().clamp_min(1e-8)
    return Targets(
        values=(x / scale).float(),
        shift=shift.float(),
        rotation=rotation.float(),
        scale=scale.float(),
    )


def read_representations(path: Path) -> Features:
    """N x D float32 from a .npy, .npz or .safetensors file (its first 2-D array of numbers).

    Raises `DecoctError` if there is none, or if it holds numbers that are not finite.
    """
    if path.suffix not in (".npy", ".npz", ".safetensors"):
        raise DecoctError(f"targets file {path} is neither .npy, .npz nor .safetensors")
    check_regular(path)
    found = _from_safetensors(path) if path.suffix == ".safetensors" else _from_numpy(path)
    if found is None:
        raise DecoctError(f"targets file {path} holds no N x D array of numbers")
    if not found.numel():
        raise DecoctError(f"targets file {path} is {len(found)} x {found.shape[1]}: it is empty")
    found = found.float()
    if not bool(found.isfinite().all()):
        raise DecoctError(f"targets file {path} holds non-finite numbers")
    return found


def _from_numpy(path: Path) -> Tensor | None:
    with open_arrays(path) as arrays:
        for array in arrays.values():
            if len(array.shape) == 2 and array.dtype.kind in "fiu":
                return numeric_tensor(array.read())
    return None


def _from_safetensors(path: Path) -> Tensor | None:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                piece = file.get_slice(name)
                if len(piece.get_shape()) == 2 and piece.get_dtype() in _NUMBERS:
                    tensor: Tensor = file.get_tensor(name)
                    return tensor
    except Exception as error:  # safetensors and torch raise several types
        reason = brief(error)
        raise DecoctError(f"targets file {path} cannot be read: {reason}") from error
    return None
