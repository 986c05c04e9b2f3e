"""Checkpoints made to do harm, or that are none: refused in a sentence, in bounds, and not run."""

import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.timm_network import TimmInput
from decoct.training import pretrained
from decoct.training.pretrained import load_teacher
from tests.hostile.bounded import refusal

Maker = Callable[[Path], object]
NETWORK = NetworkConfig(width=4, depth=2)
MARKER = Path("/tmp/decoct-code-of-a-checkpoint-was-run")


class Dangerous:
    """Unpickling it runs a program."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARKER}",)


def weights() -> dict[str, Tensor]:
    """Those of a network that fits."""
    network = create_network(NETWORK, channels=3, size=16, outputs=1)
    return dict(network.body.state_dict())


FIRST, OTHER = list(weights())[:2]


def saved(state: Any, **how: Any) -> Maker:
    return lambda path: torch.save(state, path, **how)


def with_first(change: Callable[[Tensor], Any]) -> Maker:
    """A state dict that fits, but for its first tensor."""

    def make(path: Path) -> None:
        state = weights()
        with warnings.catch_warnings(action="ignore"):  # torch warns of sparse and quantised ones
            torch.save(state | {FIRST: change(state[FIRST])}, path)

    return make


def content(data: bytes) -> Maker:
    return lambda path: path.write_bytes(data)


def archive(program: bytes, *, how: int = zipfile.ZIP_STORED, data: bytes = b"") -> Maker:
    """A checkpoint with this pickle in it."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", how) as file:
            file.writestr("archive/data.pkl", program)
            file.writestr("archive/byteorder", b"little")
            file.writestr("archive/data/0", data)
            file.writestr("archive/version", b"3\n")

    return make


def packed(path: Path) -> None:
    """A sound checkpoint of zeros, compressed to a thousandth."""
    whole = io.BytesIO()
    torch.save({FIRST: torch.zeros(10**6)}, whole)
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in given.namelist():
            file.writestr(name, given.read(name))


