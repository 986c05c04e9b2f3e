"""`decoct push`: what it writes, and what it sends."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.cli import main
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.images import denormalise
from decoct.evaluation.scores import Score, Scores
from decoct.report.push import push
from tests.sharing.conftest import KINDS, Hub

Shared = tuple[DistilledSet, Path]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def written(shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    where = push(shared[1], name="ana/flowers", dry_run=tmp_path / "out", licence="cc-by-4.0")
    return Path(where)


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text."""
    _, head, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


@EVERY_KIND
def test_datasets_reads_what_the_set_holds(shared: Shared, written: Path) -> None:
    from datasets import load_dataset

    distilled, _ = shared
    rows = load_dataset(str(written), split="train")
    assert len(rows) == len(distilled)
    images = np.stack([np.asarray(row["image"]) for row in rows]).reshape(
        len(rows), 16, 16, distilled.channels
    )
    carried = distilled.labeller is not None  # its items are drawn at random
    shown = distilled.images if carried else distilled.read(torch.arange(len(distilled)))[0]
    pixels = denormalise(shown, distilled.mean, distilled.std)
    assert np.array_equal(images.transpose(0, 3, 1, 2), pixels.numpy())
    if not distilled.has_targets:
        assert set(rows.column_names) == {"image"}
        return
    kind = rows.features["target"]
    assert (kind.length, kind.feature.dtype) == (distilled.dimensions, "float32")
    if distilled.labeller is None:
        targets = distilled.targets.flatten(0, -2).float()
    else:
        targets = distilled.labeller.label(distilled.pixels().float() / 255)
    assert np.array_equal(np.array(rows["target"], np.float32), targets.numpy())
    if distilled.views is not None:
        assert rows["picture"][:4] == [0, 0, 0, 1]


@EVERY_KIND
def test_the_file_is_the_set_without_the_paths_of_this_machine(
    shared: Shared, written: Path
) -> None:
    tensors, meta = storage.load_tensors(shared[1], kind="distilled")
    again, again_meta = storage.load_tensors(written / "distilled.safetensors", kind="distilled")
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())
    assert again_meta["rule"] == meta["rule"]
    assert again_meta["provenance"]["images"] == "[my] <b>photos"
    assert all(b"/home" not in f.read_bytes() for f in written.rglob("*") if f.is_file())


