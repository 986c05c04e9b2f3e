"""torchvision's and Hugging Face's data sets, by the real libraries, from files on the disk."""

import pickle
import struct
import sys
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data.sources import load_images
from decoct.data.tasks import load_task

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
    draws = np.random.default_rng(0)
    written = {}
    for part, labels in (("train", [3, 1, 4]), ("t10k", [9, 0])):
        digits = draws.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        write_idx(root / "MNIST" / "raw", f"{part}-{{}}-idx{{}}-ubyte", digits, labels)
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
        ("CIFAR10", "could not provide CIFAR10 in .*: .*no route to host"),
        ("Flowers102@test", "could not provide Flowers102@test in .*no route to host"),
        ("Flowers102@tests", "Unknown value 'tests' for argument split. Valid values are"),
        ("PhotoTour", "could not provide PhotoTour in .*missing 1 required positional"),
        ("FER2013", "could not provide FER2013 in .*train.csv not found in .*fer2013"),
        ("EuroSAT@train", "EuroSAT@train: its parts are unnamed"),
        ("MNIST@val", "MNIST@val: its parts are train and test"),
        ("ImageFolder", "ImageFolder is for any folder: give the folder itself"),
    ],
)
def test_torchvision_refuses(name: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        load_images(f"torchvision:{name}")


def write_idx(folder: Path, name: str, images: NDArray[np.uint8], labels: Sequence[int]) -> None:
    """A pair of files as MNIST and its relatives have them."""
    folder.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">4i", 0x803, *images.shape)
    (folder / name.format("images", 3)).write_bytes(head + images.tobytes())
    head = struct.pack(">2i", 0x801, len(labels))
    (folder / name.format("labels", 1)).write_bytes(head + bytes(labels))


def test_emnists_parts_are_its_variants(root: Path) -> None:
    digits = np.arange(4 * 28 * 28).reshape(4, 28, 28).astype(np.uint8)
    for variant, part in (("balanced", "train"), ("letters", "test")):
        name = f"emnist-{variant}-{part}-{{}}-idx{{}}-ubyte"
        write_idx(root / "EMNIST" / "raw", name, digits, [1, 2, 3, 3])
    balanced = load_images("torchvision:EMNIST", size=28, channels=1)
    assert np.array_equal(balanced.pixels[:, 0], digits)
    letters = load_images("torchvision:EMNIST@letters", size=28, channels=1, split="test")
    assert letters.class_names[:4] == ("N/A", "a", "b", "c")
    assert letters.labels is not None and letters.labels.tolist() == [1, 2, 3, 3]


def test_the_unlabelled_images_of_stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pictures(3, side=96)
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "unlabeled_X.bin").write_bytes(pixels(made).transpose(0, 1, 3, 2).tobytes())
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    monkeypatch.setattr("torchvision.datasets.STL10._check_integrity", lambda self: True)
    images = load_images("torchvision:STL10@unlabeled", size=96)
    assert np.array_equal(images.pixels, pixels(made))
    assert images.labels is None


