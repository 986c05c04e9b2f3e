"""torchvision's and Hugging Face's data sets, by the real libraries, from files on the disk."""

import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data.sources import load_images

Rows = dict[str, list[Any]]


def pictures(count: int, *, side: int = 16, seed: int = 0) -> list[Image.Image]:
    """Colour pictures that come back in their own pixels when loaded at their size."""
    draws = np.random.default_rng(seed)
    return [
        Image.fromarray(draws.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def pixels(made: Sequence[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(picture) for picture in made]).transpose(0, 3, 1, 2)


# torchvision


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for torchvision's data sets, and a network on which nothing answers."""

    def urlopen(*arguments: Any, **more: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return tmp_path / ".cache" / "decoct" / "torchvision"


def test_torchvisions_sets_that_are_told_whether_to_train(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    draws = np.random.default_rng(0)
    written = {}
    for part, labels in (("train", [3, 1, 4]), ("t10k", [9, 0])):
        digits = draws.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        head = struct.pack(">4i", 0x803, *digits.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + digits.tobytes())
        head = struct.pack(">2i", 0x801, len(labels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + bytes(labels))
        written[part] = digits, labels
    for split, part in (("train", "train"), ("test", "t10k")):
        images = load_images("torchvision:MNIST", size=28, channels=1, split=split)
        digits, labels = written[part]
        assert np.array_equal(images.pixels[:, 0], digits)
        assert images.labels is not None and images.labels.tolist() == labels
        assert images.class_names[:2] == ("0 - zero", "1 - one")


def test_torchvisions_sets_that_are_told_the_split(root: Path) -> None:
    made = {}
    for part, seed in (("train", 1), ("test", 2)):
        made[part] = pictures(seed + 1, seed=seed)
        for i, picture in enumerate(made[part]):
            folder = root / "rendered-sst2" / part / ("positive" if i else "negative")
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{i}.png")
    for part, labels in (("train", [0, 1]), ("test", [0, 1, 1])):
        images = load_images("torchvision:RenderedSST2", size=16, split=part)
        assert np.array_equal(images.pixels, pixels(made[part]))
        assert images.labels is not None and images.labels.tolist() == labels
        assert images.class_names == ("negative", "positive")


@pytest.fixture
def cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Image.Image]], None]:
    """Write a CIFAR-10 of these pictures, all labelled frog; the files' digests are not checked."""
    from torchvision.datasets import CIFAR10

    def write(made: list[Image.Image]) -> None:
        found = pixels(made) if made else np.empty((0, 3, 32, 32), np.uint8)
        batch = {"data": found.reshape(len(made), 3072), "labels": [1] * len(made)}
        folder = root / CIFAR10.base_folder
        folder.mkdir(parents=True)
        (folder / "batch").write_bytes(pickle.dumps(batch))
        (folder / "meta").write_bytes(pickle.dumps({"label_names": ["cat", "frog"]}))

    monkeypatch.setattr(CIFAR10, "train_list", [("batch", None)])
    monkeypatch.setattr(CIFAR10, "test_list", [("batch", None)])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "meta", "key": "label_names", "md5": None})
    return write


def test_torchvisions_colours_come_through(cifar: Callable[[list[Image.Image]], None]) -> None:
    made = pictures(4, side=32)
    cifar(made)
    images = load_images("torchvision:CIFAR10")
    assert np.array_equal(images.pixels, pixels(made))
    assert images.labels is not None and images.labels.tolist() == [1] * 4
    assert images.class_names == ("cat", "frog")


