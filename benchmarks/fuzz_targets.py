"""What is fuzzed: how an input becomes a file, and who reads the file.

The first byte of an input says how it becomes a file, so that most mutations get past the
outermost check: a description (`D`, JSON) of tensors, metadata or arrays becomes a file with a
valid digest; other letters stand for the bytes of a file, or of one member of a zip archive.
"""

import base64
import gzip
import io
import json
import math
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import Image

from decoct import load_images, load_task
from decoct.artefacts.targets import read_representations
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.report.contents import read_contents
from decoct.report.page import render
from decoct.report.show import describe, picture
from decoct.run.recipe import load_recipe
from decoct.training.pretrained import load_teacher

Node = Any  # of a description: what JSON can say
Read = Callable[[bytes, Path], None]
_MOST = 200_000  # numbers in the tensors of a description: a small file must stay a small file
_PAGE = {  # the results that a report shows, by kind, and their files
    "run": "run.json",
    "scores": "scores.json",
    "label-free": "label_free.json",
    "ablation": "ablation.json",
    "frontier": "frontier.json",
    "variance": "variance.json",
}


class Skip(Exception):
    """The input describes no file."""


# Artefacts


def read_artefact(data: bytes, folder: Path) -> None:
    """Describe an artefact; some are drawn, too, or shown on the page about their run."""
    form, content = _form(data, b"DSJ")
    if form == "D":
        path = _described_artefact(_description(content), folder)
    else:
        path = folder / ("a.safetensors" if form == "S" else "a.json")
        path.write_bytes(content)
    drawn = zlib.crc32(data) % 8 == 0  # it takes ten times as long: one input in eight
    for read in (picture, _on_a_page) if drawn else ():
        with suppress(DecoctError):
            read(path)
    describe(path)


def _described_artefact(node: Node, folder: Path) -> Path:
    kind, meta = node.get("kind"), node.get("meta")
    header = {"kind": kind, "version": node.get("version", storage.FORMAT_VERSION), "meta": meta}
    if "tensors" not in node:
        header["digest"] = _digest(header, None)
        (folder / "a.json").write_text(json.dumps(header, indent=1) + "\n")
        return folder / "a.json"
    tensors = {str(n): _tensor(a) for n, a in _mapping(node["tensors"]).items()}
    header["digest"] = _digest(header, tensors)
    try:
        whole = safetensors.torch.save(tensors, {"decoct": json.dumps(header, sort_keys=True)})
    except (safetensors.SafetensorError, UnicodeError, KeyError) as error:
        raise Skip from error
    (folder / "a.safetensors").write_bytes(whole)
    return folder / "a.safetensors"


def _digest(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] | None) -> str:
    """The storage's own: what it saves is finite, while an input may hold anything."""
    try:
        return storage._digest_of(header, tensors)
    except (TypeError, RecursionError) as error:  # a version that is a list
        raise Skip from error


def _on_a_page(path: Path) -> None:
    if path.suffix != ".json":
        return
    try:
        kind = json.loads(path.read_bytes())["kind"]
        file = path.with_name(_PAGE[kind])
    except (ValueError, KeyError, TypeError):
        return
    storage.save_json(path.with_name("run.json"), {"stages": {}, "seconds": {}}, kind="run")
    shutil.copy(path, file)
    render(read_contents(path.parent))


# Recipes


def read_recipe(data: bytes, folder: Path) -> None:
    """Read a recipe's text, write it in full and read that."""
    (folder / "fuzzed.yaml").write_bytes(data)
    (folder / "again.yaml").write_text(load_recipe(folder / "fuzzed.yaml").to_yaml(), "utf-8")
    try:
        load_recipe(folder / "again.yaml")
    except DecoctError as error:
        raise AssertionError(f"a recipe that was read cannot be read again: {error}") from error


# A teacher's weights


def read_checkpoint(data: bytes, folder: Path) -> None:
    """Load a network's weights from a state dict."""
    form, content = _form(data, b"DPKS")
    path = folder / ("a.safetensors" if form == "S" else "a.pt")
    if form == "D":
        node = _description(content)
        torch.save(_state(node), path)
    elif form == "K":  # what is unpickled, within a valid archive
        members = {
            "data.pkl": content,
            "data/0": bytes(64),
            "version": b"3\n",
            "byteorder": b"little",
        }
        path.write_bytes(_zipped({f"a/{name}": member for name, member in members.items()}))
    else:
        path.write_bytes(content)
    load_teacher(str(path), images=_images(), network=NetworkConfig(width=4, depth=2))


