"""Which changes of a source change its fingerprint, and which do not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from decoct.data import fingerprint as module
from decoct.data.fingerprint import fingerprint
from decoct.data.listing import SAVED_RECIPE
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe


def folder(path: Path) -> Path:
    """Two files, one of them in a sub-folder."""
    (path / "cats").mkdir(parents=True)
    (path / "a.png").write_bytes(b"one")
    (path / "cats" / "b.png").write_bytes(b"another")
    return path


def alter(path: Path) -> None:
    """Other contents of the same size, a nanosecond later."""
    stat = (path / "a.png").stat()
    (path / "a.png").write_bytes(b"two")
    os.utime(path / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "altered": alter,
    "renamed": lambda path: (path / "a.png").rename(path / "c.png"),
    "moved": lambda path: (path / "a.png").rename(path / "cats" / "a.png"),
    "added": lambda path: (path / "c.png").write_bytes(b""),
    "removed": lambda path: (path / "a.png").unlink(),
}


def test_the_same_files_elsewhere_and_later_are_the_same(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "two" / "other")
    os.utime(other / "a.png", (0, 0))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one / "a.png") == fingerprint(other / "a.png")
    assert fingerprint(one / "a.png") != fingerprint(one / "cats" / "b.png")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(
    tmp_path: Path, change: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_UP_TO", 0 if large else 1000)
    path = folder(tmp_path / "pool")
    before = fingerprint(path)
    assert fingerprint(path) == before
    CHANGES[change](path)
    assert fingerprint(path) != before


def test_names_and_places_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "pool")
    before = fingerprint(path)
    monkeypatch.chdir(tmp_path)
    assert {fingerprint(name) for name in ("pool", "pool/", "./pool", f"{path}/")} == {before}
    monkeypatch.chdir(path)
    assert fingerprint(".") == before
    path.rename(tmp_path / "moved")
    assert fingerprint(tmp_path / "moved") == before
    (tmp_path / "a.npy").write_bytes(b"data")
    before = fingerprint(tmp_path / "a.npy")
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    assert fingerprint(tmp_path / "b.npy") == before


def test_what_is_no_picture_does_not_count(tmp_path: Path) -> None:
    path = folder(tmp_path / "pool")
    before = fingerprint(path)
    for name in (".DS_Store", "Thumbs.db", "notes.txt", ".ipynb_checkpoints/a.png", "runs/a.png"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"")
    (path / "runs" / "recipe.yaml").write_text(SAVED_RECIPE)
    assert fingerprint(path) == before
    (path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert fingerprint(path) != before


def test_keys_do_not_depend_on_where_the_data_lies(tmp_path: Path) -> None:
    def keys(source: str) -> list[str]:
        recipe = Recipe().set("images.source", source).set("compare.tasks", (source,))
        graph = Graph(recipe)
        return [graph.key(stage.name) for stage in graph.of_a_run()]

    one = folder(tmp_path / "one" / "pool")
    before = keys(str(one))
    assert keys(f"{one}/") == before
    one.rename(tmp_path / "pool")
    (tmp_path / "pool" / "cats" / ".DS_Store").write_bytes(b"")
    assert keys(str(tmp_path / "pool")) == before


def test_a_renamed_task_is_probed_again(tmp_path: Path) -> None:
    """Its name is in the draws of labels and in the scores."""

    def key(task: Path) -> str:
        return Graph(Recipe().set("compare.tasks", (str(task),))).key("probe-none-seed0")

    (tmp_path / "cats.npz").write_bytes(b"labelled")
    (tmp_path / "elsewhere").mkdir()
    before = key(tmp_path / "cats.npz")
    moved = (tmp_path / "cats.npz").rename(tmp_path / "elsewhere/cats.npz")
    assert key(moved) == before
    assert key(moved.rename(tmp_path / "dogs.npz")) != before


def test_a_csv_counts_with_its_pictures(tmp_path: Path) -> None:
    path = folder(tmp_path / "pool")
    csv = tmp_path / "labels.csv"
    csv.write_text("file\npool/a.png\n")
    before = fingerprint(csv)
    (path / "cats" / "b.png").write_bytes(b"not named by it")
    assert fingerprint(csv) == before
    alter(path)
    assert fingerprint(csv) != before


def test_parts_count_apart(tmp_path: Path) -> None:
    path = folder(tmp_path / "pool")
    assert len({fingerprint(f"{path}{part}") for part in ("", "@train", "@test")}) == 3
    for part in ("train", "test"):
        folder(path / part)
    before = fingerprint(f"{path}@train")
    assert before == fingerprint(path / "train")
    alter(path / "test")
    assert fingerprint(f"{path}@train") == before


def test_labels_beside_an_idx_file_count(tmp_path: Path) -> None:
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(b"images")
    before = {fingerprint(images), fingerprint(tmp_path)}
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"labels")
    assert not before & {fingerprint(images), fingerprint(tmp_path)}


def test_a_source_too_large_to_be_read_is_told_by_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "pool")
    monkeypatch.setattr(module, "_READ_UP_TO", 9)
    before = fingerprint(path)
    os.utime(path / "a.png", (0, 0))
    assert fingerprint(path) != before


def test_a_folder_named_like_an_embedded_source_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--out emoji` makes one, and changes it all the time."""
    monkeypatch.chdir(tmp_path)
    before = [fingerprint(name) for name in module.EMBEDDED]
    for name in module.EMBEDDED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("name: mine\n")
    assert [fingerprint(name) for name in module.EMBEDDED] == before
