"""What the tensors of each code must be: checked before decoding, as a few can stand for terabytes.

For most codes that is as many numbers as they keep bytes, and some more. Pictures in one colour
take next to nothing, and those that a seed makes take nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from decoct.artefacts.factored import TURNS
from decoct.core.errors import DecoctError
from decoct.core.forms import check_forms

Tensors = Mapping[str, Tensor]
_FEW = 2**26  # numbers that any code may stand for
_MANY = 2**30  # that pictures may stand for, if they keep bytes enough


@dataclass(frozen=True)
class CodeForm:
    """The tensors of a code, how many numbers they stand for, and how many they may."""

    forms: Mapping[str, str]
    numbers: Callable[[Tensors], int]
    a_byte: int = 100  # numbers for each byte that is kept; principal components need the most
    at_least: int = _FEW
    at_most: float = float("inf")

    def check(self, tensors: Tensors) -> None:
        """Raise `DecoctError` for tensors that are not of this code, or stand for too much."""
        check_forms(tensors, self.forms)
        kept = sum(tensor.nbytes for tensor in tensors.values())
        limit = max(self.at_least, min(self.at_most, self.a_byte * kept))
        if not 0 <= self.numbers(tensors) <= limit:
            raise DecoctError(
                f"{kept:,} bytes would be decoded to {self.numbers(tensors):,} numbers; at most "
                f"{limit:,.0f} can be right"
            )


def _values(tensors: Tensors) -> int:
    return tensors["values"].numel()


def _scaled(tensors: Tensors) -> int:
    scale, values = tensors["scale"].shape, tensors["values"].shape
    fits = len(scale) == len(values) and all(
        a in (1, b) for a, b in zip(scale, values, strict=True)
    )
    return values.numel() if fits else -1


def _components(tensors: Tensors) -> int:
    return len(tensors["scores"]) * len(tensors["mean"])


def _words(tensors: Tensors) -> int:
    return tensors["words"].numel() * tensors["books"].shape[2]


def _pictures(tensors: Tensors) -> int:
    count, channels, height, width = tensors["shape"].tolist()
    return _positive(count, channels, height, width)


def _from_seed(tensors: Tensors) -> int:
    count, channels, height, width, _ = tensors["numbers"].tolist()
    return _positive(count, channels, height, width)


def _enlarged(tensors: Tensors) -> int:
    (count, _), (_, channels, low, _) = tensors["coefficients"].shape, tensors["bases"].shape
    return TURNS * _positive(count, channels, max(low, int(tensors["size"])) ** 2)


def _turned(tensors: Tensors) -> int:
    return TURNS * len(tensors["coefficients"]) * tensors["bases"].shape[1]


def _positive(*lengths: int) -> int:
    """The product; -1 if a length is not positive."""
    found = 1
    for length in lengths:
        found *= length
    return found if min(lengths) > 0 else -1


_OF_A_SEED = CodeForm({"numbers": "int 5"}, _from_seed, at_least=2**28)
_SUMS = {
    "weights_in": f"float {TURNS - 1} K V",
    "biases_in": f"float {TURNS - 1} K",
    "weights_out": f"float {TURNS - 1} V K",
    "biases_out": f"float {TURNS - 1} V",
}
CODE_FORMS = {
    "float16": CodeForm({"values": "float *"}, _values),
    "int8": CodeForm({"values": "int8 *", "scale": "float *"}, _scaled),
    "webp": CodeForm(
        {"stream": "uint8 _", "shape": "int 4"}, _pictures, a_byte=5000, at_most=_MANY
    ),
    "pca": CodeForm(
        {
            "scores": "int8 N K",
            "scale": "float K",
            "directions": "float D K",
            "mean": "float D",
            "shape": "int _",
        },
        _components,
    ),
    "pq": CodeForm({"books": "float P _ _", "words": "uint8 _ P", "shape": "int _"}, _words),
    "factored-images": CodeForm(
        {"bases": "float U C L L", "coefficients": "float M U", "size": "int32"},
        _enlarged,
        a_byte=5000,
        at_most=_MANY,
    ),
    "factored-targets": CodeForm(
        {"bases": "float V D", "coefficients": "float M V", **_SUMS}, _turned
    ),
    "blobs": _OF_A_SEED,
    "dead-leaves": _OF_A_SEED,
    "generator": _OF_A_SEED,
}
