"""Fine-tuning sees the probe's labels alone, learns, and goes on where it was stopped."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decoct.artefacts.encoder import Encoder
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.evaluation.finetune import FinetuneConfig, finetune, finetune_scores
from decoct.evaluation.probe import ProbeConfig, label_draws, probe
from decoct.evaluation.scores import Scores
from decoct.models.registry import NetworkConfig
from decoct.training.pretrain import fresh_encoder
from tests.bad_input.conftest import save_task
from tests.training.interruption import Interrupted, interrupt_in

module = importlib.import_module("decoct.evaluation.finetune")  # decoct.finetune is the function
PLAIN = AugmentConfig(min_crop=1, flip=False, jitter=0, grey_probability=0)
FEW = FinetuneConfig(labels=(0.3,), draws=2, epochs=3, batch=8, lr=0.01, augment=PLAIN)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    half = torch.full((3,), 0.5)
    config = NetworkConfig("convnet-bn", width=4, depth=2)
    made = fresh_encoder(config, mean=half, std=half / 2, size=16, seed=0)
    made.network.remove_head()
    return made


def accuracies(
    encoder: Encoder, task: Task, config: FinetuneConfig = FEW, **more: Any
) -> list[float]:
    return [s.accuracy for s in finetune(encoder=encoder, task=task, config=config, **more)]


def test_it_learns_what_the_features_do_not_tell(encoder: Encoder, tiny_task: Task) -> None:
    config = replace(FEW, labels=(0.6,), draws=1, epochs=10)
    before = {n: t.clone() for n, t in encoder.network.state_dict().items()}
    found = accuracies(encoder, tiny_task, config)
    assert min(found) > 80  # chance is a third
    assert min(found) > max(accuracies(encoder, tiny_task, replace(config, lr=1e-9))) + 20
    after = encoder.network.state_dict()  # the encoder itself stays as it was
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_the_labels_drawn_matter(encoder: Encoder, tiny_task: Task) -> None:
    (drawn,) = label_draws(tiny_task, fractions=(0.3,), per_class=(), draws=2, seed=5).values()
    seen = torch.cat(drawn).unique()
    hidden = torch.tensor([i for i in range(len(tiny_task.train)) if i not in seen])
    pixels = tiny_task.train.pixels.clone()  # type: ignore[union-attr]
    pixels[hidden] = 255 - pixels[hidden]
    spoilt = replace(tiny_task, train=replace(tiny_task.train, pixels=pixels))
    expected = accuracies(encoder, tiny_task, seed=5)
    assert accuracies(encoder, spoilt, seed=5) == expected
    pixels[seen] = 255 - pixels[seen]
    assert accuracies(encoder, spoilt, seed=5) != expected


def test_it_is_scored_on_the_probes_draws(encoder: Encoder, tiny_task: Task) -> None:
    config = replace(FEW, labels=(0.2, 0.3), per_class=(4,), epochs=1)
    tuned = finetune(encoder=encoder, task=tiny_task, config=config, seed=3)
    same = ProbeConfig(fractions=(0.2, 0.3), per_class=(4,), draws=2)
    probed = probe(encoder=encoder, task=tiny_task, config=same, seed=3)
    assert [(s.labels, s.draw) for s in tuned] == [(s.labels, s.draw) for s in probed]
    assert tuned == finetune(encoder=encoder, task=tiny_task, config=config, seed=3)
    both = finetune_scores(
        encoder=encoder, task=tiny_task, config=config, seeds=2, device=torch.device("cpu")
    )
    assert len(both.scores) == 2 * 2 * len(tuned)
    assert {(s.method, s.seed) for s in both.scores} == {
        (method, seed) for method in ("linear probe", "fine-tuned") for seed in (0, 1)
    }


def test_images_of_another_size_and_colour(encoder: Encoder, tiny_task: Task) -> None:
    def enlarged(images: Images) -> Images:
        pixels = images.pixels[:].repeat_interleave(2, 2).repeat_interleave(2, 3)
        return replace(images, pixels=pixels)

    grey = fresh_encoder(
        NetworkConfig(width=4, depth=2), mean=torch.rand(1), std=torch.ones(1), size=16, seed=0
    )
    large = replace(tiny_task, train=enlarged(tiny_task.train), test=enlarged(tiny_task.test))
    for one in (encoder, grey):
        assert all(0 <= accuracy <= 100 for accuracy in accuracies(one, large))


@pytest.mark.parametrize("epoch", [0, 2])
def test_it_goes_on_where_it_was_stopped(
    epoch: int, encoder: Encoder, tiny_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = accuracies(encoder, tiny_task)
    with monkeypatch.context() as patch:
        interrupt_in(epoch, patch)
        with pytest.raises(Interrupted):
            accuracies(encoder, tiny_task, folder=tmp_path)
    assert accuracies(encoder, tiny_task, folder=tmp_path) == expected
    assert len(list(tmp_path.iterdir())) == 2  # no states are left
    with monkeypatch.context() as patch:
        interrupt_in(0, patch)
        assert accuracies(encoder, tiny_task, folder=tmp_path) == expected  # all is there
        for changed in (replace(FEW, lr=0.02), replace(FEW, augment=AugmentConfig())):
            with pytest.raises(Interrupted):
                accuracies(encoder, tiny_task, changed, folder=tmp_path)
        with pytest.raises(Interrupted):
            accuracies(encoder, tiny_task, folder=tmp_path, seed=1)


def test_the_verb_prints_it_beside_the_probe(
    encoder: Encoder, tiny_task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.save(tmp_path / "encoder.safetensors")
    save_task(tmp_path / "stripes.npz", tiny_task)
    flags = ["--labels", "0.2", "0.3", "--per-class", "4", "--draws", "2", "--epochs", "1"]
    where = [f"{tmp_path}/encoder.safetensors", f"{tmp_path}/stripes.npz"]
    assert main(["finetune", *where, "--out", f"{tmp_path}/out", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "stripes"
    assert [" ".join(line.split()).split(" ± ")[0].rpartition(" ")[0] for line in lines[1:4]] == [
        "linear probe",
        "fine-tuned",
        "difference",
    ]
    scores = Scores.load(tmp_path / "out/scores.json")
    assert scores.labels() == ["20%", "30%", "4 a class"]
    for line, method in zip(lines[1:3], ("linear probe", "fine-tuned"), strict=True):
        for labels in scores.labels():
            assert str(scores.row(method, labels).accuracy) in line
    over = scores.over("fine-tuned", "linear probe", "20%")
    assert over is not None and over.signed() in lines[3]
    for file in (tmp_path / "out").glob("[!.]*"):
        assert main(["show", str(file)]) == 0
    assert "an encoder fine-tuned on one draw of labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ("--labels", "--labels and --per-class are empty"),
        ("--per-class 11", "class upright has 10 training images, but 11 per class"),
        ("--labels 1.5", "finetune.labels is 1.5; it must be above 0 and at most 1"),
        ("--seeds 0", "--seeds is 0; it must be at least 1"),
        ("--lr 1e30 --labels 0.5", "give a lower --lr"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    flags: str,
    sentence: str,
    encoder: Encoder,
    tiny_task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder.save(tmp_path / "encoder.safetensors")
    save_task(tmp_path / "stripes.npz", tiny_task)
    where = [f"{tmp_path}/encoder.safetensors", f"{tmp_path}/stripes.npz"]
    status = main(["finetune", *where, "--out", f"{tmp_path}/out", *flags.split()])
    assert status == 2 and sentence in " ".join(capsys.readouterr().err.split())


def test_a_task_without_labels_for_all_is_refused(encoder: Encoder, tiny_task: Task) -> None:
    with pytest.raises(DecoctError, match="class upright has 10"):
        finetune(encoder=encoder, task=tiny_task, config=replace(FEW, labels=(), per_class=(11,)))
