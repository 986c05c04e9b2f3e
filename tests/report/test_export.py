"""What leaves us as PNG images and targets, or as uint8."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decoct.artefacts.distilled import DistilledSet, TrainingRule, load_distilled
from decoct.core.errors import DecoctError
from decoct.data.images import Images, normalise
from decoct.report.export import export
from decoct.report.show import describe
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe


@pytest.fixture(params=[3, 1], ids=["colour", "grey"])
def distilled(request: pytest.FixtureRequest, tiny_images: Images) -> DistilledSet:
    """A set whose synthetic pixels go beyond black and white, as learnt ones do."""
    images = Images.from_array(tiny_images.pixels[:6], channels=request.param)
    real = images.normalised()
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    return DistilledSet(
        images=real + 0.5 * noise,
        targets=noise.flatten(1)[:, :4].contiguous(),
        mean=images.mean,
        std=images.std,
        initial=real,
        index=torch.arange(6),
        method="mkdt",
        rule=TrainingRule(lr=0.25, momentum=0.0, weight_decay=0.0, batch=4),
        history={"loss": torch.tensor([1.0, 0.5])},
        provenance={"seed": 0},
    )


@pytest.fixture
def path(distilled: DistilledSet, tmp_path: Path) -> Path:
    distilled.save(tmp_path / "distilled.safetensors")
    return tmp_path / "distilled.safetensors"


def test_pictures_and_targets(distilled: DistilledSet, path: Path, tmp_path: Path) -> None:
    out = export(path, out=tmp_path / "set")
    files = sorted(out.glob("*.png"))
    assert [file.name for file in files] == [f"{i:05d}.png" for i in range(6)]
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    images = Images.from_array(pixels)
    assert torch.equal(images.pixels, distilled.pixels())
    targets = np.load(out / "targets.npy")
    assert targets.dtype == np.float32
    assert np.array_equal(targets, distilled.targets.numpy())


def test_what_is_said_of_it_is_enough_to_train(
    distilled: DistilledSet, path: Path, tmp_path: Path
) -> None:
    out = export(path, out=tmp_path / "set")
    facts = json.loads((out / "set.json").read_text())
    assert facts["rule"] == {
        "optimiser": "sgd",
        "lr": 0.25,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch": 4,
        "schedule": "constant",
        "warm_up": 0,
    }
    mean, std = torch.tensor(facts["mean"]), torch.tensor(facts["std"])
    again = normalise(distilled.pixels(), mean, std)
    rms = float((again - distilled.images).square().mean().sqrt())
    assert facts["rounding"]["rms"] == pytest.approx(rms, rel=1e-4)
    assert 0 < facts["rounding"]["clipped"] < 0.5
    text = (out / "README.txt").read_text()
    assert "(pixel / 255 - mean) / std" in text
    assert "SGD, learning rate 0.25, momentum 0, weight decay 0, batch 4" in text


def test_another_optimiser_is_not_called_sgd(distilled: DistilledSet, tmp_path: Path) -> None:
    rule = TrainingRule(lr=0.001, batch=4, optimiser="adam", schedule="cosine", warm_up=3)
    replace(distilled, rule=rule).save(tmp_path / "distilled.safetensors")
    out = export(tmp_path / "distilled.safetensors", out=tmp_path / "set")
    assert json.loads((out / "set.json").read_text())["rule"]["optimiser"] == "adam"
    said = "Adam, learning rate 0.001, weight decay 0.0001, batch 4, cosine, warm-up 3 epochs"
    assert said in (out / "README.txt").read_text()
    assert said in describe(tmp_path / "distilled.safetensors")


def test_uint8_file_is_a_set_again(distilled: DistilledSet, path: Path, tmp_path: Path) -> None:
    file = export(path, out=tmp_path / "small.safetensors", uint8=True)
    again = load_distilled(file)
    step = (distilled.images.amax((0, 2, 3)) - distilled.images.amin((0, 2, 3))) / 255
    error = (again.images - distilled.images).abs().amax((0, 2, 3))
    assert bool((error <= 0.51 * step).all())  # rounded, and nothing clipped
    assert torch.equal(again.targets, distilled.targets)
    assert again.initial is not None and distilled.initial is not None
    torch.testing.assert_close(again.initial, distilled.initial, atol=0.02, rtol=0)
    assert (again.rule, again.method, again.provenance) == (distilled.rule, "mkdt", {"seed": 0})
    assert torch.equal(again.history["loss"], distilled.history["loss"])
    assert file.stat().st_size < 0.5 * path.stat().st_size


def test_uint8_of_a_set_without_initial_images(distilled: DistilledSet, tmp_path: Path) -> None:
    replace(distilled, initial=None, index=None).save(tmp_path / "a.safetensors")
    file = export(tmp_path / "a.safetensors", out=tmp_path / "folder", uint8=True)
    assert file == tmp_path / "folder" / "distilled.safetensors"
    assert load_distilled(file).initial is None


def test_a_constant_channel_survives_uint8(distilled: DistilledSet, tmp_path: Path) -> None:
    flat = replace(distilled, images=torch.full_like(distilled.images, 0.3))
    flat.save(tmp_path / "a.safetensors", uint8=True)
    assert torch.equal(load_distilled(tmp_path / "a.safetensors").images, flat.images)


def test_nothing_is_overwritten(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(DecoctError, match="already exists"):
        export(path, out=path, uint8=True)
    with pytest.raises(DecoctError, match="not an empty folder"):
        export(path, out=tmp_path)
    with pytest.raises(DecoctError, match="not an empty folder"):
        export(path, out=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("uint8", [True, False])
def test_no_paths_of_this_machine_leave_it(
    uint8: bool, distilled: DistilledSet, tmp_path: Path
) -> None:
    secret = {"images": "/home/ana/photos", "teacher": {"source": "~ana/nets/vit.pt"}, "lr": [0.1]}
    replace(distilled, provenance=secret).save(tmp_path / "set/distilled.safetensors")
    export(tmp_path / "set", out=tmp_path / "out", uint8=uint8)  # the folder will do
    for file in (tmp_path / "out").iterdir():
        assert b"ana/" not in file.read_bytes() and b"/home" not in file.read_bytes()
    if not uint8:
        said = json.loads((tmp_path / "out/set.json").read_text())["provenance"]
        assert said["images"] == "photos" and said["lr"] == [0.1]


def test_only_whole_sets_are_exported(path: Path, tmp_path: Path, tiny_images: Images) -> None:
    tiny_images.save(tmp_path / "images.safetensors")
    with pytest.raises(DecoctError, match="'distilled' is needed here"):
        export(tmp_path / "images.safetensors", out=tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DecoctError, match="damaged"):
        export(path, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_is_searched_for_its_set(path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("mkdt-seed0", "random-seed0"):
        (run / name).mkdir(parents=True)
    with pytest.raises(DecoctError, match="run is a folder that holds no distilled set"):
        export(run, out=tmp_path / "a")
    (run / "mkdt-seed0/distilled.safetensors").write_bytes(path.read_bytes())
    assert (export(run, out=tmp_path / "a") / "00000.png").exists()
    (run / "random-seed0/distilled.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(DecoctError, match="name one of mkdt-seed0, random-seed0"):
        export(run, out=tmp_path / "b")
    (run / "distilled.safetensors").write_bytes(path.read_bytes())  # the run's own
    assert (export(run, out=tmp_path / "b") / "00000.png").exists()


def test_an_export_says_nothing_of_the_folders_it_came_from(
    tmp_path: Path, tiny_images: Images
) -> None:
    pool = tmp_path / "photos"
    pool.mkdir()
    for i, pixels in enumerate(tiny_images.pixels[:6]):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(pool / f"{i}.png")
    recipe = Recipe(size=3).set("images.source", str(pool)).set("images.size", 16)
    made = Run(recipe, tmp_path / "run").distilled("random", 0)
    made.save(tmp_path / "set.safetensors")
    out = export(tmp_path / "set.safetensors", out=tmp_path / "out")
    texts = [(out / name).read_text() for name in ("set.json", "README.txt")]
    texts.append((tmp_path / "set.safetensors").read_bytes().decode("latin-1"))
    assert not [text for text in texts if str(tmp_path) in text]
