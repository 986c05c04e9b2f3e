"""An ablation end to end: what is shared is made once, and an interrupt costs nothing."""

import itertools
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from decoct.artefacts.distilled import load_distilled
from decoct.cli import main
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.evaluation.scores import Score
from decoct.methods.axis import Axis, one_of
from decoct.methods.inputs import Inputs
from decoct.methods.real_images import RealImages
from decoct.methods.registry import METHODS
from decoct.report.ablation_table import (
    ablation_legend,
    ablation_markdown,
    ablation_rows,
    ablation_text,
)
from decoct.report.page import write_report
from decoct.report.show import describe
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies import ablate as module
from decoct.studies.ablate import ablate
from decoct.studies.ablation import Ablation, Outcome, ends
from decoct.studies.compare import compare

RECIPE = """
method: mkdt
device: cpu
fraction: 0.2
images: {source: pool.npz, size: 16}
targets: {source: targets.npy}
experts: {count: 2, epochs: 2, batch: 16, network: {width: 4, depth: 2}}
mkdt: {init: random}
matching:
  {iterations: 3, inner_steps: 2, expert_epochs: 1, max_start_epoch: 1, batch: 8,
   optimiser: adam, lr_images: 0.1, lr_targets: 0.1, checkpoint_every: 1}
pretrain: {epochs: 1, network: {width: 4, depth: 2}}
probe: {fractions: [0.3, 0.5]}
compare: {methods: [random, mkdt, full], seeds: 2, tasks: [stripes.npz], full_epochs: 1}
"""
AXES = ("experts=1,3", "size=30%")
VALUES = [("experts", v) for v in "123"] + [("size", v) for v in ("20%", "30%")]


@pytest.fixture
def recipe(tiny_folder: Path) -> Recipe:
    (tiny_folder / "mine.yaml").write_text(RECIPE)
    return replace(load_recipe(tiny_folder / "mine.yaml"), data=str(tiny_folder))


def stage_files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder of the stages, with its time and content."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for stage in folder.iterdir()
        if stage.is_dir()
        for path in (stage, *stage.rglob("*"))
    }


def untimed(ablation: Ablation) -> list[Outcome]:
    """The outcomes without what depends on the clock."""
    return [replace(outcome, seconds=0.0) for outcome in ablation.outcomes]


