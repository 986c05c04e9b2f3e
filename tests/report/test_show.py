"""Tests of the descriptions of artefacts, and of the pictures drawn from them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import decoct
from decoct.artefacts.distilled import DistilledSet, TrainingRule
from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core import checkpoint, failing_step, storage
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.evaluation.label_free import LabelFreeRow, LabelFreeScores
from decoct.evaluation.scores import Score, Scores
from decoct.models.registry import NetworkConfig
from decoct.report.descriptions import DESCRIBERS
from decoct.report.show import describe, show
from decoct.run.seconds import add_seconds
from decoct.studies.ablation import Ablation, Outcome
from decoct.studies.fit import Candidate, Fit
from decoct.studies.frontier.cells import Cell, Frontier
from decoct.studies.tune import Trial, Tuning
from decoct.studies.variance.findings import Findings, NoiseAt, Variance
from decoct.studies.variance.gradient_variance import Noise
from decoct.studies.variance.matching import Matching
from decoct.studies.variance.spread import Spread
from decoct.training.assistant import AssistantConfig, train_assistant
from decoct.training.pretrain import fresh_encoder

COLOUR = {"mean": torch.full((3,), 0.5), "std": torch.full((3,), 0.25)}
CONFIG = {"network": {"name": "convnet", "width": 4, "depth": 3}}


def distilled_set(*, initial: bool = True, count: int = 5) -> DistilledSet:
    images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return DistilledSet(
        images=images,
        targets=torch.zeros(count, 2),
        **COLOUR,
        rule=TrainingRule(lr=0.125, momentum=0.0, weight_decay=0.0, batch=4),
        method="mkdt" if initial else "random",
        initial=-images if initial else None,
        history={"loss": torch.tensor([1.0, 0.75]), "lr": torch.tensor([0.1, 0.125])},
        provenance={"images": "pictures", "seed": 3, "decoct": "0.1.0", "torch": "2"},
    )


def findings() -> Findings:
    noise = NoiseAt("batches", 0, 16, Noise(2.0, 1.0, 0.1, 4, 0.5))
    return Findings(
        name="simclr",
        images=60,
        lr=0.05,
        losses=(3.0, 2.0),
        noise=(noise,),
        spread=(Spread(1, 0.5, 0.1, 3, 0.9),),
        matching=Matching((1.0, 0.5), (0.1, 0.1), 0.25),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One artefact of each kind, as a run would leave them."""
    pixels = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(30) % 3
    images = Images(pixels=pixels, **COLOUR, labels=labels, class_names=("a", "b", "c"))
    images.save(tmp_path / "images/images.safetensors")
    encoder = fresh_encoder(NetworkConfig(width=4), **COLOUR, size=8, seed=0)
    provenance = {"method": "mkdt", "losses": [2.0, 0.5]}
    replace(encoder, provenance=provenance).save(tmp_path / "encoder/encoder.safetensors")
    config = TargetsConfig(components=2)
    fit_targets(torch.randn(30, 6), config).save(tmp_path / "targets/targets.safetensors")
    for k in range(2):
        tensors = {"parameters": torch.zeros(4, 10), "losses": torch.tensor([1.0, 0.5, 0.25])}
        meta = {"expert": k, "seed": 0, "config": CONFIG}
        storage.save_tensors(
            tmp_path / f"experts/0000{k}.safetensors", tensors, kind="expert", meta=meta
        )
    difficulty = {"difficulty": torch.arange(30.0)}
    storage.save_tensors(
        tmp_path / "difficulty/difficulty.safetensors", difficulty, kind="difficulty", meta={}
    )
    distilled_set().save(tmp_path / "mkdt/distilled.safetensors")
    score = Score(method="mkdt", seed=0, task="animals", labels="5%", draw=0, accuracy=61.25)
    Scores((score,)).save(tmp_path / "scores.json")
    found = {"task": "animals", "labels": "5%", "draw": 0, "accuracy": 61.25}
    storage.save_json(tmp_path / "probe/probe.json", {"scores": [found]}, kind="probe")
    assistant = train_assistant(
        images=images,
        targets=fit_targets(torch.randn(30, 2), TargetsConfig()),
        config=AssistantConfig(epochs=1, network=NetworkConfig(width=4)),
    )
    assistant.save(tmp_path / "assistant/assistant.safetensors")
    score = replace(score, method="")
    cell = Cell(
        method="random",
        network="convnet 4",
        axis="steps",
        budget="480",
        optimiser="muon",
        lr_factor=1.0,
        bytes=1000,
        steps=480,
        error=0.5,
        best=True,
        scores=(score,),
        keys=("a",),
    )
    Frontier("mine", (cell,), {"a": 0.5}).save(tmp_path / "frontier.json")
    free = LabelFreeScores((LabelFreeRow(0.5, 12.0, 0.25, "carried", 0),), left_out=20)
    free.save(tmp_path / "label_free.json")
    plan = {"folder": "/home/ana/photos", "wanted": "1234"}
    storage.save_json(tmp_path / "plan.json", plan, kind="plan")
    add_seconds(tmp_path / "images" / "seconds.json", 2.5)
    Fit("1MB", "carried", (Candidate("convnet", 32, "int8", 50, 0.0, 9, 999, 0.5),)).save(
        tmp_path / "fit.json"
    )
    error = {"error": 0.25}
    storage.save_json(tmp_path / "tune/error.json", error, kind="target-probe")
    storage.save_json(tmp_path / "finetuned.json", {"accuracy": 51.25}, kind="finetuned")
    storage.save_json(tmp_path / "diverged/error.json", {"error": None}, kind="target-probe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "FORMAT_VERSION", 1)
        storage.save_json(tmp_path / "old-tune/error.json", error, kind="pool-error")
    Tuning((Trial("random", 2.0, 10, 0.5),)).save(tmp_path / "tuning.json")
    measured = findings()
    measured.save(tmp_path / "variance-simclr/findings.json")
    Variance((measured,), (), 16, "adam", False).save(tmp_path / "variance.json")
    outcomes = [Outcome("size", "5%", True, (score, replace(score, method="random")), None, 1.0)]
    Ablation("mine", tuple(outcomes)).save(tmp_path / "ablation.json")
    state = {"network.weight": torch.zeros(3, 4)}
    checkpoint.save(tmp_path / "state.safetensors", state, meta={"losses": [2.0, 1.5]})
    failing_step.keep(
        tmp_path / "state.safetensors", state, meta={}, step="step 3 of epoch 1", where="log of it"
    )
    content = {"stages": {"images": "images"}, "seconds": {"images": 1.5}, "decoct": "0.1.0"}
    storage.save_json(tmp_path / "run.json", content, kind="run")
    storage.save_json(tmp_path / "seconds.json", {"seconds": 1.5}, kind="seconds")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("images/images.safetensors", ["30 images", "3 x 8 x 8", "3 classes: a, b, c"]),
        ("encoder/encoder.safetensors", ["convnet, width 4", "mkdt", "2 at first, 0.5 at the end"]),
        ("targets/targets.safetensors", ["30 images", "2 of 6 dimensions"]),
        ("experts/00001.safetensors", ["expert 1", "0.25 at the end"]),
        ("experts", ["2 experts", "0.25 to 0.25"]),
        ("difficulty/difficulty.safetensors", ["30 images", "images 29, 28"]),
        ("mkdt/distilled.safetensors", ["5 images", "rate 0.125", "pictures", "0.75 at the end"]),
        ("mkdt", ["5 images"]),
        ("scores.json", ["animals", "61.2"]),
        ("label_free.json", ["carried, judged without labels", "12.0", "On 20 images"]),
        ("plan.json", ["decoct distill", "/home/ana/photos"]),
        ("images/seconds.json", ["2.5"]),
        ("probe/probe.json", ["animals, 5%", "61.2 %"]),
        ("run.json", ["1 stages", "1.5 s"]),
        ("assistant", ["assistant, convnet, width 4", "2 dimensions for any view"]),
        ("tune", ["target-probe error", "0.2500"]),
        ("tune/error.json", ["target-probe error", "0.2500"]),
        ("diverged", ["target-probe error", "training diverged"]),
        ("old-tune", ["target-probe error", "0.2500"]),
        ("variance-simclr", ["simclr", "60", "0.05", "3 at first, 2 at the end", "noise at 1"]),
        ("variance.json", ["1 objectives", "simclr"]),
        ("ablation.json", ["mine with one thing changed", "size"]),
        ("finetuned.json", ["fine-tuned on one draw of labels", "51.2 %"]),
        ("tuning.json", ["1 trials", "10 epochs, x 2"]),
        ("seconds.json", ["how long a stage took", "1.5"]),
        ("state.safetensors", ["interrupted", "12", "2 at first, 1.5 at the end"]),
        ("failing-step.safetensors", ["decoct replay", "step 3 of epoch 1", "log of it", "12"]),
        ("", ["1 stages", "decoct 0.1.0"]),
    ],
)
def test_every_artefact_is_described(folder: Path, name: str, words: list[str]) -> None:
    text = describe(folder / name)
    assert len(text.splitlines()) > 1
    for word in words:
        assert word in text


