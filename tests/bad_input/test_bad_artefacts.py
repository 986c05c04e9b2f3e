"""Artefacts that were cut short, altered, or made by something else are noticed."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from decoct.cli import main
from decoct.core import storage
from decoct.data.images import Images

Refused = Callable[..., str]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-11])


def _alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _rewrite_header(path: Path, change: Callable[[str], str]) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["decoct"] = change(header["__metadata__"]["decoct"])
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])


def _other_version(path: Path) -> None:
    _rewrite_header(path, lambda text: json.dumps(json.loads(text) | {"version": 99}))


def _break_header(path: Path) -> None:
    _rewrite_header(path, lambda text: text[:-3])


def _empty_header(path: Path) -> None:
    _rewrite_header(path, lambda text: "{}")


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (_cut, "is damaged"),
        (_alter, "its digest does not match its contents); delete it and make it again"),
        (_break_header, "is damaged"),
        (_empty_header, "does not have the header that decoct writes"),
        (_other_version, "was written in format version 99; this decoct reads version"),
    ],
)
def test_artefacts(
    refused: Refused,
    data: Path,
    tiny_images: Images,
    damage: Callable[[Path], None],
    sentence: str,
) -> None:
    tiny_images.save(data / "pool.safetensors")
    damage(data / "pool.safetensors")
    said = refused("stage load-images", "--images.source", "pool.safetensors")
    assert sentence in said
    assert "pool.safetensors" in said


def test_an_artefact_of_another_kind(refused: Refused, data: Path) -> None:
    storage.save_tensors(data / "a.safetensors", {"a": torch.zeros(1)}, kind="targets", meta={})
    said = refused("stage load-images", "--images.source", "a.safetensors")
    assert "holds 'targets'; 'images' is needed here" in said
    safetensors.torch.save_file({"a": torch.zeros(1)}, data / "b.safetensors")
    said = refused("stage load-images", "--images.source", "b.safetensors")
    assert "is a safetensors file, but decoct did not write it" in said


def test_a_damaged_stage_is_made_again(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "stage",
        "load-images",
        str(data / "mine.yaml"),
        "--data",
        str(data),
        "--out",
        str(data / "run"),
    ]
    assert main(command) == 0
    (path,) = (data / "run").glob("images-*/images.safetensors")
    whole = path.read_bytes()
    _alter(path)
    assert main(command) == 0
    assert "is damaged; making it again" in " ".join(capsys.readouterr().err.split())
    assert path.read_bytes() == whole
