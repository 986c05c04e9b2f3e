"""The method views: images in several views with a target each, from the set to its scores."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.stored_views import plain_views, show_views
from decoct.methods.views import Views, stored_views
from decoct.models.registry import NetworkConfig
from decoct.report.export import export
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.compare import compare
from decoct.training.assistant import AssistantConfig
from decoct.training.pretrain import PretrainConfig, pretrain

START = torch.tensor([7, 3, 30, 12, 25])
M, V = len(START), 4
NETWORK = NetworkConfig(width=4, depth=2)
RULE = TrainingRule(lr=0.05, momentum=0.9, weight_decay=1e-4, batch=8)


def means(views: Tensor, rows: Tensor) -> Tensor:
    """A label that depends on the view and on which image it is of: 3-d."""
    return views.mean((2, 3)) + rows[:, None]


@pytest.fixture
def found(tiny_images: Images) -> DistilledSet:
    """Five images of the pool in four views each."""
    config = Views(count=V, rule=RULE)
    return stored_views(images=tiny_images, index=START, label=means, config=config)


def shown(found: DistilledSet, images: Images) -> Tensor:
    """All the views of the set in [0, 1], by hand: M x V x C x H x W."""
    assert found.views is not None
    pixels = images.pixels[START].float() / 255
    return torch.stack([show_views(pixels, found.views[:, v]) for v in range(V)], 1)


# The set


def test_an_image_has_its_views_and_each_view_its_label(
    found: DistilledSet, tiny_images: Images
) -> None:
    assert found.views is not None
    assert found.views.shape == (M, V, 9) and found.views.dtype == torch.uint8
    assert found.targets.shape == (M, V, 3) and found.targets.dtype == torch.float16
    assert torch.equal(found.images, tiny_images.normalised(START))
    assert torch.equal(found.views[:, 0], plain_views(M))
    assert len(found.views.flatten(0, 1).unique(dim=0)) == M * (V - 1) + 1  # all others differ
    views = shown(found, tiny_images)
    expected = torch.stack([means(views[:, v], START) for v in range(V)], 1)
    assert torch.equal(found.targets, expected.half())


def test_it_gives_the_views_of_an_image_after_each_other(
    found: DistilledSet, tiny_images: Images
) -> None:
    assert len(found) == M * V
    mean, std = (t.view(3, 1, 1) for t in (tiny_images.mean, tiny_images.std))
    views = shown(found, tiny_images)
    for i in range(M * V):
        image, target = found[i]
        assert torch.allclose(image, (views[i // V, i % V] - mean) / std, atol=1e-4)
        assert target.dtype == torch.float32
        assert torch.equal(target, found.targets[i // V, i % V].float())
    assert torch.equal(found[-1][0], found[M * V - 1][0])
    with pytest.raises(IndexError):
        found[M * V]


def test_a_data_loader_takes_it(found: DistilledSet) -> None:
    batches = list(DataLoader(found, batch_size=6))
    assert [len(images) for images, _ in batches] == [6, 6, 6, 2]
    images, targets = found.read(torch.arange(M * V))
    assert torch.allclose(torch.cat([b[0] for b in batches]), images, atol=1e-5)
    assert torch.equal(torch.cat([b[1] for b in batches]), targets)


@pytest.mark.parametrize("uint8", [False, True])
def test_round_trip(uint8: bool, found: DistilledSet, tmp_path: Path) -> None:
    found.save(tmp_path / "d.safetensors", uint8=uint8)
    again = load_distilled(tmp_path / "d.safetensors")
    for name in ("targets", "views", "index"):
        one, other = getattr(found, name), getattr(again, name)
        assert one.dtype == other.dtype and torch.equal(one, other)
    images = found.images
    step = (images.amax((0, 2, 3)) - images.amin((0, 2, 3))) / 255 if uint8 else torch.zeros(3)
    assert bool(((again.images - images).abs().amax((0, 2, 3)) <= 0.501 * step).all())
    assert (again.rule, again.method, len(again)) == (RULE, "views", M * V)


@pytest.mark.parametrize("shape", [(M, V + 1, 3), (M, 3), (M - 1, V, 3)])
def test_targets_that_are_not_one_a_view_are_refused(
    shape: tuple[int, ...], found: DistilledSet
) -> None:
    with pytest.raises(DecoctError, match="targets"):
        replace(found, targets=torch.zeros(shape))


def test_export_writes_views_and_their_targets(found: DistilledSet, tmp_path: Path) -> None:
    found.save(tmp_path / "d.safetensors")
    out = export(tmp_path / "d.safetensors", out=tmp_path / "out")
    views, targets = (np.load(out / f"{name}.npy") for name in ("views", "targets"))
    assert views.dtype == np.uint8 and targets.dtype == np.float32
    assert found.views is not None and np.array_equal(views, found.views.numpy())
    assert np.array_equal(targets, found.targets.float().numpy())
    assert len(list(out.glob("*.png"))) == M


# Pre-training


def test_pre_training_sees_every_view_once_an_epoch(
    found: DistilledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    read = DistilledSet.read

    def spy(self: DistilledSet, index: Tensor, *, rows: slice) -> tuple[Tensor, Tensor]:
        seen.extend(index[rows].tolist())
        return read(self, index, rows=rows)

    monkeypatch.setattr(DistilledSet, "read", spy)
    pretrain(distilled=found, config=PretrainConfig(network=NETWORK, epochs=3))
    assert len(seen) == 3 * M * V
    for epoch in range(3):
        assert sorted(seen[epoch * M * V :][: M * V]) == list(range(M * V))


def test_plain_views_train_as_their_images_do(found: DistilledSet) -> None:
    """In whole batches, the mean over V copies is the mean over the images."""
    views = plain_views(M * V).view(M, V, 9)
    targets = found.targets[:, :1].expand(M, V, 3)
    rule = replace(RULE, batch=100)
    sets = [
        replace(found, views=views, targets=targets, rule=rule),
        replace(found, views=None, targets=targets[:, 0].float(), rule=rule),
    ]
    config = PretrainConfig(network=NETWORK, epochs=3)
    many, once = (pretrain(distilled=d, config=config) for d in sets)
    assert many.provenance["losses"] == pytest.approx(once.provenance["losses"], rel=1e-3)
    pairs = zip(many.network.body.parameters(), once.network.body.parameters(), strict=True)
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in pairs)


# In a run


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    """Sets of 9 images in 3 views, compared with random ones."""
    return tiny_recipe.having(
        assistant=AssistantConfig(network=NETWORK, epochs=1, batch=10, lr=0.01),
        views=Views(count=3, select="random"),
        compare=replace(tiny_recipe.compare, methods=("none", "random", "views")),
    )


def labelled(recipe: Recipe, by: Any) -> Recipe:
    """Views labelled by the assistant, the teacher (which is here then) or as their image."""
    targets = TargetsConfig(components=4) if by == "teacher" else recipe.targets
    return recipe.having(targets=targets, views=replace(recipe.views, labels=by))


@pytest.mark.parametrize("by", ["assistant", "teacher", "image"])
def test_the_targets_are_what_was_asked_to_label(by: str, recipe: Recipe, tmp_path: Path) -> None:
    run = Run(labelled(recipe, by), tmp_path / "run")
    found = run.distilled("views", 0)
    assert found.index is not None and found.views is not None
    assert found.targets.shape == (9, 3, 4)
    rows = torch.searchsorted(run.split[0], found.index)
    assert torch.equal(run.split[0][rows], found.index)  # counted in the pool
    own = run.targets.values[rows].half()
    pixels = run.images.pixels[rows].float() / 255
    for v in range(3):
        if by == "assistant":
            label = run.assistant.label(show_views(pixels, found.views[:, v])).half()
            assert torch.allclose(found.targets[:, v], label, atol=1e-2)
        elif by == "image":
            assert torch.equal(found.targets[:, v], own)
        else:  # of the image itself it says what it always says
            assert torch.allclose(found.targets[:, v], own, atol=1e-2) == (v == 0)


@pytest.mark.parametrize("by", ["assistant", "teacher", "image"])
def test_views_are_compared_from_end_to_end(by: str, recipe: Recipe, tmp_path: Path) -> None:
    run = Run(labelled(recipe, by), tmp_path / "run")
    scores = compare(run)
    assert {s.method for s in scores.scores} == {"none", "random", "views"}
    made = [p.name for p in (tmp_path / "run").iterdir() if p.name.startswith("assistant-")]
    assert len(made) == (by == "assistant")  # trained only where it is asked
    facts, found = scores.facts["views"], run.distilled("views", 0)
    assert facts["images"] == 9
    assert facts["bytes"] == 9 * (3 * 16 * 16 + 3 * (2 * 4 + 9))  # float16 targets, 9 numbers
    assert facts["bytes"] == found.bytes
    assert facts["steps"] == 2 * math.ceil(9 * 3 / 4)


def test_a_teacher_that_is_not_there_cannot_be_asked(recipe: Recipe) -> None:
    with pytest.raises(DecoctError, match=r"there is no teacher"):
        recipe.set("views.labels", "teacher")


@pytest.mark.parametrize(
    "text, said",
    [
        ("method: nonsense", "'nonsense' is unknown;"),
        ("method: view", r"'view' is unknown; perhaps you meant views\?"),
        ("views: {count: 0}", r"views\.count is 0"),
        ("views: {labels: oracle}", "views.labels is 'oracle'; it must be"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DecoctError, match=said):
        load_recipe(tmp_path / "mine.yaml")


def test_a_stage_is_made_again_when_what_it_depends_on_changes(recipe: Recipe) -> None:
    def keys(changed: Recipe) -> dict[str, str]:
        stages = ("assistant", "views-seed0", "random-seed0")
        return {stage: Graph(changed).key(stage) for stage in stages}

    def differ(one: Recipe, other: Recipe) -> set[str]:
        return {name for name, key in keys(one).items() if key != keys(other)[name]}

    assistant = recipe.set("assistant.epochs", 2)
    assert differ(recipe, recipe) == set()
    assert differ(recipe, assistant) == {"assistant", "views-seed0"}
    assert differ(recipe, recipe.set("views.augment.flip", False)) == {"assistant", "views-seed0"}
    assert differ(recipe, recipe.set("views.count", 5)) == {"views-seed0"}
    # Views that another labels do not depend on the assistant.
    assert differ(labelled(recipe, "image"), labelled(assistant, "image")) == {"assistant"}


# What else it needs


@pytest.mark.parametrize("components", [0, 2])
@pytest.mark.parametrize("scaling", ["overall", "dimension", "none"])
def test_targets_of_what_they_were_fitted_on_are_the_targets(
    components: int, scaling: Any, tmp_path: Path
) -> None:
    representations = 5 + 3 * torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    fitted = fit_targets(representations, TargetsConfig(components=components, scaling=scaling))
    fitted.save(tmp_path / "t.safetensors")
    for targets in (fitted, Targets.load(tmp_path / "t.safetensors"), fitted.part(torch.arange(3))):
        assert torch.allclose(targets.of(representations), fitted.values, atol=1e-5)