def written_kinds() -> set[str]:
    """The kinds of all files that the code writes, found in its source lines."""
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in Path(decoct.__file__).parent.rglob("*.py")
        if path.parent.name != "report"  # which reads
    )
    found = re.findall(r'kind="([a-z-]+)"', text)  # to write, and to read again
    found += re.findall(r'_KIND = "([a-z-]+)"', text)
    found += re.findall(r'Artefact\(\s*"[^"]+",\s*"([a-z-]+)"', text)
    return set(found)


def kind_of(path: Path) -> str:
    if path.suffix == ".json":
        return str(json.loads(path.read_text())["kind"])
    return str(storage.read_header(path)["kind"])


def test_every_kind_that_is_written_is_described(folder: Path) -> None:
    assert {"findings", "target-probe", "checkpoint", "difficulty"} < written_kinds()
    old = {"pool-error"}
    assert set(DESCRIBERS) == written_kinds() | old
    there = {kind_of(path) for path in folder.rglob("*") if path.is_file()}
    assert there == set(DESCRIBERS)  # and tried, in the test above


def test_real_and_synthetic_images_stand_side_by_side(folder: Path) -> None:
    text = show(folder / "mkdt/distilled.safetensors")
    picture = folder / "mkdt/distilled.png"
    assert text.endswith(f"all 5 images, real on the left, synthetic on the right: {picture}")
    with Image.open(picture) as image:
        array = np.asarray(image)
    scale, expected = 4, distilled_set()
    real = expected.initial_pixels()
    assert real is not None
    for pixels, left in ((real, 0), (expected.pixels(), 3 * 10 - 2 + 12)):
        tile = array[::scale, left * scale :: scale][:8, :8, :3]
        np.testing.assert_array_equal(tile, pixels[0].permute(1, 2, 0))