@pytest.mark.parametrize(
    "name, folder, classes",
    [
        ("EuroSAT", "eurosat/2750", ("Forest", "River")),
        ("Caltech101", "caltech101/101_ObjectCategories", ("ant", "bass")),
        ("SUN397", "SUN397", ("a/abbey", "b/attic")),
        ("INaturalist", "2021_train", ("00000_K_P_C_O_F_G_a", "00001_K_P_C_O_F_G_b")),
    ],
)
def test_sets_of_class_folders(
    name: str, folder: str, classes: tuple[str, ...], root: Path
) -> None:
    made = pictures(2)
    for picture, category in zip(made, classes, strict=True):
        (root / folder / category).mkdir(parents=True)
        picture.save(root / folder / category / "image_0001.jpg", quality=100)
        picture.save(root / folder / category / "sun_0001.jpg", quality=100)
    (root / "SUN397" / "ClassName.txt").parent.mkdir(exist_ok=True)
    (root / "SUN397" / "ClassName.txt").write_text("/a/abbey\n/b/attic\n")
    (root / "caltech101" / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google").mkdir(parents=True)
    images = load_images(f"torchvision:{name}", size=16)
    assert images.labels is not None and set(images.labels.tolist()) == {0, 1}
    with pytest.raises(DecoctError, match=f"torchvision:{name} is no task|no route to host"):
        load_task(f"torchvision:{name}")


def test_omniglot_is_a_pool_but_no_task(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.Omniglot._check_integrity", lambda self: True)
    for part in ("background", "evaluation"):
        folder = root / "omniglot-py" / f"images_{part}" / "Latin" / "character01"
        folder.mkdir(parents=True)
        Image.fromarray(np.eye(105) > 0).save(folder / f"{part}.png")
    assert len(load_images("torchvision:Omniglot@evaluation")) == 1
    with pytest.raises(DecoctError, match="torchvision:Omniglot is no task"):
        load_task("torchvision:Omniglot")


def test_pets_are_split_under_another_name(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    for number, (part, breed) in enumerate((("trainval", "Beagle"), ("test", "Birman"))):
        pictures(1)[0].save(folder / "images" / f"{breed}_1.jpg")
        (folder / "annotations" / f"{part}.txt").write_text(f"{breed}_1 {number + 1} 1 1\n")
    for split, breed in (("train", "Beagle"), ("test", "Birman")):
        images = load_images("torchvision:OxfordIIITPet", size=16, split=split)
        assert images.class_names == (breed,)


def test_faces_from_a_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import FER2013

    monkeypatch.setattr(FER2013, "_RESOURCES", {k: (f"{k}.csv", None) for k in FER2013._RESOURCES})
    grey = np.arange(48 * 48).reshape(48, 48).astype(np.uint8)
    (root / "fer2013").mkdir(parents=True)
    text = f'emotion,pixels\n3,"{" ".join(map(str, grey.flatten()))}"\n'
    (root / "fer2013" / "train.csv").write_text(text)
    images = load_images("torchvision:FER2013", size=48, channels=1)
    assert np.array_equal(images.pixels[0, 0], grey)
    assert images.labels is not None and images.labels.tolist() == [3]


def test_the_folder_can_be_chosen(
    cifar: Callable[[list[Image.Image]], None],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cifar(pictures(2, side=32))
    root.rename(tmp_path / "sets")
    monkeypatch.setenv("DECOCT_TORCHVISION", "~/sets")
    assert len(load_images("torchvision:CIFAR10")) == 2


def test_a_damaged_pickle_is_a_sentence(
    cifar: Callable[[list[Image.Image]], None], root: Path
) -> None:
    cifar(pictures(2, side=32))
    for damaged in (pickle.dumps({"daat": 0}), b"\x80\x04"):
        next(root.glob("*/batch")).write_bytes(damaged)
        with pytest.raises(
            DecoctError, match=r"CIFAR10 in .*torchvision: .* damaged .*delete them"
        ):
            load_images("torchvision:CIFAR10")


def test_one_part_is_no_task(cifar: Callable[[list[Image.Image]], None]) -> None:
    cifar(pictures(2, side=32))
    with pytest.raises(DecoctError, match="a task needs two: leave out @test"):
        load_task("torchvision:CIFAR10@test")


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
    from datasets import Sequence as Lists

    kinds: dict[str, Any] = dict.fromkeys(("image", "img", "left", "right"), Picture())
    kinds |= {"text": Value("string"), "cls": Lists(Value("int64"))}

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


def test_hugging_face_skips_rows_without_a_picture(
    publish: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    made = pictures(3)
    rows = {"image": [made[0], None, made[1], made[2]], "label": [0, 1, 1, 0]}
    images = load_images(publish({"train": rows}, classes=("ant", "bee")), size=16)
    assert np.array_equal(images.pixels, pixels(made))
    assert images.labels is not None and images.labels.tolist() == [0, 1, 0]
    assert "1 of 4 images are missing or damaged (row 1: it is empty)" in capsys.readouterr().err


@pytest.mark.usefixtures("cache")
def test_hugging_face_skips_pictures_that_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset, Features
    from datasets import Image as Picture

    file = BytesIO()
    pictures(1)[0].save(file, "png")
    encoded = [{"bytes": text, "path": None} for text in (file.getvalue(), b"spoiled")]
    rows = Dataset.from_dict(
        {"photo": encoded}, features=Features({"photo": Picture(decode=False)})
    ).cast_column("photo", Picture())
    rows.to_parquet(tmp_path / "a.parquet")
    monkeypatch.chdir(tmp_path)
    assert len(load_images("hf:a.parquet", size=16)) == 1


def test_hugging_face_gives_classes_in_words_the_same_numbers_everywhere(
    publish: Callable[..., str],
) -> None:
    splits = {
        "train": {"image": pictures(3), "label": ["wasp", "ant", "bee"]},
        "test": {"image": pictures(2), "label": ["wasp", "ant"]},
    }
    task = load_task(publish(splits), size=16)
    assert task.train.class_names == task.test.class_names == ("ant", "bee", "wasp")
    assert task.train_labels.tolist() == [2, 0, 1]
    assert task.test_labels.tolist() == [2, 0]


def test_hugging_face_leaves_out_what_is_no_class(
    publish: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    images = load_images(publish({"train": {"image": pictures(2), "cls": [[1], [0, 1]]}}), size=16)
    assert images.labels is None
    assert "its labels (list) are no classes, and are left out" in capsys.readouterr().err


def test_hugging_face_finds_images_by_their_type_and_lets_one_choose(
    publish: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    left, right = pictures(2, seed=1), pictures(2, seed=2)
    source = publish({"train": {"left": left, "right": right, "text": ["image", "img"]}})
    assert np.array_equal(load_images(source, size=16).pixels, pixels(left))
    assert f"2 columns of images; reading left, not {source}#right" in capsys.readouterr().err
    assert np.array_equal(load_images(f"{source}#right", size=16).pixels, pixels(right))
    for column in ("text", "up"):
        with pytest.raises(DecoctError, match="its columns of images are left, right"):
            load_images(f"{source}@train#{column}")


def test_hugging_face_configurations(cache: None, tmp_path: Path) -> None:
    from datasets import Dataset

    card = ["---", "configs:"]
    for config, count in (("small", 1), ("large", 2)):
        file = tmp_path / "set" / config / "full.parquet"
        Dataset.from_dict({"image": pictures(count)}).to_parquet(file)
        card += [f"- config_name: {config}", "  data_files:"]
        card += ["  - split: full", f"    path: {config}/full.parquet"]
    (tmp_path / "set" / "README.md").write_text("\n".join([*card, "---"]))
    source = f"hf:{tmp_path / 'set'}"
    assert len(load_images(f"{source}:large", size=16)) == 2  # the only split, whatever its name
    assert len(load_images(f"{source}:small@full", size=16)) == 1
    with pytest.raises(DecoctError, match="Config name is missing"):
        load_images(source)
    with pytest.raises(DecoctError, match=r"no test split, but full; choose one with .*@full"):
        load_task(f"{source}:large")
    with pytest.raises(DecoctError, match="a task needs two: leave out @full"):
        load_task(f"{source}:large@full")


@pytest.mark.usefixtures("cache")
def test_hugging_face_reads_web_datasets(tmp_path: Path) -> None:
    made = pictures(3)
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for number, picture in enumerate(made):
            file = BytesIO()
            picture.save(file, "png")
            for suffix, content in (("png", file.getvalue()), ("cls", f"{number % 2}".encode())):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
    for source in (tmp_path, tmp_path / "train-0.tar"):
        images = load_images(f"hf:{source}", size=16)
        assert np.array_equal(images.pixels, pixels(made))
        assert images.labels is not None and images.labels.tolist() == [0, 1, 0]


def test_hugging_face_reads_what_was_saved_to_disk(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    saved = Dataset.from_dict({"image": pictures(2)})
    saved.save_to_disk(tmp_path / "one")
    DatasetDict(train=saved, test=saved.select([0])).save_to_disk(tmp_path / "both")
    assert len(load_images(f"hf:{tmp_path / 'one'}", size=16)) == 2
    assert len(load_images(f"hf:{tmp_path / 'both'}", size=16, split="test")) == 1
    assert len(load_images(f"hf:{tmp_path / 'both'}@test", size=16)) == 1


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ({"text": ["buzz"]}, "has columns text, but no images"),
        ({"image": []}, "could not provide .*/insects: .* no data"),
        ({"image": [*pictures(1), None, None]}, r"2 of 3 images are missing .*row 1.*too few"),
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
