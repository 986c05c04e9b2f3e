"""`Assistant`: a small network that predicts a target for any view of an image."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from decoct.artefacts.codes import Coded, float16, int8, pack, unpack
from decoct.artefacts.old_formats import upgraded
from decoct.artefacts.provenance import checked
from decoct.artefacts.weights import STATISTICS, network_config, restored
from decoct.core import checkpoint, storage
from decoct.core.forms import check_forms, typed, understood
from decoct.core.shapes import ByChannel, Pictures, Rows
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network


@dataclass(frozen=True)
class Assistant:
    """A network with its head and its own normalisation."""

    network: Network
    config: NetworkConfig
    size: int  # pixels
    mean: ByChannel  # in [0, 1] units
    std: ByChannel
    outputs: int  # D
    provenance: dict[str, Any] = field(default_factory=dict)
    coded: dict[str, Coded] = field(default_factory=dict)  # weights by name, if they are compact

    @torch.no_grad()
    def label(self, views: Pictures, *, batch: int = 512) -> Rows:
        """A target for each view: B x C x H x W in [0, 1] to B x D, on the views' device."""
        if not len(views):  # not every network takes an empty batch
            return views.new_zeros(0, self.outputs)
        network = self.network
        if network.training or next(network.parameters()).device != views.device:
            network = network.to(views.device).eval()  # walks all modules: not at every step
        mean, std = (t.to(views.device).view(1, -1, 1, 1) for t in (self.mean, self.std))
        return torch.cat([network((part - mean) / std) for part in views.split(batch)])

    @property
    def bytes(self) -> int:
        """What its weights take in a file."""
        weights = self.network.state_dict()
        plain = [t for name, t in weights.items() if name not in self.coded]
        return sum(part.bytes for part in self.coded.values()) + sum(int(t.nbytes) for t in plain)

    def compact(self, code: Literal["float32", "float16", "int8"]) -> Self:
        """The same network with rounded weights; int8 has a scale for each row of a matrix."""
        if code == "float32":
            return self
        weights = self.network.state_dict()
        numbers = {name: t for name, t in weights.items() if t.is_floating_point()}
        coded = {
            # vectors are few, and statistics of batch norm have a wide range
            name: int8(t) if code == "int8" and t.dim() > 1 else float16(t)
            for name, t in numbers.items()
        }
        return replace(self, network=self._network(weights, coded), coded=coded)

    def _network(self, weights: Mapping[str, Tensor], coded: Mapping[str, Coded]) -> Network:
        network = create_network(
            self.config, channels=len(self.mean), size=self.size, outputs=self.outputs
        )
        network.load_state_dict({**weights, **{n: part.decode() for n, part in coded.items()}})
        return network.eval()

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a file keeps: tensors by name, and the metadata."""
        weights = checkpoint.module_tensors("network", self.network)
        plain = {n: t for n, t in weights.items() if n.removeprefix("network.") not in self.coded}
        packed, codes = pack({f"network.{name}": part for name, part in self.coded.items()})
        meta = {
            "config": asdict(self.config),
            "size": self.size,
            "outputs": self.outputs,
            "provenance": self.provenance,
            "codes": codes,
        }
        return {**plain, **packed, "mean": self.mean, "std": self.std}, meta

    @classmethod
    def of(cls, tensors: dict[str, Tensor], meta: dict[str, Any], *, trusted: bool = False) -> Self:
        """The assistant that `tensors` described; raises `DecoctError` if they describe none."""
        own = {name: tensors.pop(name) for name in STATISTICS}
        check_forms(own, STATISTICS)
        config, outputs = (
            network_config(meta["config"], trusted=trusted),
            typed(meta["outputs"], int),
        )
        coded = unpack(tensors, meta.get("codes", {}))
        weights = {**tensors, **{name: part.decode() for name, part in coded.items()}}
        network = restored(
            {name.removeprefix("network."): value for name, value in weights.items()},
            config=config,
            channels=len(own["mean"]),
            size=meta["size"],
            outputs=outputs,
        )
        return cls(
            network=network,
            config=config,
            size=meta["size"],
            outputs=outputs,
            provenance=checked(meta["provenance"]),
            coded={name.removeprefix("network."): part for name, part in coded.items()},
            **own,
        )

    def save(self, path: Path | str) -> None:
        """Write one safetensors file."""
        tensors, meta = self.tensors()
        storage.save_tensors(path, tensors, kind="assistant", meta=meta)

    @classmethod
    def load(cls, path: Path | str, *, trusted: bool = False) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file.

        Only a `trusted` file may name a network that lies elsewhere (`timm:hf-hub:...`).
        """
        with understood(path):
            found = upgraded(*storage.load_tensors(path, kind="assistant"))
            return cls.of(*found, trusted=trusted)