def test_a_set_of_real_images_has_one_grid(tmp_path: Path) -> None:
    distilled_set(initial=False).save(tmp_path / "distilled.safetensors")
    assert "all 5 images: " in show(tmp_path)
    with Image.open(tmp_path / "distilled.png") as image:
        assert image.size == (4 * 28, 4 * 18)


def test_the_picture_goes_where_it_is_asked_for(folder: Path) -> None:
    target = folder / "elsewhere/grid.png"
    assert str(target) in show(folder / "images", out=target)
    assert target.read_bytes().startswith(b"\x89PNG")
    show(folder / "images", out=folder)
    assert (folder / "images.png").is_file()


def test_of_many_images_the_first_are_drawn(tmp_path: Path) -> None:
    pixels = torch.zeros(500, 1, 4, 4, dtype=torch.uint8)
    mean, std = torch.zeros(1), torch.ones(1)
    Images(pixels=pixels, mean=mean, std=std).save(tmp_path / "images.safetensors")
    assert "the first 400 of 500 images" in show(tmp_path)


def test_what_holds_no_images_gets_no_picture(folder: Path) -> None:
    show(folder / "targets")
    assert not list(folder.rglob("*.png"))


def test_a_picture_that_cannot_be_written_gets_a_sentence(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(DecoctError, match="cannot be written"):
        show(folder / "images", out=folder / "file/grid.png")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def test_a_file_cut_short_gets_a_sentence(folder: Path) -> None:
    for name in ("mkdt/distilled.safetensors", "scores.json"):
        _cut(folder / name)
        with pytest.raises(DecoctError, match="damaged"):
            show(folder / name)


_HEADER = {"kind": "hologram", "version": 2, "digest": "0", "meta": {}}
_HOLOGRAM = json.dumps(_HEADER, indent=1) + "\n"


def test_an_altered_file_gets_a_sentence(folder: Path) -> None:
    path = folder / "scores.json"
    path.write_text(path.read_text().replace("61.25", "99.25"))
    with pytest.raises(DecoctError, match="digest"):
        describe(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.json", None, "does not exist"),
        ("notes.txt", "hello", "no artefact of decoct"),
        ("other.json", json.dumps({"a": 1}), "decoct wr(ote|ites)"),
        ("list.json", "[]", "decoct wr(ote|ites)"),
        ("broken.json", "{", "damaged"),
        ("new.json", _HOLOGRAM, "hologram"),
        ("broken.safetensors", "hello", "damaged"),
    ],
)
def test_what_is_not_ours_gets_a_sentence(
    tmp_path: Path, name: str, content: str | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DecoctError, match=sentence):
        show(tmp_path / name)


def test_a_folder_of_nothing_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="holds no run"):
        show(tmp_path)
