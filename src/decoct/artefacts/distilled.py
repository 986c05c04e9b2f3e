"""`DistilledSet`: a few images and their targets, and how to train on them."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.codes import Coded, pack, unpack
from decoct.artefacts.hub import PREFIX, download
from decoct.artefacts.levels import dequantised, limits_of, quantised
from decoct.artefacts.old_formats import upgraded
from decoct.artefacts.provenance import checked
from decoct.artefacts.rule import TrainingRule
from decoct.core import seeding, storage
from decoct.core.errors import DecoctError
from decoct.core.forms import check_forms, typed, understood
from decoct.core.shapes import ByChannel, Index, Pictures, Pixels, Rows
from decoct.data.images import denormalise, normalise
from decoct.data.stored_views import NUMBERS, FreshViews, plain_views, show_views
from decoct.models.registry import NetworkConfig

_LABELLER = "labeller."  # before the names of its tensors
_FLOAT_IMAGES = {"images", "initial"}  # what `save` may round to uint8


@dataclass(frozen=True)
class DistilledSet(Dataset[tuple[Tensor, Tensor]]):
    """m images with their targets; for a subset of the pool, the images are real.

    As a `torch.utils.data.Dataset` it yields (normalised image C x H x W, target D). If each image
    has V views, it yields the m V views; those of one image are adjacent. If it carries a labeller,
    it yields a fresh random view of an image each time, drawn from torch's global generator, with
    the labeller's target for it.
    """

    images: Pictures  # normalised by mean and std
    targets: Float[Tensor, "*_"]  # m x D (D = 0: none are stored); with views, m x V x D
    mean: ByChannel  # in [0, 1] units
    std: ByChannel
    rule: TrainingRule  # how to train the encoder, unless the user overrides it
    method: str
    views: UInt8[Tensor, "_ _ _"] | None = None  # how to make each view from its image
    labeller: Assistant | None = None  # makes a target for any view
    fresh: FreshViews = field(default_factory=FreshViews)  # the views that a labeller labels
    coded: dict[str, Coded] = field(default_factory=dict)  # images or targets, if compact in a file
    initial: Pictures | None = None  # the real images that learning started from
    index: Int64[Tensor, " image"] | None = None  # positions of those images in the pool
    network: NetworkConfig = field(default_factory=NetworkConfig)  # the student it was made with
    history: dict[str, Tensor] = field(default_factory=dict)  # per iteration: loss, lr
    provenance: dict[str, Any] = field(default_factory=dict)  # settings, versions

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise DecoctError(f"{len(self.targets)} targets for {len(self.images)} images")
        views = None if self.views is None else tuple(self.views.shape)
        targets = tuple(self.targets.shape)
        if views is None and len(targets) != 2:
            raise DecoctError(f"targets must be m x D, not of shape {targets}")
        if self.labeller is not None and self.targets.numel():
            raise DecoctError("a set that carries its labeller stores no targets")
        if views and (len(targets) != 3 or views != (*targets[:2], NUMBERS)):
            raise DecoctError(f"targets of shape {targets} for views of shape {views}")

    def __len__(self) -> int:
        return len(self.images) * self.views_each

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, targets = self.read(torch.tensor([range(len(self))[index]]))
        return images[0], targets[0]

    def __getitems__(self, index: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Called by `DataLoader` for a batch at a time, so that views are made together."""
        return list(zip(*self.read(torch.tensor(index)), strict=True))

    @property
    def views_each(self) -> int:
        """V; 1 if the set stores no views."""
        return 1 if self.views is None else self.views.shape[1]

    def read(self, index: Index, *, rows: slice = slice(None)) -> tuple[Pictures, Rows]:
        """A batch of items, made on the set's device: B indices to B x C x H x W and B x D.

        With `rows`, only these rows of the batch, which are the same as when all are read.
        """
        whole, index = index, index[rows]
        if self.views is None and self.labeller is None:
            return self.images[index], self.targets[index].float()
        mean, std = self.mean.view(1, -1, 1, 1), self.std.view(1, -1, 1, 1)
        pixels = self.images[index // self.views_each] * std + mean
        numbers = self.fresh.draw(len(whole))[rows] if self.views is None else self._numbers(index)
        shown = show_views(pixels, numbers.to(pixels.device))
        if self.labeller is None:
            targets = self.targets.flatten(0, -2)[index].float()
        else:
            targets = self.labeller.label(shown)
        return (shown - mean) / std, targets

    def _numbers(self, index: Index) -> UInt8[Tensor, "item 9"]:
        assert self.views is not None
        return self.views.flatten(0, 1)[index]

    def to(self, device: torch.device | str) -> Self:
        """The same set on another device."""
        names = ("images", "targets", "mean", "std", "views")
        return replace(
            self, **{n: t.to(device) for n in names if (t := getattr(self, n)) is not None}
        )

    @property
    def size(self) -> int:
        """Height, which equals the width, in pixels."""
        return self.images.shape[2]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.images.shape[1]

    @property
    def has_targets(self) -> bool:
        """False if one trains on it by self-supervision, as `provenance["objective"]` says."""
        return self.dimensions > 0

    @property
    def dimensions(self) -> int:
        """D of its targets; 0 if it has none."""
        return self.targets.shape[-1] if self.labeller is None else self.labeller.outputs

    @property
    def bytes(self) -> int:
        """What training on it needs to keep: images, targets, views and labeller.

        Real images count a byte a pixel, coded parts what they take in the file.
        """
        views = 0 if self.views is None else self.views.numel()
        labeller = 0 if self.labeller is None else self.labeller.bytes
        return views + labeller + self._bytes("images") + self._bytes("targets")

    def _bytes(self, name: str) -> int:
        if name in self.coded:
            return self.coded[name].bytes
        values: Tensor = getattr(self, name)
        byte_each = name == "images" and self.is_real
        return values.numel() * (1 if byte_each else values.element_size())

    @property
    def stopped(self) -> str:
        """Where learning stopped because its loss was no longer finite; empty if it did not."""
        config = self.provenance.get("matching") or self.provenance.get("config") or {}
        done, asked = len(self.history.get("loss", ())), config.get("iterations", 0)
        return f"iteration {done} of {asked}" if 0 < done < asked else ""

    @property
    def is_real(self) -> bool:
        """Whether its images are some of the pool's, unchanged."""
        return self.initial is None and self.index is not None

    def in_code(self, **parts: Coded) -> Self:
        """The same set with images or targets as a code keeps them."""
        decoded: dict[str, Any] = {
            name: _decode(name, part, self.mean, self.std) for name, part in parts.items()
        }
        return replace(self, **decoded, coded={**self.coded, **parts})

    def pixels(self) -> Pixels:
        """The images as a person would see them: uint8, m x C x H x W."""
        return denormalise(self.images, self.mean, self.std)

    def initial_pixels(self) -> Pixels | None:
        """The real images that learning started from: uint8, m x C x H x W."""
        return None if self.initial is None else denormalise(self.initial, self.mean, self.std)

    @property
    def has_views(self) -> bool:
        """Whether a network sees its images in several views."""
        return self.views is not None or self.labeller is not None

    def views_shown(self, most: int) -> int:
        """How many views of an image there are to look at: at most `most`; fresh ones never end."""
        return most if self.labeller is not None else min(most, self.views_each)

    def view_pixels(self, *, images: int, views: int) -> Pixels:
        """Views of the first images, as uint8; those of one image are adjacent, itself first."""
        each, images = self.views_shown(views), min(images, len(self.images))
        if self.labeller is None:
            index = torch.arange(images)[:, None] * self.views_each + torch.arange(each)
            return denormalise(self.read(index.flatten())[0], self.mean, self.std)
        with seeding.seeded(0, "views to look at"):
            numbers = self.fresh.draw(images * each)
        numbers[::each] = plain_views(images)
        unit = self.pixels()[:images].repeat_interleave(each, 0).float() / 255
        return (show_views(unit, numbers) * 255).round().to(torch.uint8)

    def save(self, path: Path | str, *, uint8: bool = False) -> None:
        """Write everything to one safetensors file.

        `uint8` rounds images to 256 steps between each channel's smallest and largest value. This
        clips nothing: synthetic pixels go beyond black and white. Real images are unchanged, since
        they have 256 steps already. `load` converts back to float.
        """
        names = ("images", "targets", "mean", "std", "views", "initial", "index")
        wanted = (n for n in names if n not in self.coded)
        tensors = {n: value for n in wanted if (value := getattr(self, n)) is not None}
        if uint8:
            for name in _FLOAT_IMAGES & set(tensors):
                limits = limits_of(tensors[name], self.mean, self.std)
                tensors[f"{name}.uint8"] = quantised(tensors.pop(name), limits)
                tensors[f"{name}.range"] = limits
        tensors |= {f"history.{name}": values for name, values in self.history.items()}
        packed, codes = pack(self.coded)
        labeller, labeller_meta = self._labeller()
        meta = {
            "rule": asdict(self.rule),
            "method": self.method,
            "network": asdict(self.network),
            "provenance": self.provenance,
            "codes": codes,
            "labeller": labeller_meta,
        }
        storage.save_tensors(path, tensors | packed | labeller, kind="distilled", meta=meta)

    def _labeller(self) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
        if self.labeller is None:
            return {}, None
        tensors, meta = self.labeller.tensors()
        named = {f"{_LABELLER}{name}": value for name, value in tensors.items()}
        return named, {**meta, "fresh": asdict(self.fresh)}

    @classmethod
    def load(cls, path: Path | str, *, trusted: bool = False) -> Self:
        """Read what `save` wrote; raises `DecoctError` for a damaged file.

        Only a `trusted` file may name a labeller that lies elsewhere (`timm:hf-hub:...`).
        """
        with understood(path):
            found = upgraded(*storage.load_tensors(path, kind="distilled"))
            return cls._of(*found, trusted=trusted)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], meta: dict[str, Any], *, trusted: bool) -> Self:
        carried = _carried(tensors, meta.get("labeller"), trusted)
        coded = unpack(tensors, meta.get("codes", {}))
        history = {
            name.removeprefix("history."): tensors.pop(name)
            for name in list(tensors)
            if name.startswith("history.")
        }
        check_forms(history, dict.fromkeys(history, "float _"))
        check_forms(tensors, _STORED)
        for name in (name for name in _FLOAT_IMAGES if f"{name}.uint8" in tensors):
            tensors[name] = dequantised(tensors.pop(f"{name}.uint8"), tensors.pop(f"{name}.range"))
        for name, part in coded.items():
            tensors[name] = _decode(name, part, tensors["mean"], tensors["std"])
        check_forms(tensors, _USED)
        content: dict[str, Any] = {**tensors, **carried}
        found = cls(
            **content,
            coded=coded,
            rule=typed(meta["rule"], TrainingRule),
            method=typed(meta["method"], str),
            network=typed(meta["network"], NetworkConfig),
            history=history,
            provenance=checked(meta["provenance"]),
        )
        _check_together(found)
        return found


