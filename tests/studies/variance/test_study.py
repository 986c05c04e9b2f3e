"""`decoct diagnose variance` on a tiny recipe: what it writes, prints, resumes and shows."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoct.cli import main
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.report.page import write_report
from decoct.report.variance_table import variance_text, verdicts
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.variance import objectives
from decoct.studies.variance import study as variance
from decoct.studies.variance.findings import Findings, NoiseAt, Variance
from decoct.studies.variance.gradient_variance import Noise
from decoct.studies.variance.matching import Matching
from decoct.studies.variance.objectives import NAMES
from decoct.studies.variance.study import Rates, VarianceConfig, diagnose_variance
from tests.bad_input.conftest import save_task

RECIPE = """
name: small
device: cpu
size: 12
images: {{source: {folder}/pool.npz, size: 16}}
targets: {{source: {folder}/targets.npy}}
experts: {{count: 1, epochs: 2, batch: 16, lr: 0.05, network: {{width: 4, depth: 2}}}}
mtt_ssl: {{objective: {{projector: 6}}}}
mkdt: {{init: random}}
matching:
  iterations: 1
  inner_steps: 3
  expert_epochs: 1
  max_start_epoch: 2
  batch: 6
  optimiser: adam
  lr_images: 0.05
  lr_targets: 0.05
