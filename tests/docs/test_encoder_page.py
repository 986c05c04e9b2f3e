"""The Python of the page "Use your encoder" is run."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.models.registry import NetworkConfig
from decoct.training.pretrain import fresh_encoder

PAGE = Path(__file__).parents[2] / "docs" / "encoder.md"


def save_pictures(images: Images, folder: Path) -> None:
    """In folders of their classes."""
    for i, pixels in enumerate(images.pixels[:]):
        name = images.class_names[int(images.labels[i])]  # type: ignore[index]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / name / f"{i}.png")


def test_the_example_runs(tiny_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    half = torch.full((3,), 0.5)
    encoder = fresh_encoder(NetworkConfig(width=4, depth=2), mean=half, std=half, size=16, seed=0)
    encoder.save(tmp_path / "runs/photos/encoder.safetensors")
    save_pictures(tiny_task.test, tmp_path / "photos")
    save_pictures(tiny_task.train, tmp_path / "labelled/train")
    save_pictures(tiny_task.test, tmp_path / "labelled/test")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert np.shape(names["features"]) == (24, 64)
    assert len((tmp_path / "features.csv").read_text().splitlines()) == 25
    assert (tmp_path / "exported/load.py").exists()
    assert len(names["scores"]) == 2  # type: ignore[arg-type]
