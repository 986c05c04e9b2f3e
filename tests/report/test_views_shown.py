"""What people see of a set with views: its pictures, its report, its assistant."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from decoct.artefacts.distilled import DistilledSet, TrainingRule
from decoct.cli import main
from decoct.data.augment import AugmentConfig
from decoct.data.stored_views import draw_views, plain_views
from decoct.report.show import show
from decoct.run.recipe import Recipe

SIDE, V = 8, 3


@pytest.fixture
def found() -> DistilledSet:
    draws = torch.Generator().manual_seed(0)
    drawn = [draw_views(AugmentConfig(), 10, draws) for _ in range(V - 1)]
    return DistilledSet(
        images=torch.rand(10, 3, SIDE, SIDE, generator=draws),
        targets=torch.zeros(10, V, 2, dtype=torch.float16),
        views=torch.stack([plain_views(10), *drawn], 1),
        mean=torch.zeros(3),
        std=torch.ones(3),
        rule=TrainingRule(lr=0.1, momentum=0.9, weight_decay=0.0, batch=4),
        method="views",
    )


def test_an_image_stands_before_its_views(found: DistilledSet) -> None:
    pixels = found.view_pixels(images=4, views=2)
    assert pixels.shape == (8, 3, SIDE, SIDE) and pixels.dtype == torch.uint8
    assert torch.equal(pixels[::2], found.pixels()[:4])
    assert not torch.equal(pixels[1::2], found.pixels()[:4])
    assert len(found.view_pixels(images=99, views=99)) == 10 * V


def test_the_picture_has_a_row_for_each_image(found: DistilledSet, tmp_path: Path) -> None:
    found.save(tmp_path / "distilled.safetensors", uint8=True)
    said = show(tmp_path / "distilled.safetensors")
    assert "distilled set by views, 10 images" in said and "3 of each image" in said
    assert "8 of 10 images, a row each: 3 of its views" in said
    with Image.open(tmp_path / "distilled.png") as picture:
        columns, rows = ((side // 4 + 2) // (SIDE + 2) for side in picture.size)  # scaled by 4
    assert (columns, rows) == (V, 8)


def test_a_run_of_views_alone_is_reported(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without tasks and images held out nothing is compared: the recipe's method is run alone."""
    run = tmp_path / "run"
    flags = ["--method", "views", "--out", str(run), "--images.holdout", "0", "--compare.tasks"]
    assert main(["run", str(tmp_path / "mine.yaml"), *flags]) == 0
    assert "distilled set by views, 9 images" in capsys.readouterr().out
    assert not list(run.glob("experts-*"))  # nothing is matched
    page = (run / "report.html").read_text("utf-8")
    assert "decoct kept 9 images in 3 views each" in page
    assert page.count('alt="image 1, view') == 3 and 'alt="image 9' not in page  # eight are shown
    (assistant,) = run.glob("assistant-*")
    assert "4 dimensions for any view" in show(assistant)