@EVERY_KIND
def test_the_card_says_what_it_is(shared: Shared, written: Path, kind: str) -> None:
    head, text = card(written)
    assert head["license"] == "cc-by-4.0" and head["size_categories"] == ["n<1K"]
    assert head["pretty_name"] == "flowers" and shared[0].method in head["tags"]
    assert "\\[my\\] \\<b\\>photos" in text and "<b>" not in text
    assert "The pictures that it was made from: cc-by-4.0." in text
    assert str(shared[0].rule).replace("_", "\\_") in text
    said = {"carried": "the network that labels them", "views": "Each image has 3 rows"}
    assert said.get(kind, "Learnt pixels go beyond black and white") in text
    with Image.open(written / "pictures.png") as picture:
        assert picture.width > 16


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("kind", ["grey", "carried", "without targets"])
def test_the_cards_code_runs(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = card(written)
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    for code in blocks:
        assert "hf:ana/flowers" in code or '"ana/flowers"' in code
        code = code.replace("hf:ana/flowers", str(written / "distilled.safetensors"))
        code = code.replace("ana/flowers", str(written)).replace("480", "2")
        exec(code.replace("resnet18", "test_resnet"), names)
    if len(blocks) == 2:
        assert names["targets"].shape[1] == names["rows"][0]["target"].shape[0]
    else:
        assert (tmp_path / "encoder.safetensors").exists()


def test_words_of_their_own_are_a_licence_too(shared: Shared, tmp_path: Path) -> None:
    words = 'Only for *research*: "no" <script>'
    push(shared[1], name="ana/flowers", dry_run=tmp_path / "out", licence=words)
    head, text = card(tmp_path / "out")
    assert (head["license"], head["license_details"]) == ("other", words)
    assert "<script>" not in text and "\\*research\\*" in text


def test_without_a_licence_one_is_asked_for_and_none_is_guessed(
    shared: Shared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(shared[1]), "ana/flowers", "--dry-run", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "nothing was uploaded" in out
    assert "give --licence" in " ".join(err.split())
    head, text = card(tmp_path / "out")
    assert "license" not in head and "has not said under which licence" in text


def test_a_runs_folder_gives_the_set_at_its_top_and_its_scores(
    shared: Shared, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    storage.save_json(run / "run.json", {"stages": {}, "seconds": {}}, kind="run")
    shared[0].save(run / "distilled.safetensors")
    accuracies = {"random": 40.0, "mkdt": 44.5}
    scores = tuple(
        Score(method, seed, "leaves|bark", "5%", draw, accuracy + seed + draw)
        for method, accuracy in accuracies.items()
        for seed in range(3)
        for draw in range(2)
    )
    Scores(scores, {"mkdt": {"steps": 120}}).save(run / "scores.json")
    judged = [
        {"method": "mkdt", "seed": seed, "error": 0.5, "rankme": 8.0, "agreement": 0.25}
        for seed in range(2)
    ]
    content = {"rows": judged, "left_out": 1200}
    storage.save_json(run / "label_free.json", content, kind="label-free")
    push(run, name="ana/flowers", dry_run=tmp_path / "out", licence="mit")
    _, text = card(tmp_path / "out")
    row = Scores(scores).row("mkdt", "5%").accuracy
    assert f"| mkdt | {row} |" in text and "leaves\\|bark" in text
    assert "| mkdt | 0.50 ± 0.00 | 8.0 ± 0.0 | 0.25 ± 0.00 |" in text and "1,200 images" in text
    assert "steps, batch = 120" in text
    replace(shared[0], method="sas").save(run / "distilled.safetensors")  # not what was scored
    push(run, name="ana/flowers", dry_run=tmp_path / "other", licence="mit")
    assert "What it is worth" not in card(tmp_path / "other")[1]


def test_it_is_sent_to_the_hub(
    shared: Shared, local_hub: Hub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["push", str(shared[1]), "ana/flowers", "--private", "--licence", "mit"]
    assert main(asked) == 0
    assert "/datasets/ana/flowers" in capsys.readouterr().out
    assert local_hub.private
    assert sorted(local_hub.files) == [
        "README.md",
        "data/train-00000-of-00001.parquet",
        "distilled.safetensors",
        "pictures.png",
    ]
    (tmp_path / "sent").write_bytes(local_hub.files["distilled.safetensors"])
    assert torch.equal(load_distilled(tmp_path / "sent").images, shared[0].images)
    Image.open(io.BytesIO(local_hub.files["pictures.png"])).verify()


def test_what_is_public_is_not_taken_for_private(shared: Shared, local_hub: Hub) -> None:
    local_hub.private = False
    with pytest.raises(DecoctError, match="is public already"):
        push(shared[1], name="ana/flowers", private=True, licence="mit")
    assert local_hub.files == {}


@pytest.mark.parametrize("token, said", [(None, "not logged in"), ("hf_bad", "does not know you")])
def test_who_is_not_logged_in_is_told_how(
    shared: Shared, local_hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str | None, said: str
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(DecoctError, match=rf"{said}.* run: hf auth login"):
        push(shared[1], name="ana/flowers", licence="mit")
    assert not any(line.startswith("POST") for line in local_hub.asked)


def test_without_a_network(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    with pytest.raises(DecoctError, match=r"cannot be reached.*--dry-run FOLDER"):
        push(shared[1], name="ana/flowers", licence="mit")


@pytest.mark.parametrize(
    "name, said",
    [("flowers", "OWNER/NAME"), ("ana/a b", "no name of"), ("ana/x@v1", "name no revision")],
)
def test_names_that_the_hub_does_not_take(
    shared: Shared, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(DecoctError, match=said):
        push(shared[1], name=name, dry_run=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_set_or_no_place(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DecoctError, match=r"holds no distilled\.safetensors"):
        push(tmp_path / "empty", name="ana/flowers", dry_run=tmp_path / "out")
    with pytest.raises(DecoctError, match="does not exist"):
        push(tmp_path / "none", name="ana/flowers", dry_run=tmp_path / "out")
    with pytest.raises(DecoctError, match="not an empty folder"):
        push(shared[1], name="ana/flowers", dry_run=tmp_path)
    assert not (tmp_path / "out").exists()