def test_two_axes_end_to_end(
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    found = ablate(recipe=recipe, folder=folder, axes=AXES)
    said = capsys.readouterr().err
    assert "4 variants of mine, 2 sets each" in said
    assert "variant 1 of 4: the recipe itself" in said and "variant 4 of 4: size 30%" in said
    assert [(o.axis, o.value) for o in found.outcomes] == VALUES
    assert [o.value for o in found.outcomes if o.base] == ["2", "20%"]
    assert found.labels() == ["30%", "50%"] and found.seeds() == [0, 1]
    assert Ablation.load(folder / "ablation.json") == found

    # The folder is still the recipe's, and the accuracies are those that `compare` finds.
    assert load_recipe(folder / "recipe.yaml") == recipe
    scores = compare(Run(recipe, folder))
    own = next(o for o in found.outcomes if (o.axis, o.base) == ("size", True))
    assert sorted(own.scores, key=str) == sorted(scores.scores, key=str)
    row = next(r for r in scores.table() if (r.method, r.labels) == ("mkdt", "50%"))
    line = next(x for x in found.lines("size", "50%") if x.outcome.base)
    assert line.accuracy == row.accuracy and line.gap_recovered == row.gap_recovered
    assert line.against_random == row.over_random
    assert line.against_random.mean == pytest.approx(np.mean(line.over_random))

    # Experts are shared: expert k once, and no folder but one. Random subsets: once a size.
    (experts,) = folder.glob("experts-*")
    assert len(list(experts.glob("0*.safetensors"))) == 3
    for stage, count in {"random-seed0": 2, "mkdt-seed0": 4, "full-seed0": 0, "images": 1}.items():
        assert len(list(folder.glob(f"{stage}-*"))) == count
    assert len(list(folder.glob("encoder-full-seed*"))) == 2  # whatever the size: one a seed

    # A second call finds everything.
    before = stage_files(folder)
    monkeypatch.setattr(module, "_CACHED_S", 0.0)
    assert ablate(recipe=recipe, folder=folder, axes=AXES) == found
    assert stage_files(folder) == before
    assert "left" in capsys.readouterr().err

    # More axes reuse what exists; looking up the experts adds to their seconds.
    more = ablate(recipe=recipe, folder=folder, axes=(*AXES, "lr"))
    assert more.outcomes[: len(VALUES)] == found.outcomes
    after = stage_files(folder)
    touched = {name for name, file in before.items() if after[name] != file}
    assert touched == {str(experts), str(experts / "seconds.json")}

    page = write_report(folder).read_text(encoding="utf-8")
    assert 'id="ablation"' in page and page.count("paired difference to") == 3 * 2
    assert describe(folder / "ablation.json").endswith(ablation_text(more))


def test_processes_side_by_side_find_the_same(recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, compare=replace(recipe.compare, seeds=1))
    axes = ("experts=3", "size=30%")  # with `full`, and with experts that variants share
    alone = ablate(recipe=recipe, folder=tmp_path / "alone", axes=axes)
    shared = ablate(recipe=recipe, folder=tmp_path / "shared", axes=axes, jobs=2)
    assert shared == Ablation.load(tmp_path / "shared" / "ablation.json")
    assert [(o.axis, o.value, o.base) for o in shared.outcomes] == [
        (o.axis, o.value, o.base) for o in alone.outcomes
    ]
    for own, other in zip(shared.outcomes, alone.outcomes, strict=True):
        assert own.loss == pytest.approx(other.loss, rel=1e-3)  # fewer threads add up otherwise
        assert own.bytes == other.bytes > 0
        assert [replace(s, accuracy=0) for s in own.scores] == [
            replace(s, accuracy=0) for s in other.scores
        ]


def test_interrupted_and_resumed_it_is_as_if_unbroken(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, compare=replace(recipe.compare, methods=("mkdt",), seeds=1))
    whole = ablate(recipe=recipe, folder=tmp_path / "whole", axes=AXES)
    count, probe = itertools.count(1), Run.probe_scores

    def interrupted(self: Run, *arguments: Any) -> Any:
        found = probe(self, *arguments)
        if next(count) == 5:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Run, "probe_scores", interrupted)
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        ablate(recipe=recipe, folder=folder, axes=AXES)
    # Of each variant mkdt and random are probed: the recipe's own and another are in the file.
    kept = untimed(Ablation.load(folder / "ablation.json"))
    assert len({(o.value, o.base) for o in kept if not o.base}) == 1
    assert all(outcome in untimed(whole) for outcome in kept)
    monkeypatch.setattr(Run, "probe_scores", probe)
    assert untimed(ablate(recipe=recipe, folder=folder, axes=AXES)) == untimed(whole)


