"""A small recipe with all that it needs, and the command line to refuse what is wrong with it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoct.cli import main
from decoct.data.images import Images
from decoct.data.tasks import Task

_BOX = re.compile(r"[│╭╮╰╯─]+")  # which the flags' parser draws around what it says
_RECIPE = """
device: cpu
fraction: 0.2
images: {source: pool.npz, size: 16}
targets: {source: targets.npy}
experts: {count: 1, epochs: 2, batch: 16, network: {width: 4, depth: 2}}
mkdt: {init: random}
rule: {batch: 8}
matching: {iterations: 1, inner_steps: 1, expert_epochs: 1, batch: 8}
pretrain: {epochs: 1, network: {width: 4, depth: 2}}
probe: {fractions: [0.5]}
compare: {methods: [mkdt], seeds: 1, tasks: [colours.npz], full_epochs: 1}
"""


@pytest.fixture
def data(tmp_path: Path, tiny_images: Images, tiny_task: Task) -> Path:
    """A folder with a recipe, and all that it names."""
    np.savez(tmp_path / "pool.npz", images=tiny_images.pixels.numpy())
    np.save(tmp_path / "targets.npy", np.random.default_rng(0).normal(size=(40, 4)))
    save_task(tmp_path / "colours.npz", tiny_task)
    (tmp_path / "mine.yaml").write_text(_RECIPE)
    return tmp_path


def save_task(path: Path, task: Task, **more: Any) -> None:
    arrays = {
        "train_images": task.train.pixels.numpy(),
        "train_labels": task.train_labels.numpy(),
        "test_images": task.test.pixels.numpy(),
        "test_labels": task.test_labels.numpy(),
        "class_names": list(task.train.class_names),
    }
    np.savez(path, **(arrays | more))


@pytest.fixture
def refused(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a verb on the recipe with more flags; returns the message with which it refuses."""

    def run(verb: str, *flags: Any, recipe: Any = None) -> str:
        recipe = data / "mine.yaml" if recipe is None else recipe
        common = ("--data", data, "--out", data / "run")
        try:
            status: Any = main([*verb.split(), *map(str, (recipe, *common, *flags))])
        except SystemExit as stop:  # by the flags' parser
            status = stop.code
        said = "".join(capsys.readouterr())
        assert status == 2
        assert "Traceback" not in said
        return " ".join(_BOX.sub(" ", said).split())

    return run