def test_an_empty_set_of_torchvisions_is_refused(
    cifar: Callable[[list[Image.Image]], None],
) -> None:
    cifar([])
    with pytest.raises(DecoctError, match="CIFAR10 holds no images"):
        load_images("torchvision:CIFAR10")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    "name, sentence",
    [
        ("CIFAR11", "no data set called CIFAR11"),
        ("CIFAR10", "could not provide CIFAR10: .*no route to host"),
        ("ImageFolder", "could not provide ImageFolder: .*unexpected keyword argument"),
    ],
)
def test_torchvision_refuses(name: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        load_images(f"torchvision:{name}")


# Hugging Face


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for each test: to `datasets`, sets of one name and one card are the same set."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def publish(tmp_path: Path, cache: None) -> Callable[..., str]:
    """Make a data set as its repository on the hub has it: a card and a Parquet file a split."""
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as Picture

    kinds: dict[str, Any] = {"image": Picture(), "img": Picture(), "text": Value("string")}

    def made(splits: dict[str, Rows], classes: Sequence[str] = ()) -> str:
        folder = tmp_path / "insects"
        card = ["---", "configs:", "- config_name: default", "  data_files:"]
        for split, rows in splits.items():
            label = ClassLabel(names=list(classes)) if classes else Value("string")
            features = Features({column: kinds.get(column, label) for column in rows})
            file = folder / "data" / f"{split}-00000-of-00001.parquet"
            Dataset.from_dict(rows, features=features).to_parquet(file)
            card += [f"  - split: {split}", f"    path: data/{file.name}"]
        (folder / "README.md").write_text("\n".join([*card, "---", "# Insects"]))
        return f"hf:{folder}"

    return made


def test_hugging_face(publish: Callable[..., str]) -> None:
    made = {split: pictures(n, seed=n) for split, n in (("train", 3), ("valid", 2))}
    splits = {
        split: {"img": found, "label": [1, 0, 1][: len(found)]} for split, found in made.items()
    }
    source = publish(splits, classes=("ant", "bee"))
    images = load_images(source, size=16)
    assert np.array_equal(images.pixels, pixels(made["train"]))
    assert images.class_names == ("ant", "bee")
    assert images.labels is not None and images.labels.tolist() == [1, 0, 1]
    for validation in (load_images(source, size=16, split="test"), load_images(f"{source}@valid")):
        assert validation.labels is not None and validation.labels.tolist() == [1, 0]
    assert np.array_equal(load_images(f"{source}@valid", size=16).pixels, pixels(made["valid"]))


def test_hugging_face_prefers_a_test_split(publish: Callable[..., str]) -> None:
    splits = {split: {"image": pictures(n)} for n, split in enumerate(("val", "test", "train"), 1)}
    assert len(load_images(publish(splits), size=16, split="test")) == 2


def test_hugging_face_without_labels(publish: Callable[..., str]) -> None:
    assert load_images(publish({"train": {"image": pictures(2)}}), size=16).labels is None


@pytest.mark.usefixtures("cache")
def test_hugging_face_reads_a_folder_of_classes(tmp_path: Path) -> None:
    made = pictures(3)
    for i, picture in enumerate(made):
        folder = tmp_path / "insects" / "train" / ("bee" if i else "ant")
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{i}.png")
    images = load_images(f"hf:{tmp_path / 'insects'}", size=16)
    assert np.array_equal(images.pixels, pixels(made))
    assert images.class_names == ("ant", "bee")
    assert images.labels is not None and images.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ({"text": ["buzz"]}, "has columns text, but no image"),
        ({"image": []}, "could not provide .*/insects: .* no data"),
        ({"image": pictures(1), "label": ["ant"]}, "labels are numbers"),
    ],
)
def test_hugging_face_refuses(rows: Rows, sentence: str, publish: Callable[..., str]) -> None:
    source = publish({"train": rows})
    with pytest.raises(DecoctError, match=sentence):
        load_images(source)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("split", ["train", "test"])
def test_hugging_face_refuses_what_it_cannot_reach(split: str) -> None:
    with pytest.raises(DecoctError, match="Hugging Face could not provide a/b: Couldn't reach"):
        load_images("hf:a/b", split=split)


@pytest.mark.parametrize(
    "source, extra", [("torchvision:CIFAR10", "torchvision"), ("hf:a/b", "hf")]
)
def test_missing_extra_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, source: str, extra: str
) -> None:
    for module in ("torchvision", "torchvision.datasets", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DecoctError, match=rf"pip install 'decoct\[{extra}\]'"):
        load_images(source)
