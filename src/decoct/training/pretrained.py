"""Teachers that the user brings: timm's, or a checkpoint."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from decoct.artefacts.embedded_teacher import embedded_teacher
from decoct.artefacts.encoder import Encoder
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.printable import brief
from decoct.core.readable import check_name, check_regular
from decoct.data.fingerprint import fingerprint
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.timm_network import TimmInput, timm_input, timm_network
from decoct.training.state_dicts import check_finite, check_plain, read_state_dict

_FOLDER = "timm:local-dir:"
_OF_TIMM = (".json", ".safetensors", ".bin", ".pt", ".pth", ".npz", ".npy")  # what timm opens
_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # a switch of torch's
_WRAPPERS = ("module.", "backbone.", "encoder.", "body.", "net.")  # prefixes from training code
_NESTED = 8  # of them at most, one in the other
_HEADS = ("fc.", "head.", "projector.", "projection_head.", "classifier.")


def load_teacher(
    source: str, *, images: Images, network: NetworkConfig, size: int | None = None
) -> Encoder:
    """A teacher from `embedded`, `timm:NAME`, an encoder file of ours, or a state dict.

    A `.safetensors` or `.pt` state dict is loaded into `network` with `weights_only=True`. Such a
    file does not contain its preprocessing: for a network of timm's it is that of timm's own
    weights, otherwise the input has the size and the statistics of `images`. `size`, in pixels,
    replaces the size of either, and of `timm:NAME`. Raises `DecoctError` if it cannot be read or
    does not fit.
    """
    if source == "embedded":
        return embedded_teacher()
    if source.startswith("timm:"):
        return _timm_teacher(source.partition(":")[2], channels=images.channels, size=size)
    check_name(source)
    path = Path(source)
    if not path.exists():
        raise DecoctError(
            f"teacher {source} does not exist; use embedded, timm:NAME or a checkpoint file"
        )
    check_regular(path)
    if path.suffix == ".safetensors" and _is_ours(path):
        return Encoder.load(path)
    side, mean, std = size or images.size, images.mean, images.std
    if network.name.startswith("timm:"):
        given = timm_input(network.name.partition(":")[2])
        side, (mean, std) = size or given.size, _statistics(given, images.channels)
    model = create_network(network, channels=images.channels, size=side, outputs=1)
    model.remove_head()
    _load_body(model.body, read_state_dict(path), path)
    return Encoder(
        network=model.eval(),
        config=network,
        size=side,
        mean=mean,
        std=std,
        provenance={"source": str(path)},
    )


def teacher_fingerprint(source: str) -> str:
    """A digest that changes when the file of a teacher does, or one in the folder of timm's.

    >>> teacher_fingerprint("timm:resnet18") == teacher_fingerprint("timm:resnet34")
    False
    """
    if not source.startswith(_FOLDER):
        return fingerprint(source)
    files = _files_of_timm(Path(source.removeprefix(_FOLDER)))
    return storage.digest([(file.name, fingerprint(file)) for file in files])


def _files_of_timm(folder: Path) -> list[Path]:
    """The configuration and the weights in a folder that timm reads."""
    check_name(str(folder))
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.suffix in _OF_TIMM and not f.is_dir())


def _is_ours(path: Path) -> bool:
    try:
        storage.read_header(path)
    except DecoctError:
        return False
    return True


def _load_body(body: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = body.state_dict()
    given = _without_wrappers(state, wanted, path)
    for name in filter(given.__contains__, wanted):
        check_plain(path, name, given[name], wanted[name])
    missing = sorted(set(wanted) - set(given))
    wrong = [n for n in wanted if n in given and wanted[n].shape != given[n].shape]
    parts = {name.partition(".")[0] for name in wanted}  # if present, these must be used fully
    unused = sorted(n for n in set(given) - set(wanted) if n.partition(".")[0] in parts)
    faults = {"is missing": missing, "has another shape": wrong, "is not in the network": unused}
    if any(faults.values()):
        what = next(f"{brief(names[0])} {fault}" for fault, names in faults.items() if names)
        raise DecoctError(
            f"{path} does not fit the network given for the teacher: {what} ({len(missing)} names "
            f"missing, {len(wrong)} of another shape, {len(unused)} too many)"
        )
    for name in wanted:
        check_finite(path, name, given[name])
    body.load_state_dict({name: given[name] for name in wanted})


def _without_wrappers(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The tensors by the names that a network without wrappers and heads gives them."""
    given: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = _bare(name, wanted)
        if bare in wanted and bare in given:
            raise DecoctError(f"{path} holds {bare} more than once, also as {brief(name)}")
        if bare in wanted or not bare.startswith(_HEADS):
            given[bare] = value
    return given


def _bare(name: str, wanted: Mapping[str, Tensor]) -> str:
    for _ in range(_NESTED):
        if not name.startswith(_WRAPPERS) or name in wanted:
            break
        name = name.partition(".")[2]
    return name


def _timm_teacher(name: str, *, channels: int, size: int | None) -> Encoder:
    if name.startswith("local-dir:"):
        for file in _files_of_timm(Path(name.partition(":")[2])):
            check_regular(file)
    given = timm_input(name)
    side, (mean, std) = size or given.size, _statistics(given, channels)
    with _weights_only():
        network = timm_network(name, channels=channels, outputs=1, size=side, pretrained=True)
    network.remove_head()
    return Encoder(
        network=network.eval(),
        config=NetworkConfig(name=f"timm:{given.architecture}"),
        size=side,
        mean=mean,
        std=std,
        provenance={"source": f"timm:{name}"},
    )


@contextmanager
def _weights_only() -> Iterator[None]:
    """Whatever older versions of timm ask of torch, no code in a file is run."""
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_SAFE)
        if before is not None:
            os.environ[_SAFE] = before


def _statistics(given: TimmInput, channels: int) -> tuple[Tensor, Tensor]:
    """The mean and standard deviation of each channel; of grey images they are the average."""
    mean, std = (torch.tensor(values) for values in (given.mean, given.std))
    if channels == 1:
        return mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return mean, std
