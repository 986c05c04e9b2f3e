"""Smaller sets: what each code keeps of the targets, its bytes, and that training uses it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from decoct.artefacts.coding import CodingConfig, compact
from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.target_codes import from_pca, from_product_quantised, pca, product_quantised
from decoct.core.errors import DecoctError
from decoct.data.stored_views import plain_views
from decoct.evaluation.scores import Scores
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.studies.ablate import ablate

CODES = ("float16", "int8", "pca", "pq")


def targets_of(rows: int = 300, dimensions: int = 12) -> Tensor:
    """Rows near a plane of three dimensions."""
    draws = torch.Generator().manual_seed(0)
    plane = torch.randn(rows, 3, generator=draws) @ torch.randn(3, dimensions, generator=draws)
    return plane + 0.01 * torch.randn(rows, dimensions, generator=draws) + 2


def share_lost(found: Tensor, targets: Tensor) -> float:
    centred = targets - targets.flatten(0, -2).mean(0)
    return float((found - targets).square().sum() / centred.square().sum())


def test_pca_keeps_what_scikit_learns_does() -> None:
    rows = targets_of()
    found = from_pca(pca(rows, components=3))
    reference = PCA(3).fit(rows.numpy())
    expected = torch.from_numpy(reference.inverse_transform(reference.transform(rows.numpy())))
    assert share_lost(found, expected) < 1e-4  # eight bits
    assert share_lost(found, rows) < 1e-3 < share_lost(from_pca(pca(rows, components=1)), rows)


def test_product_quantisation_takes_the_nearest_word_of_each_part() -> None:
    rows = targets_of()
    tensors = product_quantised(rows, dimensions=5)  # the last part has two
    assert tensors["words"].shape == (300, 3) and tensors["words"].dtype == torch.uint8
    found = from_product_quantised(tensors)
    for k, part in enumerate(rows.split(5, 1)):
        words = tensors["books"][k, :, : part.shape[1]].float()
        nearest = words[torch.cdist(part, words).argmin(1)]
        assert (found.split(5, 1)[k] - part).norm() <= (nearest - part).norm() * 1.001
    assert share_lost(found, rows) < 0.02


def test_few_rows_are_their_own_words() -> None:
    rows = targets_of(rows=20)
    assert share_lost(from_product_quantised(product_quantised(rows, dimensions=4)), rows) < 1e-5


@pytest.mark.parametrize("shape", [(40, 12), (10, 4, 12)])
@pytest.mark.parametrize("code", CODES)
def test_any_code_takes_targets_with_or_without_views(code: str, shape: tuple[int, ...]) -> None:
    found = compact(a_set(shape), CodingConfig(targets=code, components=6))  # type: ignore[arg-type]
    assert found.targets.shape == shape and found.coded["targets"].code == code
    assert share_lost(found.targets, a_set(shape).targets) < 0.05


def a_set(shape: tuple[int, ...]) -> DistilledSet:
    targets = targets_of(rows=40).view(*shape)
    views = None if len(shape) == 2 else plain_views(40).view(*shape[:2], 9)
    return DistilledSet(
        images=torch.rand(shape[0], 3, 8, 8),
        targets=targets,
        mean=torch.zeros(3),
        std=torch.ones(3),
        rule=TrainingRule(),
        method="random",
        views=views,
    )


@pytest.mark.parametrize("code", CODES)
def test_a_coded_set_is_smaller_and_the_same_after_it_was_saved(code: str, tmp_path: Path) -> None:
    whole = a_set((40, 12))
    found = compact(whole, CodingConfig(targets=code, components=6))  # type: ignore[arg-type]
    found.save(tmp_path / "set.safetensors")
    back = load_distilled(tmp_path / "set.safetensors")
    assert torch.equal(back.targets, found.targets) and torch.equal(back.images, found.images)
    assert back.bytes == found.bytes
    if code != "pq":  # its words pay only for many rows
        assert found.bytes < whole.bytes


def test_what_is_coded_already_and_what_has_no_targets_stays() -> None:
    config = CodingConfig(targets="int8")
    once = compact(a_set((40, 12)), config)
    assert compact(once, config) is once
    assert compact(once, CodingConfig()) is once
    without = replace(a_set((40, 12)), targets=torch.zeros(40, 0))
    assert compact(without, config) is without


def test_only_real_images_become_webp(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tiny_recipe.set("coding.images", "webp"), tmp_path / "run")
    plain = Run(tiny_recipe, tmp_path / "run").distilled("random", 0)
    real, learnt = run.distilled("random", 0), run.distilled("mkdt", 0)
    assert set(real.coded) == {"images"} and not learnt.coded
    torch.testing.assert_close(real.images, plain.images, rtol=0, atol=1e-5)


def test_only_learnt_images_become_int8(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tiny_recipe.set("coding.images", "int8"), tmp_path / "run")
    plain = Run(tiny_recipe, tmp_path / "run").distilled("mkdt", 0)
    real, learnt = run.distilled("random", 0), run.distilled("mkdt", 0)
    assert set(learnt.coded) == {"images"} and not real.coded
    half_a_step = plain.images.abs().amax((0, 2, 3), keepdim=True) / 127 / 2
    assert bool(((learnt.images - plain.images).abs() <= 1.001 * half_a_step).all())
    saved = plain.bytes - learnt.bytes
    assert saved == 3 * plain.images.numel() - 4 * plain.channels  # three bytes of four, and scales


def test_an_ablation_compares_codes_by_their_bytes(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, method="views")
    found = ablate(recipe=recipe, folder=tmp_path / "run", axes=["coding=int8,pq"])
    assert [o.value for o in found.outcomes] == ["as made", "int8", "pq"]
    assert all(Scores(o.scores).by_seed("views", None) for o in found.outcomes)
    coded = Run(recipe.set("coding.targets", "int8"), tmp_path / "run")
    whole = Run(recipe, tmp_path / "run")
    assert coded.facts("views")["bytes"] < whole.facts("views")["bytes"]


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(DecoctError, match=r"coding\.targets is 'zip'"):
        CodingConfig(targets="zip")  # type: ignore[arg-type]
