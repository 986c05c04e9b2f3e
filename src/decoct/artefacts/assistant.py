"""`Assistant`: a small network that predicts a target for any view of an image."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from decoct.artefacts.old_formats import upgraded
from decoct.core import checkpoint, storage
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

    @torch.no_grad()
    def label(self, views: Pictures, *, batch: int = 512) -> Rows:
        """A target for each view: B x C x H x W in [0, 1] to B x D, on the views' device."""
        network = self.network.to(views.device).eval()
        mean, std = (t.to(views.device).view(1, -1, 1, 1) for t in (self.mean, self.std))
        return torch.cat([network((part - mean) / std) for part in views.split(batch)])

    def save(self, path: Path | str) -> None:
        """Write one safetensors file."""
        tensors = checkpoint.module_tensors("network", self.network)
        meta = {
            "config": asdict(self.config),
            "size": self.size,
            "outputs": self.outputs,
            "provenance": self.provenance,
        }
        storage.save_tensors(
            path, {**tensors, "mean": self.mean, "std": self.std}, kind="assistant", meta=meta
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file."""
        tensors, meta = upgraded(*storage.load_tensors(path, kind="assistant"))
        config, mean, std = NetworkConfig(**meta["config"]), tensors.pop("mean"), tensors.pop("std")
        network = create_network(
            config, channels=len(mean), size=meta["size"], outputs=meta["outputs"]
        )
        checkpoint.restore_module("network", network, tensors)
        return cls(
            network=network.eval(),
            config=config,
            size=meta["size"],
            mean=mean,
            std=std,
            outputs=meta["outputs"],
            provenance=meta["provenance"],
        )