# What a file holds besides coded images and targets, the labeller and the history
_STORED = {
    "images?": "float M C S S",
    "images.uint8?": "uint8 M C S S",
    "images.range?": "float 2 C",
    "targets?": "float _ *",
    "mean": "float C",
    "std": "float C",
    "views?": f"uint8 _ _ {NUMBERS}",
    "initial?": "float I C S S",
    "initial.uint8?": "uint8 I C S S",
    "initial.range?": "float 2 C",
    "index?": "int _",
}
_USED = {
    "images": "float M C S S",
    "targets": "float M *",
    "mean": "float C",
    "std": "float C",
    "views?": f"uint8 M V {NUMBERS}",
    "initial?": "float M C S S",
    "index?": "int M",
}


def _check_together(distilled: DistilledSet) -> None:
    """Raise `DecoctError` for parts that cannot belong to one set."""
    labeller, index = distilled.labeller, distilled.index
    if labeller and (labeller.size, len(labeller.mean)) != (distilled.size, distilled.channels):
        raise DecoctError("its labeller takes images of another size or number of channels")
    if index is not None and len(index) and int(index.min()) < 0:
        raise DecoctError("its index names images before the first")
    if not distilled.has_targets and "algorithm" not in distilled.provenance.get("objective", {}):
        raise DecoctError("it has neither targets nor an objective to train on it without")


