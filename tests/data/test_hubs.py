"""torchvision's and Hugging Face's data sets, through stand-ins for the modules."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data.sources import load_images


def _picture(size: tuple[int, int] = (20, 20), seed: int = 0) -> Image.Image:
    draws = np.random.default_rng(seed)
    return Image.fromarray(draws.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


class FakeVision:
    """A data set as torchvision's are: pairs of a picture and a label."""

    classes = ("cat", "dog")

    def __init__(self, root: str, *, download: bool, train: bool) -> None:
        assert download and root
        self.count = 4 if train else 2

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return _picture((32, 32), seed=index), index % 2


class FakeVisionSplit(FakeVision):
    """One of torchvision's newer sets, which name their split."""

    def __init__(self, root: str, *, download: bool, split: str) -> None:
        super().__init__(root, download=download, train=split == "train")


class FakeVisionGone(FakeVisionSplit):
    """One whose host does not answer."""

    def __init__(self, root: str, *, download: bool, split: str) -> None:
        raise OSError("no route to host")


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torchvision.datasets")
    for kind in (FakeVision, FakeVisionSplit, FakeVisionGone):
        setattr(module, kind.__name__, kind)
    module.Folder = lambda root: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("name", ["FakeVision", "FakeVisionSplit"])
def test_torchvision(name: str) -> None:
    train = load_images(f"torchvision:{name}", size=16)
    assert train.pixels.shape == (4, 3, 16, 16)
    assert train.class_names == ("cat", "dog")
    assert train.labels is not None and train.labels.tolist() == [0, 1, 0, 1]
    assert len(load_images(f"torchvision:{name}", size=16, split="test")) == 2


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    "name, sentence",
    [
        ("CIFAR11", "no data set called CIFAR11"),
        ("FakeVisionGone", "could not provide FakeVisionGone: no route to host"),
        ("Folder", "could not provide Folder"),
    ],
)
def test_torchvision_refuses(name: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        load_images(f"torchvision:{name}")


class FakeHub(list[dict[str, Any]]):
    """A data set as Hugging Face's `datasets` gives it: rows, and what the columns are."""

    def __init__(self, rows: list[dict[str, Any]], **features: Any) -> None:
        super().__init__(rows)
        self.features = features


def _hub(monkeypatch: pytest.MonkeyPatch, data: dict[str, FakeHub]) -> None:
    module = ModuleType("datasets")
    module.load_dataset = lambda repository, split: data[split]  # type: ignore[attr-defined]
    module.get_dataset_split_names = lambda repository: list(data)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def _rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"img": _picture(seed=i), **more} for i in range(count)]


def test_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    label = SimpleNamespace(names=["ant", "bee"])
    sets = {
        split: FakeHub(_rows(count, label=1), img=None, label=label)
        for split, count in (("train", 3), ("valid", 2))
    }
    _hub(monkeypatch, sets)
    images = load_images("hf:someone/insects", size=16)
    assert images.pixels.shape == (3, 3, 16, 16)
    assert images.class_names == ("ant", "bee")
    assert images.labels is not None and images.labels.tolist() == [1, 1, 1]
    assert len(load_images("hf:someone/insects", size=16, split="test")) == 2
    assert len(load_images("hf:someone/insects@valid", size=16)) == 2


def test_hugging_face_without_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, {"train": FakeHub(_rows(2), img=None)})
    assert load_images("hf:a/b", size=16).labels is None


@pytest.mark.parametrize(
    "data, sentence",
    [
        ({"train": FakeHub(_rows(1), text=None)}, "has columns text, but no image"),
        ({"train": FakeHub([], img=None)}, "holds no images"),
        ({"train": FakeHub(_rows(1, label="ant"), img=None, label=None)}, "labels are numbers"),
        ({}, "Hugging Face could not provide a/b"),
    ],
)
def test_hugging_face_refuses(
    monkeypatch: pytest.MonkeyPatch, data: dict[str, FakeHub], sentence: str
) -> None:
    _hub(monkeypatch, data)
    with pytest.raises(DecoctError, match=sentence):
        load_images("hf:a/b")


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