compare: {{methods: [mkdt], tasks: [{folder}/stripes.npz]}}
"""
SMALL = VarianceConfig(
    batches=(8, 16, 40),
    points=(0, 2),
    repeats=4,
    runs=3,
    epochs=2,
    experts=1,
    iterations=2,
    inner_steps=2,
    lr=Rates(spectral_contrastive=1e-3),
)
FLAGS = (
    "--diagnose.batches 8 16 40 --diagnose.points 0 2 --diagnose.repeats 4 --diagnose.runs 3 "
    "--diagnose.epochs 2 --diagnose.experts 1 --diagnose.iterations 2 "
    "--diagnose.inner-steps 2 --diagnose.lr.spectral-contrastive 1e-3"
)


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives, "_ENOUGH", 60)
        yield patch


@pytest.fixture(scope="module")
def recipe(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_task: Task,
    tiny_images: Images,
    patched: pytest.MonkeyPatch,
) -> Recipe:
    folder = tmp_path_factory.mktemp("recipe")
    pixels = np.concatenate([tiny_images.pixels.numpy(), tiny_task.train.pixels.numpy()])
    np.savez(folder / "pool.npz", images=pixels)
    np.save(folder / "targets.npy", np.random.default_rng(0).normal(size=(100, 4)))
    save_task(folder / "stripes.npz", tiny_task)
    (folder / "small.yaml").write_text(RECIPE.format(folder=folder))
    return load_recipe(folder / "small.yaml")


@pytest.fixture(scope="module")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Variance]:
    folder = tmp_path_factory.mktemp("run")
    return folder, diagnose_variance(Run(recipe, folder), SMALL)


def test_every_objective_is_measured_at_every_place(done: tuple[Path, Variance]) -> None:
    folder, found = done
    assert Variance.load(folder / "variance.json") == found
    assert [f.name for f in found.findings] == list(NAMES)
    assert found.notes == ("batches of 40 are skipped: over half of the 60 images",)
    assert (found.epochs, found.batches, found.reference) == ([0, 2], [8, 16], 16)
    for objective in found.findings:
        assert objective.images == 60 and len(objective.losses) == 2
        assert len(objective.noise) == 2 * 2 + 2
        assert [s.epoch for s in objective.spread] == [1, 2] and objective.spread[0].ratio > 0
        assert len(objective.matching.loss) == 2 and objective.matching.moved > 0
        views = objective.at("augmentations", 0, 16)
        assert views is not None
        assert (views.trace > 0) == (objective.name not in ("supervised", "distillation"))
    rates = {f.name: f.lr for f in found.findings}
    assert rates["supervised"] == rates["distillation"] == 0.05  # the recipe's
    assert rates["spectral_contrastive"] == 1e-3


def test_the_start_is_one_for_all_objectives_but_for_the_head(done: tuple[Path, Variance]) -> None:
    found = done[1]
    assert {f.matching.lr[0] > 0 for f in found.findings} == {True}
    first = {f.name: f.at("batches", 0, 8) for f in found.findings}
    assert len({noise.trace for noise in first.values() if noise}) == len(NAMES)


def test_an_interrupted_run_goes_on_with_the_next_objective(
    recipe: Recipe, done: tuple[Path, Variance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    measure = variance._Diagnosis._measure

    def watched(self: variance._Diagnosis, path: Path) -> Findings:
        if len(measured) == 2 and len(set(measured)) == 2:
            measured.append("interrupted")
            raise KeyboardInterrupt
        measured.append(self.problem.name)
        return measure(self, path)

    monkeypatch.setattr(variance._Diagnosis, "_measure", watched)
    with pytest.raises(KeyboardInterrupt):
        diagnose_variance(Run(recipe, tmp_path), SMALL)
    assert not (tmp_path / "variance.json").exists()
    assert diagnose_variance(Run(recipe, tmp_path), SMALL) == done[1]
    assert measured == [*NAMES[:2], "interrupted", *NAMES[2:]]


def test_a_changed_rate_measures_that_objective_alone(
    recipe: Recipe, done: tuple[Path, Variance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variance._Diagnosis, "_measure", lambda self, path: pytest.fail())
    run = Run(recipe, done[0])
    two = replace(SMALL, objectives=("distillation", "vicreg"), lr=Rates(simclr=0.5))
    assert [f.name for f in diagnose_variance(run, two).findings] == ["distillation", "vicreg"]
    with pytest.raises(pytest.fail.Exception):
        diagnose_variance(run, replace(SMALL, lr=Rates(simclr=0.5)))
    done[1].save(done[0] / "variance.json")


def test_targets_may_be_learnt_too(recipe: Recipe, tmp_path: Path) -> None:
    config = replace(
        SMALL, objectives=("distillation",), points=(0,), learn_targets=True, experts=0
    )
    found = diagnose_variance(Run(recipe, tmp_path), config)
    assert found.targets_learnt and "targets learnt too" in variance_text(found)


def test_the_command_says_what_it_found(
    recipe: Recipe, done: tuple[Path, Variance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = done
    path = tmp_path / "small.yaml"
    path.write_text(recipe.to_yaml())
    assert main(["diagnose", "variance", str(path), "--out", str(folder), *FLAGS.split()]) == 0
    said = capsys.readouterr().out
    for words in (
        "Noise-to-signal of the gradient after 0 epochs",
        "Spread of trajectories",
        "Matching loss over 2 iterations (images by adam, targets fixed)",
        "Compared with distillation's noise-to-signal (95 %):",
        "  barlow twins: ",
        "Note: batches of 40 are skipped",
        "The theorem's linear model, exact: 60 of the images",
    ):
        assert words in said
    page = (folder / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="variance">') :]
    section = section[: section.index("</section>")]
    assert "mathdefault" not in section  # the page's plots know no TeX
    assert section.count("<svg ") == 4 and "spectral contrastive" in section
    (folder / "variance.json").unlink()
    assert 'id="variance"' not in write_report(folder).read_text(encoding="utf-8")
    done[1].save(folder / "variance.json")


def test_a_damaged_file_is_left_out_of_the_page(tmp_path: Path) -> None:
    Run(load_recipe("demo"), tmp_path).save_manifest()
    (tmp_path / "variance.json").write_text("{}")
    assert "Skipped" in write_report(tmp_path).read_text(encoding="utf-8")


def old_names(content: Any) -> Any:
    """As format version 1 has it."""
    if isinstance(content, list):
        return [old_names(item) for item in content]
    if not isinstance(content, dict):
        return content
    matching = {"loss", "lr", "moved"} == content.keys()
    return {("rate" if matching and k == "lr" else k): old_names(v) for k, v in content.items()}


def test_old_files_are_still_read(
    done: tuple[Path, Variance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in which the inner learning rate of matching is called `rate`."""
    folder, found = done
    monkeypatch.setattr(storage, "FORMAT_VERSION", 1)
    parts = sorted(folder.glob("variance-*/findings.json"))
    for kind, path in [("variance", folder / "variance.json"), ("findings", parts[0])]:
        old = old_names(storage.load_json(path, kind=kind))
        assert '"rate"' in json.dumps(old) and '"lr"' in json.dumps(old)  # an objective's own
        storage.save_json(tmp_path / f"{kind}.json", old, kind=kind)
    assert Variance.load(tmp_path / "variance.json") == found
    assert Findings.load(tmp_path / "findings.json") == Findings.load(parts[0])