def _carried(
    tensors: dict[str, Tensor], meta: dict[str, Any] | None, trusted: bool
) -> dict[str, Any]:
    """Take the labeller and its views out of a file's content, if there is one."""
    if meta is None:
        return {}
    own = [name for name in tensors if name.startswith(_LABELLER)]
    weights = {n.removeprefix(_LABELLER): tensors.pop(n) for n in own}
    labeller = Assistant.of(weights, meta, trusted=trusted)
    return {"labeller": labeller, "fresh": typed(meta["fresh"], FreshViews)}


def _decode(name: str, part: Coded, mean: Tensor, std: Tensor) -> Tensor:
    """What a code gives back; pixels are normalised."""
    values = part.decode()
    pixels = name == "images" and values.dtype == torch.uint8
    return normalise(values, mean, std) if pixels else values


def load_distilled(path: Path | str) -> DistilledSet:
    """A distilled set from its file, ready for a `torch.utils.data.DataLoader`.

    `hf:OWNER/NAME` is a set on the Hugging Face hub, `hf:OWNER/NAME@REVISION` one version of it;
    it is downloaded once and then kept in the cache of `huggingface_hub`. Raises `DecoctError` for
    a file that is missing, damaged or of another kind.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "distilled.safetensors"
    >>> rule = TrainingRule(lr=0.1, momentum=0.0, weight_decay=0.0, batch=2)
    >>> DistilledSet(images=torch.rand(2, 3, 8, 8), targets=torch.rand(2, 5), rule=rule,
    ...              mean=torch.zeros(3), std=torch.ones(3), method="mkdt").save(path)
    >>> len(load_distilled(path))
    2
    """
    return DistilledSet.load(download(str(path)) if str(path).startswith(PREFIX) else path)


def resolve_size(*, size: int, fraction: float, total: int) -> int:
    """How many images a set has: `size` if it is not 0, else a fraction of `total`.

    >>> resolve_size(size=0, fraction=0.02, total=18880)
    378
    """
    if size < 0 or size > total:
        raise DecoctError(f"a distilled set of {size} images cannot be made from {total}")
    if size == 0 and not 0 < fraction <= 1:
        raise DecoctError(f"distilled fraction {fraction} is outside (0, 1]")
    count = size or round(fraction * total)
    if count < 1:
        raise DecoctError(f"{fraction:.3g} of {total} images is a distilled set of 0; ask for more")
    return count