def _state(node: Node) -> Any:
    """A tensor for a list such as ["float32", [2, 3], 0.5]; keys that are digits become numbers."""
    if isinstance(node, Mapping):
        return {int(k) if k.isdecimal() and len(k) < 9 else k: _state(v) for k, v in node.items()}
    if isinstance(node, list) and len(node) == 3 and isinstance(node[1], list):
        return _tensor(node)
    return node


@cache
def _images() -> Images:
    return Images.from_array(torch.arange(2 * 3 * 16**2).view(2, 3, 16, 16).to(torch.uint8))


# Arrays and tables


def read_arrays(data: bytes, folder: Path) -> None:
    """Read arrays of images, a task and targets; a CSV of pictures."""
    form, content = _form(data, b"DNYZIGC")
    suffix = {"I": "-idx3-ubyte", "G": ".gz", "C": ".csv", "Y": ".npy"}.get(form, ".npz")
    path = folder / f"train-images{suffix}"
    if form == "D":
        arrays = {str(n): _array(a) for n, a in _mapping(_description(content)).items()}
        np.savez(path, **arrays)
    elif form == "Z":
        path.write_bytes(_zipped({"images.npy": content}))
    else:
        path.write_bytes(gzip.compress(content, 1) if form == "G" else content)
    if form == "C":
        Image.radial_gradient("L").convert("HSV").convert("RGB").save(folder / "a.png")
        Image.new("RGB", (4, 4), "orange").save(folder / "b.png")
    for read in (load_task, _representations):
        with suppress(DecoctError):
            read(str(path))
    load_images(path, size=8)


def _representations(path: str) -> None:
    if path.endswith((".npy", ".npz")):
        read_representations(Path(path))


# By name: how an input is read in an empty folder; raises what the reader raises.
TARGETS: dict[str, Read] = {
    "artefacts": read_artefact,
    "recipes": read_recipe,
    "checkpoints": read_checkpoint,
    "arrays": read_arrays,
}


# Descriptions


def _form(data: bytes, forms: bytes) -> tuple[str, bytes]:
    first = data[:1] or forms[:1]
    return chr(first[0] if first in forms else forms[first[0] % len(forms)]), data[1:]


def _description(content: bytes) -> Node:
    try:
        return _mapping(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise Skip from error


def _mapping(node: Node) -> Mapping[str, Node]:
    if not isinstance(node, Mapping):
        raise Skip
    return node


def _array(node: Node) -> Any:
    """["float32", [2, 3], VALUES]: one number for all, as many as there are, or bytes in base64."""
    try:
        name, shape, values = node
        sides = [int(side) for side in shape]
        if math.prod(sides) > _MOST or min(sides, default=0) < 0:
            raise Skip
        if isinstance(values, str):
            return np.frombuffer(base64.b64decode(values), name).reshape(sides).copy()
        flat = np.asarray(values).astype(name)
        return (np.full(sides, flat) if flat.ndim == 0 else flat.reshape(sides)).copy()
    except (TypeError, ValueError, SyntaxError, OverflowError, RecursionError) as error:
        raise Skip from error


def _tensor(node: Node) -> torch.Tensor:
    try:
        return torch.as_tensor(_array(node)).clone(memory_format=torch.contiguous_format)
    except TypeError as error:  # numpy knows more types
        raise Skip from error


def described(path: Path) -> bytes:
    """An artefact as an input of `read_artefact`; long tensors become their first number."""
    if path.suffix == ".json":
        header = json.loads(path.read_text("utf-8"))
        tensors = {}
    else:
        header = storage.read_header(path)
        tensors = {"tensors": {n: _node(t) for n, t in safetensors.torch.load_file(path).items()}}
    node = {"kind": header["kind"], "meta": header["meta"], **tensors}
    return b"D" + json.dumps(node, separators=(",", ":")).encode()


def _node(tensor: torch.Tensor) -> Node:
    values: Node = tensor.flatten().tolist()
    if tensor.dtype == torch.uint8 and tensor.dim() == 1:  # a picture in a code
        values = base64.b64encode(bytes(values)).decode()
    elif len(values) > 16:
        values = round(values[0], 3)
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), values]


def _zipped(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()
