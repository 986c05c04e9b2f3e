"""A run whose pool is too large for memory ends in the bits of one whose pool is not."""

from pathlib import Path

import pytest

from decoct.core.on_disk import DiskTensor
from decoct.data.images import Images
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.compare import compare
from tests.run.kills import TIMED, write_tiny_recipe


def run(recipe: Path, folder: Path) -> dict[str, bytes]:
    """Every file of a run, without what depends on the clock; for the pool, its digest."""
    compare(Run(load_recipe(recipe), folder))
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in TIMED]
    return {
        str(path.relative_to(folder)): Images.load(path).digest.encode()
        if path.name == "images.safetensors"
        else path.read_bytes()
        for path in files
    }


def test_the_bits_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_tiny_recipe(tmp_path)
    whole = run(recipe, tmp_path / "whole")
    monkeypatch.setattr("decoct.core.on_disk._IN_MEMORY", 0)
    monkeypatch.setattr("decoct.core.on_disk.CHUNK", 16 * 16 * 3 * 7)
    pool = Run(load_recipe(recipe), tmp_path / "large").images
    assert isinstance(pool.pixels, DiskTensor)
    assert run(recipe, tmp_path / "large") == whole


def test_nor_do_they_differ_where_images_are_left_out(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the pool is read from the pool's own file."""
    methods = ("random", "mkdt", "full-steps", "ssl-full-steps")
    recipe = tiny_recipe.set("compare.methods", methods)
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml())
    whole = run(tmp_path / "mine.yaml", tmp_path / "whole")
    monkeypatch.setattr("decoct.core.on_disk._IN_MEMORY", 0)
    monkeypatch.setattr("decoct.core.on_disk.CHUNK", 16 * 16 * 3 * 7)
    part = Run(tiny_recipe, tmp_path / "large").images
    assert isinstance(part.pixels, DiskTensor) and len(part) == 30
    assert part.pixels.path == next((tmp_path / "large").glob("images-*/images.safetensors"))
    assert run(tmp_path / "mine.yaml", tmp_path / "large") == whole
