"""`Encoder`: a network without its head, with its own normalisation and input size.

A teacher is an encoder, and pre-training on a distilled set returns one.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from decoct.artefacts.old_formats import upgraded
from decoct.artefacts.provenance import checked
from decoct.artefacts.weights import STATISTICS, network_config, restored
from decoct.core import checkpoint, ranks, storage
from decoct.core.console import progress
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.failing_step import all_finite
from decoct.core.forms import check_forms, understood
from decoct.core.shapes import ByChannel, Features, Pixels
from decoct.data.arrays import convert_channels, resize_and_crop
from decoct.data.images import Images, normalise
from decoct.data.stream import stream_pixels
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig


@dataclass(frozen=True)
class Encoder:
    """A frozen network with its own preprocessing: uint8 images in, representations out."""

    network: Network
    config: NetworkConfig
    size: int  # pixels; images of another size are resized to it
    mean: ByChannel  # in [0, 1] units
    std: ByChannel
    provenance: dict[str, Any] = field(default_factory=dict)  # how it was trained

    @property
    def channels(self) -> int:
        """The number of channels that the network takes."""
        return len(self.mean)

    @torch.no_grad()  # not inference_mode: users may train on the result
    def embed(
        self, images: Images, *, device: torch.device | str = "cpu", batch: int = 512
    ) -> Features:
        """Representations of the un-augmented images, in eval mode: N x F float32, on the CPU.

        Ranks divide the batches, and each returns all rows: they must all call it, or one `alone`.
        """
        device, rows = torch.device(device), []
        batches = ranks.share(torch.arange(len(images)).split(batch))
        fits = images.size == self.size  # otherwise resize on the CPU: same result on every device
        with progress("representing images", total=len(batches)) as advance:
            for _, chunk in stream_pixels(images, batches, device=device if fits else "cpu"):
                rows.append(self.embed_pixels(chunk, device=device))
                advance("")
        row = torch.zeros(self.network.feature_count, dtype=torch.float32)
        return ranks.batches_in_order(rows, total=len(images), batch=batch, row=row)

    @torch.no_grad()
    def embed_pixels(self, pixels: Pixels, *, device: torch.device | str = "cpu") -> Features:
        """As `embed`, for one batch of uint8 pixels, B x C x H x W, of any size: B x F.

        Raises `DivergedError` if the features are not finite.
        """
        network = self.network.to(device).eval()
        mean, std = self.mean.to(device), self.std.to(device)
        pixels = resize_and_crop(convert_channels(pixels, self.channels), self.size).to(device)
        features: Features = network.features(normalise(pixels, mean, std)).float().cpu()
        if not all_finite([features]):
            raise DivergedError(self._why_not_finite())
        return features

    def _why_not_finite(self) -> str:
        weights = self.network.body.state_dict()
        lost = next((name for name, values in weights.items() if not all_finite([values])), "")
        because = f"its {lost} is not" if lost else "its weights are too large for these images"
        return (
            f"the features of a {self.config.name} are not finite: {because}; train it with a "
            "lower learning rate, or use another file"
        )

    def save(self, path: Path | str, *, dtype: torch.dtype = torch.float32) -> None:
        """Write one safetensors file; with `dtype` float16 it is half as large."""
        body = checkpoint.module_tensors("body", self.network.body)
        stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in body.items()}
        if all_finite(body.values()) and not all_finite(stored.values()):
            raise DecoctError(f"{path}: a weight is too large for {dtype}; save it as float32")
        meta = {"config": asdict(self.config), "size": self.size, "provenance": self.provenance}
        tensors = {**stored, "mean": self.mean, "std": self.std}
        storage.save_tensors(path, tensors, kind="encoder", meta=meta)

    @classmethod
    def load(cls, path: Path | str, *, trusted: bool = False) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file.

        Only a `trusted` file may name a network that lies elsewhere (`timm:hf-hub:...`).
        """
        with understood(path):
            tensors, meta = upgraded(*storage.load_tensors(path, kind="encoder"))
            own = {name: tensors.pop(name) for name in STATISTICS}
            check_forms(own, STATISTICS)
            config = network_config(meta["config"], trusted=trusted)
            network = restored(tensors, config=config, channels=len(own["mean"]), size=meta["size"])
            return cls(
                network=network,
                config=config,
                size=meta["size"],
                provenance=checked(meta["provenance"]),
                **own,
            )


def load_encoder(path: Path | str, *, trusted: bool = False) -> Encoder:
    """An encoder from its file, or from a folder (a stage's, a run's) that holds exactly one.

    Its network is made of decoct's or timm's code; only a `trusted` file may name one that is read
    from elsewhere (`timm:hf-hub:...`). Raises `DecoctError` if there is none, or more than one, or
    it is damaged.
    """
    return Encoder.load(encoder_file(Path(path)), trusted=trusted)


def encoder_file(path: Path) -> Path:
    """The file that `load_encoder` reads."""
    if not path.is_dir():
        return path
    for pattern in _PLACES:
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(str(file.parent.relative_to(path)) for file in found[:_NAMED])
            names += ", ..." * (len(found) > _NAMED)
            raise DecoctError(
                f"{path} holds {len(found)} encoders; name the folder of one: {names}"
            )
    raise DecoctError(f"{path} holds no encoder; name its file, or the run that made it")


_NAMED = 6  # folders that an error lists
# Where a folder's encoder is looked for, until one is found.
_PLACES = (
    "encoder.safetensors",
    "teacher.safetensors",
    "*/encoder.safetensors",
    "*/teacher.safetensors",
)
