"""Any timm network with decoct's interface (extra: timm)."""

from typing import Any

from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.models.network import Network


def timm_network(name: str, *, channels: int, outputs: int, pretrained: bool = False) -> Network:
    """The network that timm calls `name`, with its classifier replaced by a linear head."""
    timm: Any = import_extra("timm", extra="timm", package="timm")
    try:
        body = timm.create_model(name, pretrained=pretrained, in_chans=channels, num_classes=0)
    except Exception as error:  # timm and the hub raise many types
        raise DecoctError(f"timm could not provide {name}: {error}") from error
    return Network(body, features=body.num_features, outputs=outputs)
