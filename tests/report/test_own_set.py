"""What the page shows of a run's own set: its story, a map, neighbours, curves, how to use it."""

import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet, TrainingRule
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core import storage
from decoct.data.images import Images
from decoct.evaluation.probe import ProbeScore
from decoct.evaluation.scores import Score, Scores
from decoct.models.registry import NetworkConfig, create_network
from decoct.report.by_class import class_tables
from decoct.report.contents import read_contents
from decoct.report.embedding_map import spread, two_components
from decoct.report.neighbours import neighbours
from decoct.report.page import render
from decoct.report.story import lede
from decoct.report.usage import usage
from decoct.training.pretrain import fresh_encoder

SIDE, COUNT = 8, 40


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of the default method, with MKDT's set beside it."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (COUNT, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8)
    pool = replace(Images.from_array(pixels), name="photos")
    network = NetworkConfig(width=4)
    index = torch.arange(0, COUNT, 4)
    made = DistilledSet(
        images=pool.normalised(index),
        targets=torch.zeros(10, 0),
        mean=pool.mean,
        std=pool.std,
        rule=TrainingRule(lr=0.1, momentum=0.9, weight_decay=0.0, batch=4),
        method="carried",
        labeller=Assistant(
            create_network(network, channels=3, size=SIDE, outputs=5),
            network,
            size=SIDE,
            mean=pool.mean,
            std=pool.std,
            outputs=5,
            provenance={"losses": [0.9, 0.6, 0.5]},
        ),
        index=index,
        provenance={"images": "photos"},
    )
    encoder = fresh_encoder(network, mean=pool.mean, std=pool.std, size=SIDE, seed=1)
    assert made.labeller is not None
    pool.save(tmp_path / "images-0/images.safetensors")
    fit_targets(torch.rand(COUNT, 5, generator=draws), TargetsConfig()).save(
        tmp_path / "targets-0/targets.safetensors"
    )
    made.labeller.save(tmp_path / "assistant-0/assistant.safetensors")
    made.save(tmp_path / "carried-seed3-0/distilled.safetensors")
    encoder.save(tmp_path / "encoder-carried-seed3-0/encoder.safetensors")
    learnt = replace(
        made,
        method="mkdt",
        labeller=None,
        targets=torch.zeros(10, 5),
        initial=made.images,
        history={"loss": torch.tensor([1.0, 0.5])},
    )
    learnt.save(tmp_path / "mkdt-seed3-0/distilled.safetensors")
    names = (
        "images",
        "targets",
        "assistant",
        "mkdt-seed3",
        "carried-seed3",
        "encoder-carried-seed3",
    )
    stages = {name: f"{name}-0" for name in names}
    storage.save_json(tmp_path / "run.json", {"stages": stages, "seconds": {}}, kind="run")
    (tmp_path / "recipe.yaml").write_text("name: mine\nmethod: carried\nseed: 3\n")
    return tmp_path


def test_the_story_is_that_of_the_recipes_own_method(run: Path) -> None:
    html = render(read_contents(run))
    assert "From the unlabelled images of photos, decoct kept 10 images with a small" in html
    assert html.index("<h3>carried</h3>") < html.index("<h3>To compare: mkdt</h3>")
    assert "synthetic ones" not in html
    assert html.index("The assistant’s loss") < html.index("mkdt: the loss")
    assert "The teacher’s loss" not in html


def test_the_map_marks_the_pictures_of_the_set(run: Path) -> None:
    html = render(read_contents(run))
    plot = re.search(r'<svg role="img" aria-label="Map of the pool.*?</svg>', html, re.DOTALL)
    assert plot is not None
    assert plot[0].count("<use ") == COUNT + 10
    assert 1 <= plot[0].count("data:image/png;base64,") <= 10


def test_the_map_is_of_the_directions_with_the_largest_variance() -> None:
    values = torch.zeros(50, 4)
    values[:, 2] = torch.linspace(-9, 9, 50)
    values[:, 1] = torch.linspace(-1, 1, 50).square()
    points = two_components(values)
    assert torch.allclose(points[:, 0].abs().float(), values[:, 2].abs(), atol=1e-4)
    assert two_components(values[:, :1]).shape == (50, 2)


