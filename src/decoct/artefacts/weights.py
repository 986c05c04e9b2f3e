"""A network from a file: it takes no more memory than the file's own weights do."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from decoct.core.errors import DecoctError
from decoct.core.forms import check_forms, typed
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network

STATISTICS = {"mean": "float C", "std": "float C"}  # of the channels of what it sees
_LARGEST = 4096  # pixels: the side of an input that a file may ask for


class _Unfilled(TorchFunctionMode):
    """Leaves weights as they are made: to fill some without memory, torch loads its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def network_config(content: Any, *, trusted: bool = False) -> NetworkConfig:
    """Which network a file says that it is; raises `DecoctError` for what none can be.

    `timm:hf-hub:NAME` and `timm:local-dir:FOLDER` would read what the file names, from the network
    or from the disk. That is only done for a file that is `trusted`.
    """
    config: NetworkConfig = typed(content, NetworkConfig)
    if ":" in config.name.removeprefix("timm:") and not trusted:
        raise DecoctError(
            f"its network is {config.name}, which is not in the file and would be read from "
            "elsewhere; if you trust whoever made it, load it in Python with trusted=True"
        )
    return config


def restored(
    weights: Mapping[str, Tensor],
    *,
    config: NetworkConfig,
    channels: int,
    size: Any,
    outputs: Any = None,
) -> Network:
    """A network with these weights, in eval mode; without `outputs` it has no head.

    Raises `DecoctError` for weights of another network before any memory is taken for it.
    """
    size = typed(size, int)
    outputs = None if outputs is None else typed(outputs, int)
    if not 1 <= size <= _LARGEST:
        raise DecoctError(f"images of {size} px are not from 1 to {_LARGEST} px")
    with torch.device("meta"), _Unfilled():
        wanted = _created(config, channels, size, outputs).state_dict()
    sorts = {n: "float" if t.is_floating_point() else "int" for n, t in wanted.items()}
    forms = {n: " ".join([sorts[n], *map(str, t.shape)]) for n, t in wanted.items()}
    try:
        check_forms(weights, forms)
    except DecoctError as error:
        raise DecoctError(f"its weights are not those of {config.name}: {error}") from error
    network = _created(config, channels, size, outputs)
    network.load_state_dict(weights)
    return network.eval()


def _created(config: NetworkConfig, channels: int, size: int, outputs: int | None) -> Network:
    network = create_network(config, channels=channels, size=size, outputs=outputs or 1)
    if outputs is None:
        network.remove_head()
    return network
