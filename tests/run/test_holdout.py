"""What `images.holdout` leaves out has no part in anything that is learnt."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from decoct.methods.subsets import SUBSETS
from decoct.run.keys import Keys
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.core.on_disk import DiskTensor
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.run.pipeline import Run
from decoct.run.preflight import check_run
from decoct.run.recipe import DISTILLERS, ON_ALL, SYNTHETIC, ImagesConfig, Recipe, load_recipe
from decoct.run.sizes import measure_sizes

SETS = (*SUBSETS, *DISTILLERS)


def with_holdout(recipe: Recipe, holdout: float) -> Recipe:
    return replace(recipe, images=replace(recipe.images, holdout=holdout))


def split(recipe: Recipe, folder: Path) -> tuple[list[int], list[int]]:
    kept, left_out = Run(recipe, folder).split
    return kept.tolist(), left_out.tolist()


@pytest.mark.parametrize("holdout, count", [(0.0, 0), (0.01, 0), (0.1, 4), (0.25, 10), (0.9, 36)])
def test_kept_and_left_out_are_the_pool(
    holdout: float, count: int, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    kept, left_out = split(with_holdout(tiny_recipe, holdout), tmp_path / "run")
    assert len(left_out) == count
    assert sorted(kept + left_out) == list(range(40))
    assert kept == sorted(kept) and left_out == sorted(left_out)


def test_the_split_depends_on_the_recipes_seed_alone(tiny_recipe: Recipe, tmp_path: Path) -> None:
    first = split(tiny_recipe, tmp_path / "run")
    torch.manual_seed(5)
    others = (
        replace(tiny_recipe, size=3, distill=replace(tiny_recipe.distill, iterations=7)),
        replace(tiny_recipe, compare=replace(tiny_recipe.compare, seeds=4, methods=("mkdt",))),
        replace(tiny_recipe, targets=replace(tiny_recipe.targets, components=2)),
    )
    assert all(split(other, tmp_path / "other") == first for other in others)
    splits = [split(replace(tiny_recipe, seed=s), tmp_path / "run")[1] for s in range(4)]
    assert splits[0] == first[1]
    assert len(set(map(tuple, splits))) == 4


def test_what_is_learnt_from_is_the_rows_that_are_kept(
    tiny_recipe: Recipe, tmp_path: Path, tiny_images: Images
) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    kept, _ = run.split
    assert torch.equal(run.pool.pixels[:], tiny_images.pixels[:])
    assert torch.equal(run.images.pixels[:], tiny_images.pixels[kept])
    assert torch.equal(run.targets.values, run.pool_targets.values[kept])
    # The statistics are the whole pool's, so that a network sees all images on one scale.
    assert torch.equal(run.images.mean, run.pool.mean)
    assert torch.equal(run.images.std, run.pool.std)


def test_a_part_of_targets_has_the_map_of_the_whole(tiny_targets: Targets) -> None:
    index = torch.tensor([7, 0, 39])
    part = tiny_targets.part(index)
    assert torch.equal(part.values, tiny_targets.values[[7, 0, 39]])
    for name in (f.name for f in fields(Targets) if f.name != "values"):
        assert torch.equal(getattr(part, name), getattr(tiny_targets, name))


def body(encoder: Encoder) -> Tensor:
    values = encoder.network.body.state_dict().values()
    return torch.cat([value.flatten().double() for value in values])


def test_whatever_is_left_out_all_that_is_learnt_is_the_same_to_the_bit(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """Targets of nan would be noticed by whatever looked at them; so would white pictures."""
    recipe = replace(tiny_recipe, distill=replace(tiny_recipe.distill, start="high-loss"))
    as_it_is, spoilt = (Run(recipe, tmp_path / name) for name in ("as-it-is", "spoilt"))
    _, left_out = as_it_is.split
    pixels, values = as_it_is.pool.pixels[:].clone(), as_it_is.pool_targets.values.clone()
    pixels[left_out], values[left_out] = 255, math.nan
    vars(spoilt)["pool"] = replace(as_it_is.pool, pixels=pixels)
    vars(spoilt)["pool_targets"] = replace(as_it_is.pool_targets, values=values)
    for method in SETS:
        one, other = (run.distilled(method, 0) for run in (as_it_is, spoilt))
        for name in ("images", "targets", "index"):
            assert torch.equal(getattr(one, name), getattr(other, name)), (method, name)
        assert one.rule == other.rule
    for method in ("ssl-random", *ON_ALL):
        one, other = (run.pretrained(method, 0) for run in (as_it_is, spoilt))
        assert torch.equal(body(one), body(other)), method
        assert bool(body(one).isfinite().all())


def test_a_teacher_is_trained_without_them(tiny_recipe: Recipe, tmp_path: Path) -> None:
    ssl = replace(
        tiny_recipe.teacher.ssl,
        network=tiny_recipe.pretrain.network,
        epochs=1,
        warm_up=0,
        batch=10,
        projector=8,
    )
    recipe = replace(tiny_recipe, teacher=replace(tiny_recipe.teacher, train=True, ssl=ssl))
    as_it_is, spoilt = (Run(recipe, tmp_path / name) for name in ("as-it-is", "spoilt"))
    pixels = as_it_is.pool.pixels[:].clone()
    pixels[as_it_is.split[1]] = 255
    vars(spoilt)["pool"] = replace(as_it_is.pool, pixels=pixels)
    assert torch.equal(body(as_it_is.teacher), body(spoilt.teacher))


@pytest.mark.parametrize("method", SETS)
def test_a_set_counts_in_the_users_own_pool(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    found = run.distilled(method, 3)
    assert found.index is not None
    assert not set(found.index.tolist()) & set(run.split[1].tolist())
    real = found.start if method in SYNTHETIC else found.images
    assert real is not None
    torch.testing.assert_close(real, run.pool.normalised(found.index))
    if method in SUBSETS:
        assert torch.equal(found.targets, run.pool_targets.values[found.index])


# Keys and checks


def test_another_split_is_another_set_and_another_encoder(tiny_recipe: Recipe) -> None:
    """The targets are from a file, and so do not depend on the recipe's seed."""
    one, other = (Keys(replace(tiny_recipe, seed=seed)) for seed in (1, 2))
    for method in (*SETS, "full", "full-steps"):
        assert one.distilled(method, 1) != other.distilled(method, 1), method
    for method in (*SETS, "ssl-random", *ON_ALL):
        assert one.encoder(method, 1) != other.encoder(method, 1), method


