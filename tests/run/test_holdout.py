"""What `images.holdout` leaves out has no part in anything that is learnt."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.core.on_disk import DiskTensor
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.methods.real_images import RealImages
from decoct.methods.registry import METHODS
from decoct.run.graph import Graph
from decoct.run.method_stages import encoder_of, set_of
from decoct.run.pipeline import Run
from decoct.run.preflight import check_run
from decoct.run.recipe import ImagesConfig, Recipe, load_recipe
from decoct.run.sizes import measure_sizes

SETS = tuple(name for name, kind in METHODS.items() if kind.makes_set)
ON_ALL = tuple(name for name, kind in METHODS.items() if kind.whole_pool)


class Spoilt(Run):
    """A run with a pool, or targets, other than those it was configured for."""

    def __init__(self, recipe: Recipe, folder: Path, **others: Any) -> None:
        super().__init__(recipe, folder)
        self.others = others

    def get(self, name: str) -> Any:
        return self.others[name] if name in self.others else super().get(name)


def with_holdout(recipe: Recipe, holdout: float) -> Recipe:
    return recipe.set("images.holdout", holdout)


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
        tiny_recipe.having(size=3).set("matching.iterations", 7),
        tiny_recipe.set("compare.seeds", 4).set("compare.methods", ("mkdt",)),
        tiny_recipe.set("targets.components", 2),
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
    recipe = tiny_recipe.set("mkdt.init", "high-loss")
    as_it_is = Run(recipe, tmp_path / "as-it-is")
    _, left_out = as_it_is.split
    pixels, values = as_it_is.pool.pixels[:].clone(), as_it_is.pool_targets.values.clone()
    pixels[left_out], values[left_out] = 255, math.nan
    images = replace(as_it_is.pool, pixels=pixels)
    targets = replace(as_it_is.pool_targets, values=values)
    spoilt = Spoilt(recipe, tmp_path / "spoilt", images=images, targets=targets)
    assert bool(spoilt.pool_targets.values[left_out].isnan().all())
    for method in SETS:
        one, other = (run.distilled(method, 0) for run in (as_it_is, spoilt))
        for name in ("images", "targets", "index"):
            a, b = getattr(one, name), getattr(other, name)
            assert torch.equal(a, b) if a is not None else b is None, (method, name)
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
    recipe = tiny_recipe.set("teacher.train", True).set("teacher.ssl", ssl)
    as_it_is = Run(recipe, tmp_path / "as-it-is")
    pixels = as_it_is.pool.pixels[:].clone()
    pixels[as_it_is.split[1]] = 255
    images = replace(as_it_is.pool, pixels=pixels)
    spoilt = Spoilt(recipe, tmp_path / "spoilt", images=images)
    assert torch.equal(body(as_it_is.teacher), body(spoilt.teacher))


NO_IMAGES = (
    "noise",
    "boost-ssdd",
    "carried-mkdt",
)  # these sets keep no real images, nor where any are


@pytest.mark.parametrize("method", [name for name in SETS if name not in NO_IMAGES])
def test_a_set_counts_in_the_users_own_pool(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    found = run.distilled(method, 3)
    assert found.index is not None
    assert not set(found.index.tolist()) & set(run.split[1].tolist())
    real = found.initial if METHODS[method].synthetic else found.images
    assert real is not None
    torch.testing.assert_close(real, run.pool.normalised(found.index))
    if issubclass(METHODS[method], RealImages):
        assert torch.equal(found.targets, run.pool_targets.values[found.index])


# Keys and checks


def test_another_split_is_another_set_and_another_encoder(tiny_recipe: Recipe) -> None:
    """The targets are from a file, and so do not depend on the recipe's seed."""
    one, other = (Graph(tiny_recipe.having(seed=seed)) for seed in (1, 2))
    assert one.key("targets") == other.key("targets")
    for name in (*(set_of(m, 1) for m in SETS), "images learnt from", "targets learnt from"):
        assert one.key(name) != other.key(name), name
    for method in (*SETS, "ssl-random", *ON_ALL):
        assert one.key(encoder_of(method, 1)) != other.key(encoder_of(method, 1)), method


def test_where_nothing_is_left_out_a_seeds_subset_is_found_again(tiny_recipe: Recipe) -> None:
    whole = with_holdout(tiny_recipe, 0)
    one, other = (Graph(whole.having(seed=seed)) for seed in (1, 2))
    for name in (set_of("random", 1), encoder_of("ssl-random", 1)):
        assert one.key(name) == other.key(name)
    name = "images learnt from"
    assert Graph(tiny_recipe).key(name) != Graph(whole).key(name)
    assert Graph(tiny_recipe).key("images") == Graph(whole).key("images")  # which is the pool


@pytest.mark.parametrize("holdout", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(holdout: float) -> None:
    with pytest.raises(
        DecoctError, match=r"images\.holdout is .*; it must be at least 0 and below 1"
    ):
        ImagesConfig(holdout=holdout)


def test_a_recipe_and_a_flag_with_a_bad_share_are_refused(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("holdout: 0.25", "holdout: 1.25"))
    with pytest.raises(DecoctError, match=r"mine\.yaml: images\.holdout is 1\.25"):
        load_recipe(path)
    assert main(["stage", "load-images", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "it must be at least 0 and below 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda r: r.having(size=31), "31 images cannot be made from 30"),
        (lambda r: with_holdout(r, 0.99), "9 images cannot be made from 0"),
        (lambda r: with_holdout(r.having(size=0), 0.99), "a distilled set of 0"),
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
    def check(recipe: Recipe) -> None:
        check_run(Graph(recipe), images=tiny_images, tasks=[tiny_task], folder=tmp_path)

    check(tiny_recipe.having(size=30))
    with pytest.raises(DecoctError, match=sentence):
        check(change(tiny_recipe))


def test_the_doctor_counts_what_is_learnt_from(tiny_recipe: Recipe) -> None:
    sizes = measure_sizes(tiny_recipe.having(size=0, fraction=0.5))
    assert sizes is not None
    assert (sizes.pool, sizes.images, sizes.count) == (40, 30, 15)


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
