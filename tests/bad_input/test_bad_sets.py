"""Sizes, targets and tasks that cannot work are refused before any work is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoct.artefacts.targets import read_representations
from decoct.core.errors import DecoctError

Refused = Callable[..., str]


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (("--size", 41), "a distilled set of 41 images cannot be made from 40"),
        (("--size", -1), "size is -1; it must be at least 0"),
        (("--fraction", 0), "fraction is 0; it must be above 0 and at most 1"),
        (("--fraction", 1.5), "fraction is 1.5; it must be above 0 and at most 1"),
        (("--fraction", 0.001), "is a distilled set of 0; ask for more"),
    ],
)
def test_distilled_sizes(
    refused: Refused, data: Path, flags: tuple[Any, ...], sentence: str
) -> None:
    assert sentence in refused("run", *flags)
    assert not list((data / "run").glob("experts-*"))  # before any work


def test_matching_beyond_the_trajectory(refused: Refused, data: Path) -> None:
    said = refused("run", "--matching.max-start-epoch", 3, "--matching.expert-epochs", 2)
    assert "matching.max_start_epoch 3 and matching.expert_epochs 2 read epoch 4" in said
    assert "experts.epochs is 2" in said


def test_targets_of_another_number(refused: Refused, data: Path) -> None:
    np.save(data / "targets.npy", np.zeros((39, 4)))
    said = refused("run")
    assert (
        "targets.npy gives 39 targets for 40 images; there must be one per image, in the same order"
        in said
    )


@pytest.mark.parametrize(
    "name, array, sentence",
    [
        ("gone.npy", None, "does not exist"),
        ("a.npy", np.zeros(40), "holds no N x D array"),
        ("a.npy", np.full((40, 4), np.inf), "holds non-finite numbers"),
        ("a.npy", np.zeros((40, 4)), "the targets are constant"),
        ("a.csv", np.zeros((40, 4)), "is neither .npy, .npz nor .safetensors"),
    ],
)
def test_targets_that_are_none(
    refused: Refused, data: Path, name: str, array: Any, sentence: str
) -> None:
    if array is not None:
        with (data / name).open("wb") as file:
            np.save(file, array)
    assert sentence in refused("stage compute-targets", "--targets.source", name)


def test_targets_files_that_are_damaged(tmp_path: Path) -> None:
    for name in ("a.npz", "a.npy", "a.safetensors"):
        (tmp_path / name).write_bytes(b"PK nonsense")
        with pytest.raises(DecoctError, match="cannot be read"):
            read_representations(tmp_path / name)


def test_test_labels_unknown_in_training(refused: Refused, data: Path) -> None:
    with np.load(data / "colours.npz") as task:
        arrays = dict(task)
    np.savez(data / "colours.npz", **(arrays | {"test_labels": arrays["test_labels"] + 1}))
    assert "task colours: test labels unknown in training: 3" in refused("run")
    assert not list((data / "run").glob("experts-*"))


def test_class_of_fewer_images_than_labels(refused: Refused, data: Path) -> None:
    said = refused("run", "--probe.per-class", 11)
    assert "task colours: class " in said and "has 10 training images" in said
    assert "11 per class are asked for" in said
    assert not list((data / "run").glob("experts-*"))


def test_task_that_does_not_exist(refused: Refused, data: Path) -> None:
    assert "nowhere.npz does not exist" in refused("run", "--compare.tasks", "nowhere.npz")
    assert not list((data / "run").glob("experts-*"))