def test_where_nothing_is_left_out_a_seeds_subset_is_found_again(tiny_recipe: Recipe) -> None:
    whole = with_holdout(tiny_recipe, 0)
    one, other = (Keys(replace(whole, seed=seed)) for seed in (1, 2))
    assert one.distilled("random", 1) == other.distilled("random", 1)
    assert one.encoder("ssl-random", 1) == other.encoder("ssl-random", 1)
    assert Keys(tiny_recipe).images != Keys(whole).images


@pytest.mark.parametrize("holdout", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(holdout: float) -> None:
    with pytest.raises(DecoctError, match=r"images\.holdout is .*; give a share in \[0, 1\)"):
        ImagesConfig(holdout=holdout)


def test_a_recipe_and_a_flag_with_a_bad_share_are_refused(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("holdout: 0.25", "holdout: 1.25"))
    with pytest.raises(DecoctError, match=r"mine\.yaml: images\.holdout is 1\.25"):
        load_recipe(path)
    assert main(["load-images", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "give a share in [0, 1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda r: replace(r, size=31), "31 images cannot be made from 30"),
        (lambda r: with_holdout(r, 0.99), "9 images cannot be made from 0"),
        (lambda r: with_holdout(replace(r, size=0), 0.99), "a distilled set of 0"),
    ],
)
def test_a_set_that_the_rest_cannot_give_is_refused_early(
    change: Callable[[Recipe], Recipe],
    sentence: str,
    tiny_recipe: Recipe,
    tmp_path: Path,
    tiny_images: Images,
    tiny_task: Task,
) -> None:
    check_run(replace(tiny_recipe, size=30), images=tiny_images, tasks=[tiny_task], folder=tmp_path)
    with pytest.raises(DecoctError, match=sentence):
        check_run(change(tiny_recipe), images=tiny_images, tasks=[tiny_task], folder=tmp_path)


def test_the_doctor_counts_what_is_learnt_from(tiny_recipe: Recipe) -> None:
    sizes = measure_sizes(replace(tiny_recipe, size=0, fraction=0.5))
    assert sizes is not None
    assert (sizes.pool, sizes.kept) == (40, 15)


# Rows in a file


@pytest.fixture
def stored(tmp_path: Path, tiny_images: Images, monkeypatch: pytest.MonkeyPatch) -> Images:
    tiny_images.save(tmp_path / "pool.safetensors")
    monkeypatch.setattr("decoct.core.on_disk._IN_MEMORY", 0)
    monkeypatch.setattr("decoct.core.on_disk.CHUNK", 16 * 16 * 3 * 4)  # four images at a time
    found = Images.load(tmp_path / "pool.safetensors")
    assert isinstance(found.pixels, DiskTensor)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_selection_of_a_selection_reads_the_right_rows(
    seed: int, stored: Images, tiny_images: Images
) -> None:
    draws = torch.Generator().manual_seed(seed)
    rows, plain = stored.pixels, tiny_images.pixels[:]
    for _ in range(3):
        # Some rows twice, some never, in no order.
        index = torch.randint(len(plain), (len(plain) - 5,), generator=draws)
        rows, plain = rows.select(index), plain[index]  # type: ignore[union-attr]
        assert rows.shape == plain.shape and len(rows) == len(plain)
        assert rows.nbytes == plain.numel()
        for part in (slice(None), slice(3, 9), slice(1, None, 4), slice(-6, -2), slice(5, 5)):
            assert torch.equal(rows[part], plain[part])
        wanted = torch.randint(len(plain), (7,), generator=draws)
        assert torch.equal(rows[wanted], plain[wanted])
        assert torch.equal(torch.cat(list(rows.chunks("reading"))), plain)
        with pytest.raises(IndexError, match="others were asked for"):
            rows[torch.tensor([len(plain)])]  # which the file has, and the selection has not


def test_an_empty_selection_has_no_rows(stored: Images) -> None:
    rows = stored.pixels.select(torch.arange(0))  # type: ignore[union-attr]
    assert len(rows) == 0 and rows[:].shape == (0, 3, 16, 16)


def test_a_part_is_the_same_images_wherever_they_lie(
    stored: Images, tiny_images: Images, tmp_path: Path
) -> None:
    index = torch.tensor([31, 2, 2, 17, 0])
    in_file, in_memory = stored.part(index), tiny_images.part(index)
    assert isinstance(in_file.pixels, DiskTensor) and isinstance(in_memory.pixels, Tensor)
    assert in_file.digest == in_memory.digest == tiny_images.subset(index).digest
    again = torch.tensor([4, 1])
    assert in_file.part(again).digest == tiny_images.subset(index[again]).digest
    in_file.save(tmp_path / "part.safetensors")
    assert Images.load(tmp_path / "part.safetensors").digest == in_memory.digest


def test_a_part_keeps_its_labels(tiny_task: Task, tmp_path: Path) -> None:
    index = torch.tensor([5, 59, 20])
    part = tiny_task.train.part(index)
    assert part.labels is not None
    assert torch.equal(part.labels, tiny_task.train_labels[index])
