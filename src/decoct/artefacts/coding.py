"""`CodingConfig`: in which codes a finished set keeps its targets and its images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from decoct.artefacts.codes import LOSSLESS, Coded, float16, int8, webp
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.target_codes import pca, product_quantised
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.failing_step import all_finite
from decoct.core.settings import Bounds, Count, Settings, Width

_KEPT = "as made"


@dataclass(frozen=True)
class CodingConfig(Settings):
    """How to make a set smaller once it is made; it then trains on what the codes give back.

    `pca` keeps so many `components` of the targets, eight bits each. `pq` (product quantisation,
    Jegou et al. 2011) replaces every `dimensions` numbers of a target by one byte.
    """

    section: ClassVar[str] = "coding"

    targets: Literal["as made", "float16", "int8", "pca", "pq"] = "as made"  # how targets are kept
    components: Count = 32  # of pca
    dimensions: Width = 4  # of pq: numbers for each byte
    images: Literal["as made", "webp", "int8"] = "as made"  # webp: if real; int8: if learnt
    quality: Annotated[int, Bounds(at_least=1, at_most=LOSSLESS)] = LOSSLESS  # of WebP


def compact(distilled: DistilledSet, config: CodingConfig) -> DistilledSet:
    """The same set in the codes that `config` asks for; parts that are coded already stay.

    >>> import torch
    >>> from decoct.artefacts.rule import TrainingRule
    >>> found = DistilledSet(images=torch.rand(9, 3, 8, 8), targets=torch.randn(9, 5),
    ...                      mean=torch.zeros(3), std=torch.ones(3), rule=TrainingRule(),
    ...                      method="doc")
    >>> compact(found, CodingConfig(targets="float16")).bytes - found.bytes
    -90
    """
    codes: dict[str, Coded] = {}
    if not all_finite([distilled.images, distilled.targets]):
        raise DivergedError(f"the set of {distilled.method} is not finite, so it is not kept")
    stored = distilled.targets.numel() and "targets" not in distilled.coded
    if config.targets != _KEPT and stored:
        codes["targets"] = _targets(distilled.targets.float(), config)
    if "images" not in distilled.coded:
        if config.images == "webp" and distilled.is_real:
            codes["images"] = webp(distilled.pixels(), quality=config.quality)
        if config.images == "int8" and not distilled.is_real:  # real pixels are bytes already
            codes["images"] = int8(distilled.images, axis=1)
    for name, part in codes.items():
        if not all_finite(part.tensors.values()):
            raise DecoctError(
                f"some {name} of {distilled.method} are too large for coding.{name} {part.code}; "
                f"keep them {_KEPT}"
            )
    return distilled.in_code(**codes) if codes else distilled


def _targets(targets: Tensor, config: CodingConfig) -> Coded:
    if config.targets == "float16":
        return float16(targets)
    if config.targets == "int8":
        return int8(targets, axis=-1)
    if config.targets == "pca":
        return Coded("pca", pca(targets, components=min(config.components, targets.shape[-1])))
    return Coded("pq", product_quantised(targets, dimensions=config.dimensions))