# Words


def test_verdicts_count_places() -> None:
    def findings(name: objectives.Name, ratios: list[float]) -> Findings:
        noise = tuple(
            NoiseAt("batches", 0, 2**i, variance_noise(ratio)) for i, ratio in enumerate(ratios)
        )
        return Findings(name, 100, 0.1, (), noise, (), Matching((1.0,), (0.1,), 0.0))

    found = Variance(
        (
            findings("distillation", [1.0] * 4),
            findings("simclr", [2.0, 2.0, 0.5, 1.01]),
            findings("vicreg", [2.0] * 4),
        ),
        (),
        256,
        "adam",
        False,
    )
    assert verdicts(found) == [
        (
            "simclr",
            "above at 2 of 4 (epoch 0, batch 1; epoch 0, batch 2), "
            "below at 1 of 4 (epoch 0, batch 4), undecided at 1 of 4 (epoch 0, batch 8)",
        ),
        ("vicreg", "above at all 4 points and batch sizes"),
    ]
    assert verdicts(replace(found, findings=found.findings[1:])) == []


def variance_noise(ratio: float) -> Noise:
    return Noise(trace=ratio, signal=1.0, error=0.02, groups=8, cosine=0.5)


def test_first_and_last_are_tenths_of_the_iterations_or_more_and_never_overlap() -> None:
    loss = tuple(float(i) for i in range(100))
    found = Matching(loss, (0.1,) * 100, 0.5)
    assert (found.first, found.last) == (4.5, 94.5)
    assert Matching(loss[:8], (), 0.0).first == 1.5
    assert Matching(loss[1:2], (), 0.0).ratio == 1.0


# What is refused


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"repeats": 2}, "diagnose.repeats is 2; it must be at least 3"),
        ({"runs": 1}, "diagnose.runs is 1; it must be at least 2"),
        ({"points": (0, 4)}, "from 0 to epochs"),
        ({"batches": (1,)}, "diagnose.batches is 1; it must be at least 2"),
        ({"objectives": ()}, r"diagnose\.objectives is \(\); it must be a list of at least 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        VarianceConfig(**settings)  # type: ignore[arg-type]


def test_rates_that_cannot_be() -> None:
    for rate in (-1.0, math.nan, math.inf):
        with pytest.raises(DecoctError, match=r"lr\.simclr"):
            Rates(simclr=rate)


def test_batches_of_more_than_there_are(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="all batches are over half of the 60 images"):
        diagnose_variance(Run(recipe, tmp_path), replace(SMALL, batches=(64, 128)))


def test_a_rate_that_diverges_is_named(recipe: Recipe, tmp_path: Path) -> None:
    config = replace(SMALL, objectives=("distillation",), lr=Rates(distillation=1e8))
    with pytest.raises(DecoctError, match=r"distillation, with diagnose\.lr\.distillation"):
        diagnose_variance(Run(recipe, tmp_path), config)


def test_a_word_that_is_no_diagnosis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "demo"]) == 2
    assert "takes a word and a recipe" in capsys.readouterr().err
