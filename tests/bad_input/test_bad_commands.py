"""Recipes, verbs and flags that are wrong, and machines that cannot do what is asked."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

Refused = Callable[..., str]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("fractoin: 0.1", "there is no setting fractoin; perhaps you meant fraction?"),
        (
            "matching: {iteratoins: 1}",
            "no setting matching.iteratoins; perhaps you meant iterations?",
        ),
        ("fraction: lots", "fraction is 'lots'; it must be a number, above 0 and at most 1"),
        ("fraction: [", "is not valid YAML"),
    ],
)
def test_recipes(refused: Refused, data: Path, text: str, sentence: str) -> None:
    (data / "bad.yaml").write_text(text)
    said = refused("run", recipe=data / "bad.yaml")
    assert sentence in said
    assert "bad.yaml" in said


def test_a_recipe_that_does_not_exist(refused: Refused, data: Path) -> None:
    said = refused("run", recipe="cifar10-3pct")
    assert "there is no recipe cifar10-3pct" in said and "perhaps you meant cifar10-" in said


def test_verbs_and_flags(refused: Refused) -> None:
    assert "there is no verb reprot; perhaps you meant report?" in refused("reprot")
    assert "--matching.iterations" in refused("run", "--matching.itterations", 3)
    assert "invalid literal" in refused("run", "--matching.iterations", "many")


def test_cuda_where_there_is_none(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = refused("run", "--device", "cuda")
    assert "you asked for device cuda, but torch sees no CUDA GPU here; use --device cpu" in said


@pytest.mark.parametrize("name", ["gpu", "meta", "cpu:x", ""])
def test_devices_that_are_none(refused: Refused, name: str) -> None:
    assert "is unknown; use auto, cpu, cuda or mps" in refused("run", "--device", name)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        safetensors.SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_no_space_left(
    refused: Refused, data: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(tensors: Any, path: Path, **more: Any) -> None:
        path.write_bytes(b"a part of it")
        raise error

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    said = refused("stage load-images")
    assert "no space left on the device while writing" in said
    assert "the work done so far is kept" in said
    assert [path.name for path in (data / "run").rglob(".*")] == [".lock"]


def test_a_folder_that_cannot_be_written(refused: Refused, data: Path) -> None:
    said = refused("stage load-images", "--out", data / "pool.npz" / "run")
    assert "cannot be written" in said and "choose another folder" in said
