"""Which files of a folder count as its pictures, and which are only said to be there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data.listing import SAVED_RECIPE, list_pictures
from decoct.data.sources import load_images
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed)
    Image.fromarray(draws.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)


def listed(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in list_pictures(folder).pictures]


def test_what_systems_and_tools_leave_is_no_picture(tmp_path: Path) -> None:
    picture(tmp_path / "cats" / "a.png")
    for name in (
        ".DS_Store",
        "Thumbs.db",
        ".hidden.png",
        "cats/._a.png",
        ".ipynb_checkpoints/a-checkpoint.png",
        "__MACOSX/cats/a.png",
        "cats/@eaDir/a.png",
        "features.h5",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert listed(tmp_path) == ["cats/a.png"]
    assert list_pictures(tmp_path).unsupported == {}
    assert load_images(tmp_path, size=8).class_names == ("cats",)


def test_linked_folders_are_followed_each_real_one_once(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "dogs" / "b.png")
    pool = tmp_path / "pool"
    picture(pool / "cats" / "a.png")
    (pool / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    (pool / "again").symlink_to(pool / "cats")  # goes by its own name, though this sorts before
    (pool / "cats" / "loop").symlink_to(pool)
    (pool / "cats" / "up").symlink_to(tmp_path)  # would bring in all that lies beside the pool
    assert listed(pool) == ["cats/a.png", "dogs/b.png"]
    assert load_images(pool, size=8).class_names == ("cats", "dogs")


def test_the_folders_of_runs_are_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "mine" / "b.png")
    (tmp_path / "mine" / "recipe.yaml").write_text("name: one that a person wrote\n")
    for name in ("begun", "done"):
        picture(tmp_path / "runs" / name / "images-0123456789abcdef" / "images.png")
    Run(Recipe(), tmp_path / "runs" / "begun").save_recipe()
    Run(Recipe(), tmp_path / "runs" / "done").save_manifest()
    assert (tmp_path / "runs" / "begun" / "recipe.yaml").read_text().startswith(SAVED_RECIPE)
    assert listed(tmp_path) == ["a.png", "mine/b.png"]


def test_what_looks_like_a_picture_but_is_not_read_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", seed=1)
    for name in ("a.NEF", "b.nef", "c.dng", "d.svg", "e.pdf", "f.mp4", "g.txt"):
        (tmp_path / name).write_bytes(b"")
    load_images(tmp_path, size=8)
    said = " ".join(capsys.readouterr().err.split())
    assert "left out 1 .dng, 2 .nef (camera RAW: develop them to JPEG or TIFF); 1 .mp4" in said
    assert "1 .pdf (documents: save their pages as PNG); 1 .svg (drawings:" in said
    assert "cannot be read" not in said


def test_heif_is_read_with_its_extra_and_advised_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_heif")
    picture(tmp_path / "a.png")
    assert listed(tmp_path) == ["a.png"]  # by which HEIF is registered
    Image.open(tmp_path / "a.png").save(tmp_path / "b.heic", quality=90)
    assert listed(tmp_path) == ["a.png", "b.heic"]
    assert len(load_images(tmp_path, size=8)) == 2
    monkeypatch.setattr("decoct.data.listing.picture_suffixes", lambda: frozenset({".png"}))
    (tmp_path / "a.png").unlink()
    with pytest.raises(DecoctError, match=r"1 \.heic \(pip install 'decoct\[heif\]' reads them\)"):
        load_images(tmp_path, size=8)


def test_one_picture_is_said_to_be_one(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "b.nef").write_bytes(b"raw")
    for name in ("a.jpg", "b.nef"):
        with pytest.raises(DecoctError, match=f"{name} is one picture; give the folder"):
            load_images(tmp_path / name)