def test_pictures_on_the_map_do_not_cover_each_other() -> None:
    points = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    kept = points[spread(points, aspect=1.0, apart=0.2)]
    apart = (kept[:, None] - kept[None]).abs().amax(2) + torch.eye(len(kept))
    assert 4 < len(kept) < 40 and apart.min() > 0.19


def test_neighbours_are_asked_for_pictures_outside_the_set(run: Path) -> None:
    contents = read_contents(run)
    pool, targets, encoder = contents.pool, contents.targets, contents.encoder
    assert pool and targets and encoder
    kept = torch.arange(COUNT - 6)
    found = neighbours(pool=pool, targets=targets, encoder=encoder, chosen=kept)
    assert found is not None and len(found.asked) == 3 and found.among == COUNT - 3
    for _, lines in found.asked:
        assert [name for name, _ in lines] == ["untrained", "encoder", "teacher"]
        assert all(len(nearest) == 6 for _, nearest in lines)
        assert all(neighbour.agreed for neighbour in lines[2][1])
    everything = neighbours(pool=pool, targets=targets, encoder=encoder, chosen=torch.arange(COUNT))
    assert everything is None


def test_the_lines_at_the_end_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    encoder, distilled = usage(read_contents(run))
    assert encoder[1] == "encoder-carried-seed3-0/encoder.safetensors"
    assert distilled[1] == "carried-seed3-0/distilled.safetensors"
    for kind, (_, path, _) in {"encoder": encoder, "distilled": distilled}.items():
        shutil.copy(path, run / f"{kind}.safetensors")
    encoder, distilled = usage(read_contents(run))  # the names at the top come first
    assert (encoder[1], distilled[1]) == ("encoder.safetensors", "distilled.safetensors")
    (run / "photos").mkdir()
    for i in range(2):
        shutil.copy(picture(run, i), run / "photos")
    found: dict[str, object] = {}
    exec(encoder[2], found)
    features, loaded = found["features"], found["encoder"]
    assert isinstance(features, torch.Tensor) and isinstance(loaded, Encoder)
    assert features.shape == (2, loaded.network.features(torch.zeros(1, 3, SIDE, SIDE)).shape[1])
    found = {"my_body": torch.nn.AvgPool2d(4)}
    exec(distilled[2].replace("480", "2"), found)


def picture(folder: Path, i: int) -> Path:
    path = folder / f"{i}.png"
    image = Image.new("RGB", (SIDE, SIDE), (i, 2 * i, 99 * i))
    image.putpixel((0, 0), (9, 9, 9))
    image.save(path)
    return path


def test_what_follows_is_listed_as_it_is(run: Path) -> None:
    contents = read_contents(run)
    assert "Below are the images and how they were learnt." in lede(contents)
    scores = Scores((Score("random", 0, "animals", "5%", 0, 40.0),))
    assert "images, how they were learnt, and the accuracies of" in lede(
        replace(contents, scores=scores)
    )


def test_classes_are_in_the_order_of_their_gain(run: Path) -> None:
    for method, dogs in (("random", 40.0), ("carried", 55.0)):
        score = ProbeScore("animals", "5%", 0, 50.0, {"<b>cats": 50.0, "dogs": dogs})
        content = {"scores": [asdict(score), {**asdict(score), "by_class": {}}]}
        storage.save_json(run / f"{method}-probe/probe.json", content, kind="probe")
    manifest = storage.load_json(run / "run.json", kind="run")
    manifest["stages"] |= {f"probe-{m}-seed3": f"{m}-probe" for m in ("random", "carried")}
    storage.save_json(run / "run.json", manifest, kind="run")
    Scores((Score("random", 0, "animals", "5%", 0, 50.0),)).save(run / "scores.json")
    html = render(read_contents(run))
    assert "<b>cats" not in html
    assert "animals, with 5% of the labels: most over random: dogs (+15.0)" in html
    old = [ProbeScore("animals", "5%", 0, 50.0)]  # of a file that an earlier version wrote
    assert class_tables({"random": old, "carried": old}, "carried") == []
