"""Any timm network with decoct's interface (extra: timm)."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.models.network import Network

_SIZES = (32, 64, 96, 112, 128, 160, 192, 224, 256, 299, 384)  # px that a refusal may suggest


def timm_network(
    name: str, *, channels: int, outputs: int, size: int | None = None, pretrained: bool = False
) -> Network:
    """The network that timm calls `name`, for images of `size` px, with a fresh linear head.

    Default size: that of its pre-training. Raises `DecoctError` if timm has no such network or
    weights, or if the network cannot take such images.
    """
    fitting = _fitting(name, channels, size or timm_input(name).size)
    body = _create(name, channels, pretrained=pretrained, **fitting.arguments)
    return Network(body, features=fitting.features, outputs=outputs)


@dataclass(frozen=True)
class TimmInput:
    """What a network was pre-trained to see: the side in pixels, and statistics in [0, 1] units."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    architecture: str  # a name that rebuilds the network without its weights, if there is one


@cache
def timm_input(name: str) -> TimmInput:
    """What timm's configuration of a colour network says about its input.

    Two things are not used: the resampling, which is bicubic here as for most of them, and
    `crop_pct`: the images of a pool are square already, and their edges count too.
    """
    with torch.device("meta"):
        body = _create(name, 3)
    timm_data: Any = import_extra("timm.data", extra="timm", package="timm")
    data: dict[str, Any] = timm_data.resolve_model_data_config(body)
    # A saved network may have been made for another size than timm's configuration says.
    made_for = getattr(body, "_model_args", {}).get("img_size") or data["input_size"][-1]
    return TimmInput(
        size=made_for if isinstance(made_for, int) else int(made_for[-1]),
        mean=tuple(map(float, data["mean"])),
        std=tuple(map(float, data["std"])),
        architecture=_architecture(name, body),
    )


def _architecture(name: str, body: nn.Module) -> str:
    """For a folder or a repository, the name of its network in timm, unless it changes that."""
    if ":" not in name:
        return name
    plain = str(body.pretrained_cfg["architecture"])  # type: ignore[index]
    with torch.device("meta"):
        usual = _create(plain, 3)
    return plain if repr(body) == repr(usual) and _pooling(body) == _pooling(usual) else name


def _pooling(body: nn.Module) -> str:
    return str(getattr(body, "global_pool", ""))  # a transformer's is no module: not in its text


@dataclass(frozen=True)
class _Fitting:
    """What timm is told to make a network for images of a size, and how many features come out."""

    arguments: dict[str, int]
    features: int


@cache
def _fitting(name: str, channels: int, size: int) -> _Fitting:
    given = timm_input(name)  # raises if timm has no such network
    found = _tried(name, channels, size)
    if isinstance(found, _Fitting):
        return found
    larger = (s for s in (*_SIZES, given.size) if s > size)
    enough = next((s for s in larger if isinstance(_tried(name, channels, s), _Fitting)), None)
    advice = f"it can take {enough} px" if enough else "choose another network"
    raise DecoctError(f"timm:{name} cannot take images of {size} px{found}; {advice}")


def timm_arguments(name: str, *, channels: int, size: int) -> dict[str, int]:
    """What `timm.create_model` is told to make a network without a head for such images."""
    return {"num_classes": 0, "in_chans": channels, **_fitting(name, channels, size).arguments}


def _tried(name: str, channels: int, size: int) -> _Fitting | str:
    """How the network takes such images, or why it does not.

    It is tried on a device without memory, which costs little and draws no random numbers. What
    comes out is measured, because no attribute holds it for all of timm's networks.
    """
    reasons = []
    # Transformers and mixers are made for one size; most convolutional networks know no `img_size`.
    for arguments in ({"img_size": size}, {}):
        try:
            with torch.device("meta"), torch.no_grad():
                body = _made(name, channels, **arguments).eval()
                features = body(torch.zeros(2, channels, size, size))
        except Exception as error:  # each network fails in its own way
            reasons.append(" ".join(str(error).split()))
            continue
        if isinstance(features, Tensor) and features.ndim == 2:
            return _Fitting(arguments, features.shape[1])
        reasons.append("it gives no vector for an image")
    return next((f" ({r.rstrip('.')})" for r in reasons if r and "'img_size'" not in r), "")


def _create(name: str, channels: int, **arguments: Any) -> nn.Module:
    try:
        return _made(name, channels, **arguments)
    except Exception as error:  # timm and the hub raise many types
        raise DecoctError(f"timm could not provide {name}: {error}") from error


def _made(name: str, channels: int, **arguments: Any) -> nn.Module:
    timm: Any = import_extra("timm", extra="timm", package="timm")
    made: nn.Module = timm.create_model(name, in_chans=channels, num_classes=0, **arguments)
    return made