def overlapping(path: Path) -> None:
    """One member's bytes, listed a hundred times."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data/0", bytes(10**5))
        for i in range(1, 100):
            again = zipfile.ZipInfo(f"archive/data/{i}")
            again.header_offset, again.CRC = 0, file.infolist()[0].CRC
            again.file_size = again.compress_size = 10**5
            file.filelist.append(again)


def program(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch is leaving it behind
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def oldest(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        for name in ("storages", "tensors", "pickle"):
            file.addfile(tarfile.TarInfo(name))


def doubled_tuples(depth: int) -> bytes:
    """A pickle whose key is a tuple of 2^depth entries, each pair the same one twice."""
    steps = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(depth))
    return b"\x80\x02K\x01q\x00" + steps + b"}h%cK\x01s." % depth


def quantised(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


REFUSED = "with weights_only=True: "
CHECKPOINTS: dict[str, tuple[str, Maker, str]] = {
    "code": ("t.pt", saved({"a": Dangerous()}), f"it holds {os.name}.system, which could run code"),
    "code among weights": ("t.pth", saved(weights() | {"a": Dangerous()}), "which could run code"),
    "a bare pickle": ("t.pt", content(pickle.dumps(Dangerous(), protocol=2)), "could run code"),
    "a newer pickle": ("t.pt", content(pickle.dumps(Dangerous())), "damaged, or no checkpoint"),
    "a module": ("t.pt", saved(nn.Linear(2, 2)), "holds torch.nn.modules.linear.Linear, which"),
    "an old module": (
        "t.pt",
        saved(nn.Linear(2, 2), _use_new_zipfile_serialization=False),
        "torch.save(model.state_dict(), 'weights.pt')",
    ),
    "TorchScript": ("t.pt", program, "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"),
    "the oldest format": ("t.pt", oldest, "it is in torch's oldest format"),
    "a bomb": ("t.pt", packed, "is compressed, which torch's checkpoints are not"),
    "members that overlap": ("t.pt", overlapping, "is compressed, which torch's"),
    "a terabyte": (
        "t.pt",
        archive(b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + bytes(5) + b"\x01\x85R."),
        "holds __builtin__ bytearray, which no state dict needs",
    ),
    "a doubling text": ("t.pt", archive(b"\x80\x02c_codecs\nencode\n."), "holds _codecs encode"),
    "2^40 to hash": ("t.pt", archive(doubled_tuples(40)), "in itself without measure"),
    "2^40 to hash, in the old format": (
        "t.pt",
        content(doubled_tuples(40)),
        "in itself without measure",
    ),
    "an empty stack": ("t.pt", archive(b"\x80\x02."), REFUSED),
    "no end": ("t.pt", archive(b"\x80\x02}"), REFUSED),
    "deep lists": (
        "t.pt",
        archive(b"\x80\x02" + b"]" * 10**4 + b"a" * (10**4 - 1) + b"."),
        "holds no state dict",
    ),
    "a zip of nothing": ("t.pt", lambda path: zipfile.ZipFile(path, "w").close(), REFUSED),
    "a zip cut short": ("t.pt", content(b"PK\x03\x04" + bytes(99)), REFUSED),
    "numbers for names": ("t.pt", saved({1: torch.ones(1)}), "holds no state dict"),
    "names and numbers": ("t.pt", saved(weights() | {1: torch.ones(1)}), "holds no state dict"),
    "bytes for names": ("t.pt", saved({b"a": torch.ones(1)}), "holds _codecs encode"),
    "None": ("t.pt", saved(None), "holds no state dict"),
    "no tensors": ("t.pt", saved({"state_dict": {"model": {}}}), "does not fit the network"),
    "without data": (
        "t.pt",
        with_first(lambda t: t.to("meta")),
        f"{FIRST} is sparse, quantised or",
    ),
    "sparse": ("t.pt", with_first(lambda t: t.flatten(1).to_sparse()), f"{FIRST} is sparse"),
    "sparse rows": (
        "t.pt",
        with_first(lambda t: t.flatten(1).to_sparse_csr()),
        f"{FIRST} is sparse",
    ),
    "quantised": ("t.pt", with_first(quantised), f"{FIRST} is sparse, quantised or without data"),
    "expanded": (
        "t.pt",
        with_first(lambda t: torch.zeros(1).expand(10**6, 10**6)),
        f"{FIRST} has another shape",
    ),
    "expanded, and not asked for": (
        "t.pt",
        saved({"more": torch.zeros(1).expand(10**6, 10**6)}),
        "is missing (8 names missing",
    ),
    "whole numbers": ("t.pt", with_first(lambda t: t.char()), f"{FIRST} is of torch.int8"),
    "complex": ("t.pt", with_first(lambda t: t * 1j), f"{FIRST} is of torch.complex64"),
    "nan": ("t.pt", with_first(lambda t: t * torch.nan), f"{FIRST} holds numbers that are not"),
    "inf": ("t.pt", with_first(lambda t: t + torch.inf), f"{FIRST} holds numbers that are not"),
    "no shape": ("t.pt", with_first(lambda t: t.sum()), f"{FIRST} has another shape"),
    "names that collide": (
        "t.pt",
        saved(weights() | {f"module.{FIRST}": weights()[FIRST]}),
        f"holds {FIRST} more than once, also as module.{FIRST}",
    ),
    "a name without end": ("t.pt", saved({"module." * 10**5: torch.ones(1)}), "is missing"),
    "a name without end, of ours": (
        "t.pt",
        saved(weights() | {f"0.{'x' * 10**5}": torch.ones(1)}),
        "xxx... is not in the network",
    ),
    "safetensors of nan": (
        "t.safetensors",
        lambda path: save_file(weights() | {FIRST: weights()[FIRST] * torch.nan}, path),
        f"{FIRST} holds numbers that are not finite",
    ),
    "safetensors that lie": (
        "t.safetensors",
        content(
            b"\x40" + bytes(7) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'.ljust(64)
        ),
        REFUSED,
    ),
    "safetensors of a pickle": ("t.safetensors", saved(weights()), REFUSED),
    "a pipe": ("t.pt", os.mkfifo, "t.pt is a pipe; a regular file is needed"),
    "a pipe of tensors": ("t.safetensors", os.mkfifo, "t.safetensors is a pipe"),
    "a device": ("t.pt", lambda path: path.symlink_to("/dev/zero"), "t.pt is a device"),
    "memory": ("t.pt", lambda path: path.symlink_to("/proc/self/mem"), "t.pt is empty"),
    "a folder": ("t.pt", Path.mkdir, "t.pt is a folder; a regular file is needed"),
    "nothing": ("t.pt", content(b""), "t.pt is empty"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused(name: str, tiny_images: Images, tmp_path: Path) -> None:
    file, make, words = CHECKPOINTS[name]
    make(tmp_path / file)
    said = refusal(lambda: load_teacher(str(tmp_path / file), images=tiny_images, network=NETWORK))
    assert words in said and file in said
    assert "weights_only` set to `False`" not in said
    assert not MARKER.exists()


def test_timm_is_told_to_load_weights_only(
    monkeypatch: pytest.MonkeyPatch, tiny_images: Images
) -> None:
    """Its older versions leave it to torch's caller, and so to whoever wrote the file."""
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    seen: list[str | None] = []

    def network(*arguments: Any, **settings: Any) -> Network:
        seen.append(os.environ.get(switch))
        raise DecoctError("far enough")

    given = TimmInput(size=16, mean=(0.5,), std=(0.5,), architecture="a")
    monkeypatch.setattr(pretrained, "timm_input", lambda name: given)
    monkeypatch.setattr(pretrained, "timm_network", network)
    for before in (None, "0"):
        if before is not None:
            monkeypatch.setenv(switch, before)
        with pytest.raises(DecoctError, match="far enough"):
            load_teacher("timm:a", images=tiny_images, network=NETWORK)
        assert os.environ.get(switch) == before
    assert seen == ["1", "1"]
