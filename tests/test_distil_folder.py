"""`decoct distill FOLDER`, from pictures to an encoder in use, as a user runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decoct import load_distilled
from decoct.artefacts.encoder import Encoder
from decoct.cli import main
from decoct.core import storage
from decoct.run import plan as plan_module

QUICK = [
    "--teacher",
    "train",
    "--teacher.ssl.network.width",
    "4",
    "--teacher.ssl.steps",
    "2",
    "--assistant.epochs",
    "1",
    "--pretrain.network.width",
    "4",
    "--pretrain.steps",
    "2",
    "--compare.seeds",
    "1",
    "--probe.draws",
    "1",
    "--probe.fractions",
    "0.5",
]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty pictures of each of two kinds, in class folders; on a machine whose speed is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan_module, "seconds_by_name", lambda *_: {"teacher": 1.0})
    draws = np.random.default_rng(0)
    for kind, brightness in (("dark", 60), ("light", 180)):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for i in range(40):
            pixels = draws.integers(brightness - 50, brightness + 50, (40, 33, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / kind / f"{i}.png")
    return tmp_path / "mine"


def test_a_folder_without_labels_becomes_a_set_and_an_encoder(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", "mine", "--labels", "none", *QUICK]) == 0
    said, run = capsys.readouterr().out, pictures.parent / "runs" / "mine"
    assert "found: 80 pictures (PNG), 33 to 33 pixels" in said
    assert "next: decoct embed runs/mine/encoder.safetensors" in said
    assert len(load_distilled(run / "distilled.safetensors").images) == 20
    assert Encoder.load(run / "encoder.safetensors").size == 32
    scored = storage.load_json(run / "label_free.json", kind="label-free")
    assert {row["method"] for row in scored["rows"]} >= {"none", "random", "carried", "teacher"}
    assert scored["left_out"] == 8
    assert (run / "report.html").exists() and not (run / "scores.json").exists()


def test_class_folders_are_labels_and_the_saved_recipe_repeats_it_all(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", "mine", *QUICK]) == 0
    run = pictures.parent / "runs" / "mine"
    assert "linear probes on the class folders" in capsys.readouterr().out
    first = (run / "encoder.safetensors").read_bytes()
    scores = storage.load_json(run / "scores.json", kind="scores")
    assert {score["task"] for score in scores["scores"]} == {"mine"}
    assert main(["clean", str(run)]) == 0
    assert "nothing to delete" in capsys.readouterr().out
    assert main(["run", str(run / "recipe.yaml"), "--out", "again"]) == 0
    assert (pictures.parent / "again" / "encoder.safetensors").read_bytes() == first


def test_an_interrupted_run_goes_on_with_its_plan(
    pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["distill", "mine", "--labels", "none", *QUICK]

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("decoct.distil_folder.whole_run", stop)
        assert main(wanted) == 130
    planned = (pictures.parent / "runs" / "mine" / "plan.yaml").read_text()
    monkeypatch.setattr(plan_module, "seconds_by_name", lambda *_: {"teacher": 100.0})  # now busy
    assert main(wanted) == 0
    assert "going on with the plan in runs/mine" in capsys.readouterr().err
    assert (pictures.parent / "runs" / "mine" / "plan.yaml").read_text() == planned


@pytest.mark.parametrize(
    "arguments, answer",
    [
        ([], "decoct distill needs a folder of pictures: decoct distill ~/photos"),
        (["nowhere"], "nowhere is no folder of pictures; for other sources: decoct run pictures"),
        (["mine.yaml"], "mine.yaml is a recipe; for its set alone: decoct stage distill mine.yaml"),
        (["mine", "--time", "soon"], "'soon' is no duration; write 90s, 30min or 2h, say"),
    ],
)
def test_what_it_cannot_distil_it_refuses(
    arguments: list[str], answer: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", *arguments]) == 2
    assert answer in capsys.readouterr().err


def test_another_folder_of_the_same_name_is_not_mixed_up_with_the_first(
    pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoct.distil_folder.whole_run", lambda call: None)
    assert main(["distill", "mine", "--teacher", "train"]) == 0
    (pictures.parent / "more").mkdir()
    pictures.rename(pictures.parent / "more" / "mine")
    assert main(["distill", "more/mine", "--teacher", "train"]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err