def test_what_cannot_work_is_refused_before_any_work(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(DecoctError, match=r"axis size, value 1%: .*set of 0.*--axes size=\.\.\."):
        ablate(recipe=recipe, folder=folder, axes=["init", "size"])
    with pytest.raises(DecoctError, match="there is no axis inti; perhaps you meant init"):
        ablate(recipe=recipe, folder=folder, axes=["inti"])
    untasked = replace(recipe, compare=replace(recipe.compare, tasks=()))
    with pytest.raises(DecoctError, match=r"compare\.tasks is empty"):
        ablate(recipe=untasked, folder=folder)
    assert not [path for path in folder.glob("[a-z]*") if not path.name.startswith("images-")]


def test_the_verb(tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--compare.seeds", "1"]
    command = ["ablate", str(tmp_path / "mine.yaml"), *flags, "--axes", "targets", "steps=1"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "targets: whether the targets are learnt too; 30% of the labels" in said
    assert "one seed" in said and "(own)" in said
    assert main([*command, "--markdown"]) == 0
    assert "| steps | mean | to own |" in capsys.readouterr().out
    assert main([*command[:-2], "step"]) == 2
    assert "there is no axis step; perhaps you meant steps?" in capsys.readouterr().err


# By hand: two tasks, two seeds.
OWN = {(0, "a"): 40.0, (0, "b"): 50.0, (1, "a"): 42.0, (1, "b"): 52.0}  # means 45, 47
BETTER = {(0, "a"): 44.0, (0, "b"): 52.0, (1, "a"): 45.0, (1, "b"): 53.0}  # means 48, 49
RANDOM = {(0, "a"): 40.0, (0, "b"): 40.0, (1, "a"): 41.0, (1, "b"): 41.0}  # means 40, 41
FULL = {(0, "a"): 60.0, (0, "b"): 60.0, (1, "a"): 61.0, (1, "b"): 61.0}  # means 60, 61


def outcome(value: str, base: bool, **methods: dict[tuple[int, str], float]) -> Outcome:
    scores = [
        Score(method, seed, task, "5%", 0, accuracy)
        for method, found in methods.items()
        for (seed, task), accuracy in found.items()
    ]
    return Outcome("size", value, base, tuple(scores), (1.0, 0.75), seconds=12.3, bytes=1_234_567)


def test_lines_are_paired_by_seed() -> None:
    found = Ablation(
        "mine",
        (
            outcome("5%", True, mkdt=OWN, random=RANDOM, full=FULL),
            outcome("10%", False, mkdt=BETTER, random=OWN, full=FULL),
        ),
    )
    own, better = found.lines("size", "5%")
    assert own.to_base == (0.0, 0.0) and better.to_base == (3.0, 2.0)
    assert own.over_random == (5.0, 6.0) and better.over_random == (3.0, 2.0)
    assert own.accuracy.mean == 46.0 and better.random.mean == 46.0
    assert own.gap_recovered.mean == pytest.approx((46 - 40.5) / (60.5 - 40.5))
    assert better.gap_recovered.mean == pytest.approx((48.5 - 46) / (60.5 - 46))
    # Student's t with one degree of freedom: 12.706 x 0.7071 / sqrt 2 = 6.353.
    header, first, second = ablation_rows(found, "size", "5%")
    assert header == [
        "size",
        "mean",
        "to own",
        "random",
        "over random",
        "gap recovered",
        "loss",
        "seconds",
        "bytes",
    ]
    assert first[:3] == ["5% (own)", "46.0 ± 12.7", ""]
    assert second[2] == "+2.5 ± 6.4, within noise"
    assert second[-3:] == ["1.000 to 0.750", "12", "1.2 MB"]


def test_a_sure_difference_is_not_called_noise() -> None:
    shifted = {key: value + 3 for key, value in OWN.items()}
    found = Ablation(
        "mine",
        (
            outcome("5%", True, mkdt=OWN, random=RANDOM),
            outcome("10%", False, mkdt=shifted, random=OWN),
        ),
        {"size": "the size of the set, as a share of the pool"},
    )
    header, _, second = ablation_rows(found, "size", "5%")
    assert "gap recovered" not in header
    assert second[2] == second[4] == "+3.0 ± 0.0"
    text = ablation_text(found)
    assert text.startswith("size: the size of the set, as a share of the pool; 5% of the labels\n")
    assert text.endswith(ablation_legend(found)) and "2 seeds" in ablation_legend(found)
    table = [line for line in ablation_markdown(found).splitlines() if line.startswith("|")]
    assert len(table) == 4 and {line.count("|") for line in table} == {len(header) + 1}


def test_an_old_file_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no descriptions of its axes and no bytes; the varied method is always called mkdt."""
    outcomes = (
        outcome("5%", True, mkdt=OWN, random=RANDOM),
        outcome("10%", False, mkdt=BETTER, random=OWN),
    )
    outcomes = tuple(replace(o, bytes=0) for o in outcomes)
    old = {"name": "mine", "outcomes": [asdict(o) for o in outcomes]}
    for content in old["outcomes"]:
        del content["bytes"]
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FORMAT_VERSION", 1)
        storage.save_json(tmp_path / "ablation.json", old, kind="ablation")
    found = Ablation.load(tmp_path / "ablation.json")
    assert found == Ablation("mine", outcomes) and found.method == "mkdt"
    assert [line.to_base for line in found.lines("size", "5%")] == [(0.0, 0.0), (3.0, 2.0)]
    assert ablation_text(found).startswith("size: size; 5% of the labels\n")
    assert describe(tmp_path / "ablation.json").endswith(ablation_text(found))
    storage.save_json(tmp_path / "run.json", {"stages": {}, "seconds": {}}, kind="run")
    assert 'id="ablation"' in write_report(tmp_path).read_text(encoding="utf-8")


# Of any method that says what of it may be varied


def own_axes(method: str) -> set[str]:
    return {axis.name for axis in METHODS[method]().axes()}


def test_methods_that_can_be_ablated() -> None:
    assert own_axes("mkdt") and own_axes("views") == {"views", "select", "labels", "assistant"}


def test_views_along_their_own_axes(recipe: Recipe, tmp_path: Path) -> None:
    """The recipe's method is varied; stages that it does not need are not made."""
    recipe = recipe.set("method", "views").set("views.count", 2).set("assistant.epochs", 1)
    recipe = recipe.set("assistant.network", recipe.experts.network).set("compare.seeds", 1)
    axes = ("views=1,3", "select=random", "labels", "assistant=2", "size=30%")
    folder = tmp_path / "run"
    found = ablate(recipe=recipe, folder=folder, axes=axes)
    assert found.method == "views"
    assert [(o.axis, o.value) for o in found.outcomes] == [
        *[("views", v) for v in "123"],
        *[("select", v) for v in ("k-means", "random")],
        *[("labels", v) for v in ("assistant", "image")],
        *[("assistant", v) for v in "12"],
        *[("size", v) for v in ("20%", "30%")],
    ]
    assert [o.value for o in found.outcomes if o.base] == ["2", "k-means", "assistant", "1", "20%"]
    assert {s.method for o in found.outcomes for s in o.scores} == {"views", "random", "full"}
    assert all(o.loss is None for o in found.outcomes)  # nothing is matched
    assert not list(folder.glob("experts-*")) and not list(folder.glob("mkdt-*"))
    # Of 40 images a fifth or three tenths, each in as many views as the variant has.
    sets = [load_distilled(f) for f in folder.glob("views-seed0-*/distilled.safetensors")]
    shapes = sorted((len(s.images), s.views_each) for s in sets)
    assert shapes == [(8, 1), (8, 2), (8, 2), (8, 2), (8, 2), (8, 3), (12, 2)]
    assert len(list(folder.glob("assistant-*"))) == 2  # by its epochs
    text = ablation_text(Ablation.load(folder / "ablation.json"))
    for words in ("views: views per image; ", "labels: who labels the views; "):
        assert words in text
    for line in found.lines("views", "30%"):
        assert line.accuracy.mean == pytest.approx(line.random.mean + line.over_random[0])
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.count("paired difference to") == 5 * 2


@dataclass(frozen=True)
class Neighbours(RealImages):
    """Images in a row: a third-party method with an axis."""

    name: ClassVar[str] = "neighbours"
    summary: ClassVar[str] = "images in a row"
    first: int = 0

    def choose(self, inputs: Inputs, place: Place) -> torch.Tensor:
        return torch.arange(self.first, self.first + inputs.count)

    def axes(self) -> tuple[Axis, ...]:
        return (Axis("first", "where they begin", "neighbours.first", one_of(0, 7)),)


def test_any_method_with_axes(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "neighbours", Neighbours)
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE.replace("method: mkdt", "method: neighbours\nneighbours: {first: 3}"))
    own = replace(load_recipe(path), data=recipe.data).set("compare.seeds", 1)
    found = ablate(recipe=own, folder=tmp_path / "run", axes=["first"])
    assert [(o.value, o.base) for o in found.outcomes] == [("0", False), ("3", True), ("7", False)]
    assert found.method == "neighbours"
    files = (tmp_path / "run").glob("neighbours-seed0-*/distilled.safetensors")
    indices = [load_distilled(file).index for file in files]
    assert sorted(index[0].item() for index in indices if index is not None) == [0, 3, 7]


def test_what_makes_no_set_is_not_ablated(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="full makes no set; choose another --method to ablate"):
        ablate(recipe=recipe.set("method", "full"), folder=tmp_path / "run")


def test_the_verb_takes_the_method(
    tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--compare.seeds", "1"]
    flags += ["--assistant.epochs", "1", "--assistant.network.width", "4"]
    command = ["ablate", str(tmp_path / "mine.yaml"), *flags, "--method", "views"]
    assert main([*command, "--axes", "views=1,2", "--views.count", "2"]) == 0
    assert "views: views per image; 30% of the labels" in capsys.readouterr().out
    assert main([*command, "--axes", "init"]) == 2  # mkdt's
    assert "there is no axis init" in capsys.readouterr().err


def test_ends_average_the_first_and_last_twentieth() -> None:
    losses = [float(i) for i in range(100)]
    assert ends(losses) == (2.0, 97.0)
    assert ends([3.0]) == (3.0, 3.0)
