"""Labelled pictures without parts are split; both parts are sources of their own."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.near_duplicates import near_duplicates
from decoct.data.sources import load_images
from decoct.data.tasks import load_task


def scene(seed: int) -> Image.Image:
    """A picture that is like no other."""
    draws = np.random.default_rng(seed)
    blocks = draws.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((80, 60), Image.Resampling.BICUBIC)


def save(picture: Image.Image, path: Path, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **how)


def photos(root: Path, counts: dict[str, int]) -> Path:
    for j, (name, count) in enumerate(counts.items()):
        for i in range(count):
            save(scene(100 * j + i), root / name / f"{i:02}.png")
    return root


def found(images: Images) -> set[bytes]:
    return {pixels.numpy().tobytes() for pixels in images.pixels}


def counts(labels: Tensor | None) -> list[int]:
    assert labels is not None
    return labels.bincount().tolist()


def test_a_quarter_of_each_class_is_the_test_part(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", {"cats": 16, "dogs": 8, "eels": 3, "foxes": 2})
    task = load_task(str(folder), size=8)
    assert task.name == "photos"
    assert counts(task.train_labels) == [12, 6, 2, 1]
    assert counts(task.test_labels) == [4, 2, 1, 1]
    assert not found(task.train) & found(task.test)
    again = load_task(str(photos(tmp_path / "elsewhere", {"cats": 16, "dogs": 8, "eels": 3})))
    assert again.train_labels.tolist() == task.train_labels[:-1].tolist()


def test_the_parts_are_pools(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", {"cats": 5, "dogs": 4})
    task = load_task(f"{folder}/", size=8)
    for part, images in (("train", task.train), ("test", task.test)):
        pool = load_images(f"{folder}@{part}", size=8)
        assert torch.equal(pool.pixels, images.pixels)
        assert pool.labels is not None and images.labels is not None
        assert torch.equal(pool.labels, images.labels)
        assert (pool.name, pool.class_names) == (f"photos@{part}", ("cats", "dogs"))
    assert len(load_images(folder, size=8)) == 9
    # a split does not depend on the size in pixels that it is read at, nor on what is added
    assert found(load_images(f"{folder}@test", size=8)) == found(task.test)
    save(scene(77), folder / "dogs" / "77.png")
    assert found(task.test) <= found(load_images(f"{folder}@test", size=8))
    with pytest.raises(DecoctError, match="is one part of a task; give "):
        load_task(f"{folder}@train")


def test_the_folders_train_and_test_are_the_parts(tmp_path: Path) -> None:
    photos(tmp_path / "train", {"a": 3, "b": 2, "c": 2})
    photos(tmp_path / "test", {"b": 2, "c": 1})
    photos(tmp_path / "extra", {"c": 2})
    test = load_images(f"{tmp_path}@test", size=8)
    assert counts(test.labels) == [0, 2, 1] and test.class_names == ("a", "b", "c")
    assert counts(load_images(f"{tmp_path}@train", size=8).labels) == [3, 2, 2]
    assert counts(load_images(tmp_path, size=8).labels) == [3, 4, 5]


def test_without_a_test_part_validation_is_it(tmp_path: Path) -> None:
    for part, other in (("train", "val"), ("val", "train")):
        photos(tmp_path / part, {"a": 2, "b": 2})
        photos(tmp_path / part / "a" / other, {"deeper": 1})
    task = load_task(str(tmp_path), size=8)
    assert (counts(task.train_labels), counts(task.test_labels)) == ([3, 2], [3, 2])
    photos(tmp_path / "test", {"b": 1})
    assert counts(load_task(str(tmp_path), size=8).test_labels) == [0, 1]
    rows = ["train/a/00.png,a,train", "train/b/00.png,b,train", "val/a/01.png,a,val"]
    source = table(tmp_path / "labels.csv", "\n".join(["file,label,split", *rows]))
    assert counts(load_task(source, size=8).test_labels) == [1]


def test_parts_of_other_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", train_images=arrays, test_images=arrays[:2])
    assert len(load_images(f"{tmp_path / 'a.npz'}@test", size=8)) == 2
    np.savez(tmp_path / "b.npz", images=arrays)
    with pytest.raises(DecoctError, match="an array called test_images is needed"):
        load_images(f"{tmp_path / 'b.npz'}@test")
    np.save(tmp_path / "c.npy", arrays)
    with pytest.raises(DecoctError, match=r"c\.npy has no parts, so there is no .*@test"):
        load_images(f"{tmp_path / 'c.npy'}@test")
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "mine@train", {"a": 2})  # a folder of this name is the folder
    assert len(load_images("mine@train", size=8)) == 2


def test_near_duplicates_lie_on_one_side(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for i in range(8):
        for name, other in (("cats", "dogs"), ("dogs", "cats")):
            picture = scene(i + 50 * (name == "cats"))
            save(picture, folder / name / f"{i}.png")
            save(picture.resize((41, 31)), folder / name / f"{i}-small.png")
            save(picture, folder / (other if i < 2 else name) / f"{i}-copy.jpg", quality=60)
    task = load_task(str(folder), size=16)
    train, test = (i.pixels.double().flatten(1) for i in (task.train, task.test))
    nearest = torch.cdist(test, train).amin(1) / train.shape[1] ** 0.5
    assert nearest.min() > 20  # grey levels; copies differ by a few
    assert len(test) >= 9 and len(train) + len(test) == 48


def test_what_counts_as_nearly_the_same() -> None:
    draws = np.random.default_rng(0)
    one, other = draws.integers(0, 256, (2, 16, 16), dtype=np.uint8)
    white = np.full((16, 16), 255, np.uint8)
    grey = np.full((16, 16), 200, np.uint8)
    noisy = (one.astype(int) + draws.integers(-4, 5, (16, 16))).clip(0, 255).astype(np.uint8)
    groups = near_duplicates(np.stack([one, other, white, grey, noisy, white - 1])).tolist()
    assert groups == [0, 1, 2, 3, 0, 2]


def test_classes_that_cannot_be_split(tmp_path: Path) -> None:
    one = photos(tmp_path / "one", {"cats": 4, "dogs": 1})
    with pytest.raises(DecoctError, match="class dogs has one picture, but the training and the"):
        load_task(str(one))
    same = photos(tmp_path / "same", {"cats": 4})
    for i in range(3):
        save(scene(7), same / "dogs" / f"{i}.png")
    with pytest.raises(DecoctError, match="the 3 pictures of class dogs that can be read are near"):
        load_task(str(same))


def test_unreadable_pictures_are_no_part_of_a_split(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", {"cats": 4, "dogs": 4})
    for i in range(2):
        (folder / "cats" / f"bad{i}.jpg").write_bytes(b"nonsense")
    task = load_task(str(folder), size=8)
    assert counts(task.train_labels) == [3, 3] and counts(task.test_labels) == [1, 1]


def table(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8-sig")
    return str(path)


def test_a_csv_of_files_and_labels(tmp_path: Path) -> None:
    photos(tmp_path / "pictures", {"x": 12})
    rows = [f"pictures/x/{i:02}.png;{'10' if i % 3 else '9'}\n" for i in range(12)]
    source = table(tmp_path / "labels.csv", "Filename;Category\n" + "".join(rows))
    pool = load_images(source, size=8)
    assert (len(pool), pool.class_names, pool.name) == (12, ("9", "10"), "labels.csv")
    assert counts(pool.labels) == [4, 8]
    task = load_task(source, size=8)
    assert task.name == "labels"
    assert (counts(task.train_labels), counts(task.test_labels)) == ([3, 6], [1, 2])
    assert found(load_images(f"{source}@test", size=8)) == found(task.test)


def test_a_csv_with_parts(tmp_path: Path) -> None:
    photos(tmp_path, {"x": 6})
    parts = ["train", "Training", "test", "val", "train", "test"]
    rows = [f"{tmp_path}/x/{i:02}.png,{'ab'[i % 2]},{part}\n" for i, part in enumerate(parts)]
    source = table(tmp_path / "labels.csv", "path,label,split\n" + "".join(rows))
    task = load_task(source, size=8)
    assert task.train_labels.tolist() == [0, 1, 0] and task.test_labels.tolist() == [0, 1]
    assert len(load_images(source, size=8)) == 6
    source = table(tmp_path / "labels.csv", "path,label,split\n" + "".join(rows[:2]))
    with pytest.raises(DecoctError, match=r"labels\.csv holds no pictures for its part test"):
        load_task(source)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "has the columns of an empty file; one of them must be called file"),
        ("name,label\nx,y\n", "has the columns name, label; one of them must be called file"),
        ("file,label\n", "names no pictures"),
        ("file,label\nx/00.png,a\nx/07.png,b\n", r"line 3: .*07\.png does not exist"),
        ("file,label\nx/00.png,a\n,b\n", "line 3: it names no file"),
        ("file,label\nx/00.png,a\nx/01.png,\n", r"line 3: .*01\.png has no label; give one"),
        ("file\nx/00.png\nx/01.png\n", "is no task: it lacks labels"),
    ],
)
def test_csvs_that_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    photos(tmp_path, {"x": 2})
    with pytest.raises(DecoctError, match=sentence):
        load_task(table(tmp_path / "labels.csv", text))


def test_a_task_here_is_called_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(tmp_path / "photos", {"cats": 3, "dogs": 3})
    monkeypatch.chdir(folder)
    assert load_task(".", size=8).name == "photos"
    monkeypatch.chdir(folder / "cats")
    assert load_task(f"..{os.sep}", size=8).name == "photos"
