"""Self-supervision without a teacher: the same start, the same steps, the same subset."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from decoct.artefacts.encoder import Encoder
from decoct.core.errors import DecoctError
from decoct.core.seeding import random_subset
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.methods import ssl_random
from decoct.methods.registry import METHODS
from decoct.methods.sizes import Sizes
from decoct.models.registry import NetworkConfig
from decoct.run.doctor import doctor
from decoct.run.graph import Graph
from decoct.run.method_stages import encoder_of
from decoct.run.pipeline import Run
from decoct.run.preflight import check_run
from decoct.run.recipe import CompareConfig, Recipe, load_recipe
from decoct.run.sizes import measure_sizes, memory
from decoct.run.timing import stage_seconds
from decoct.studies.compare import compare
from decoct.training.pretrain import fresh_encoder
from decoct.training.ssl_pretrain import SSLPretrainConfig, pretrain_by_ssl
from tests.training.interruption import Interrupted, assert_same, interrupt_in

CONVNET = NetworkConfig(width=4, depth=2)
RESNET = NetworkConfig(name="resnet10-small", width=4)
CONFIG = SSLPretrainConfig(augment=AugmentConfig(min_crop=0.5), batch=16, projector=16)
NEW = ("ssl-random", "ssl-full", "mtt-ssl")


def bodies_equal(a: Encoder, b: Encoder) -> bool:
    first, second = (dict(e.network.body.named_parameters()) for e in (a, b))
    return all(torch.equal(first[name], second[name]) for name in first)


def count_steps(patch: pytest.MonkeyPatch) -> list[int]:
    taken: list[int] = []
    real: Callable[..., Any] = torch.optim.Adam.step

    def counted(self: torch.optim.Adam, *arguments: Any) -> Any:
        taken.append(1)
        return real(self, *arguments)

    patch.setattr(torch.optim.Adam, "step", counted)
    return taken


@pytest.mark.parametrize("steps", [1, 2, 5])  # of two an epoch: the third is cut short
def test_it_takes_so_many_steps(
    steps: int, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = count_steps(monkeypatch)
    encoder = pretrain_by_ssl(images=tiny_images, network=CONVNET, steps=steps, config=CONFIG)
    assert len(taken) == steps
    assert len(encoder.provenance["losses"]) == math.ceil(steps / 2)
    assert encoder.config == CONVNET and not encoder.network.training


@pytest.mark.parametrize("network", [CONVNET, RESNET], ids=["convnet", "resnet"])
def test_it_starts_where_no_pre_training_ends(network: NetworkConfig, tiny_images: Images) -> None:
    still = replace(CONFIG, lr=1e-300)  # 0 in float32; 0 is refused
    got = pretrain_by_ssl(images=tiny_images, network=network, steps=2, config=still, seed=3)
    none = fresh_encoder(network, mean=tiny_images.mean, std=tiny_images.std, size=16, seed=3)
    assert bodies_equal(got, none)


def test_it_depends_on_the_seed_alone(tiny_images: Images) -> None:
    def train(seed: int) -> Encoder:
        return pretrain_by_ssl(
            images=tiny_images, network=RESNET, steps=3, config=CONFIG, seed=seed
        )

    first = train(0)
    torch.manual_seed(8)
    assert bodies_equal(train(0), first)
    assert not bodies_equal(train(1), first)


def test_resumed_in_the_short_epoch_is_bit_equal_to_unbroken(
    tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(state: Path | None = None) -> Encoder:
        return pretrain_by_ssl(
            images=tiny_images, network=RESNET, steps=5, config=CONFIG, state=state
        )

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_in(2, patch)  # the last, of a single step
        train(tmp_path / "state.safetensors")
    assert_same(train(tmp_path / "state.safetensors"), train())


@pytest.mark.parametrize("bad", [{"epochs": -1}, {"full_epochs": -1}, {"batch": 1}])
def test_bad_settings_are_refused(bad: dict[str, int]) -> None:
    ((name, value),) = bad.items()
    with pytest.raises(DecoctError, match=rf"ssl\.{name} is {value}; it must be at least"):
        SSLPretrainConfig(**bad)  # type: ignore[arg-type]


# In a recipe


def test_the_methods_are_known_and_not_compared_unasked() -> None:
    assert set(NEW) <= set(METHODS)
    assert set(NEW).isdisjoint(CompareConfig().methods)


def steps(recipe: Recipe, method: str) -> int:
    """Gradient steps of pre-training for a set of 132 out of 2641 images."""
    sizes = Sizes(pool=2641, images=2641, count=132, channels=3, size=32, dimensions=4)
    return recipe.configured(method).steps(sizes, recipe.pretraining(method))


def test_equal_terms_are_equal_steps_unless_epochs_are_given() -> None:
    recipe = load_recipe("demo").set("ssl.full_epochs", 0)
    # 132 images in batches of 66, 120 epochs; 7 of all
    assert steps(recipe, "ssl-random") == steps(recipe, "mkdt") == 240
    # 40 batches of 66, and a single image that joins the last of them.
    assert steps(recipe, "ssl-full") == steps(recipe, "full") == 7 * 40
    own = recipe.having(ssl=SSLPretrainConfig(epochs=7, full_epochs=2))
    assert steps(own, "ssl-random") == 7  # one batch of all
    assert steps(own, "ssl-full") == 2 * 10
    assert steps(own, "mkdt") == 240


_RECIPE = """
device: cpu
fraction: 0.25
images: {source: pool.npz, size: 16}
targets: {source: targets.npy}
experts: {count: 1, epochs: 2, batch: 16, network: {width: 4, depth: 2}}
rule: {batch: 8}
matching: {iterations: 2, inner_steps: 2, expert_epochs: 1, batch: 8}
mtt_ssl: {objective: {projector: 8, algorithm: simclr}}
ssl: {projector: 16, batch: 8}
pretrain: {epochs: 2, network: {width: 4, depth: 2}}
probe: {fractions: [0.5]}
compare: {seeds: 1, tasks: [stripes.npz], full_epochs: 1}
"""


@pytest.fixture
def recipe(tiny_folder: Path) -> Recipe:
    content = {**yaml.safe_load(_RECIPE), "data": str(tiny_folder)}
    content["compare"]["methods"] = ["random", *NEW]
    (tiny_folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return load_recipe(tiny_folder / "mine.yaml")


def test_a_run_compares_them(recipe: Recipe, tmp_path: Path) -> None:
    run = Run(recipe, tmp_path / "run")
    run.check()
    scores = compare(run)
    run.save_manifest()
    assert {s.method for s in scores.scores} == {"random", *NEW}
    pixels = 3 * 16 * 16
    assert scores.facts["ssl-random"] == {"images": 10, "bytes": 10 * pixels, "steps": 4}
    assert scores.facts["ssl-full"] == {"images": 40, "bytes": 40 * pixels, "steps": 5}
    assert scores.facts["mtt-ssl"] == {"images": 10, "bytes": 40 * pixels, "steps": 4, "epochs": 2}
    assert {"ssl-experts", "mtt-ssl-seed0", "encoder-ssl-full-seed0"} <= set(run.stages.used)
    before = {f: f.read_bytes() for f in run.folder.rglob("*.safetensors")}
    again = compare(Run(recipe, tmp_path / "run"))  # from cache
    assert again == scores
    assert {f: f.read_bytes() for f in run.folder.rglob("*.safetensors")} == before


def test_ssl_random_sees_only_the_subset_that_random_has(
    recipe: Recipe, tmp_path: Path, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, torch.Tensor] = {}

    def record(*, images: Images, steps: int, **more: Any) -> Encoder:
        seen[len(images)] = images.pixels[:]
        return pretrain_by_ssl(images=images, steps=1, **more)

    monkeypatch.setattr(ssl_random, "pretrain_by_ssl", record)
    run = Run(recipe, tmp_path / "run")
    for method in ("ssl-random", "ssl-full"):
        run.encoder(method, 4)
    index = random_subset(total=40, count=10, seed=4)
    assert torch.equal(run.distilled("random", 4).index, index)  # type: ignore[arg-type]
    assert torch.equal(seen[10], tiny_images.pixels[index])
    assert torch.equal(seen[40], tiny_images.pixels[:])


def test_the_doctor_says_what_they_take(recipe: Recipe, tmp_path: Path) -> None:
    text = doctor(recipe, folder=tmp_path)
    # Two blocks of convolution and norm, 64 features to 8 outputs.
    parameters = 3 * 4 * 9 + 4 + 8 + 4 * 4 * 9 + 4 + 8 + 64 * 8 + 8
    assert 3 * 4 * parameters == 9552  # an expert at its start and after two epochs
    assert re.search(r"^ +disk\n +ssl-experts +9\.6 kB$", text, re.MULTILINE)
    sizes = measure_sizes(recipe)
    assert sizes is not None
    stages = Graph(recipe).of_a_run()
    # Nobody asks for the experts of the targets.
    assert memory(stages, sizes)["trajectories without targets"] == 3 * 4 * parameters
    assert "trajectories" not in memory(stages, sizes)
    found = stage_seconds(stages, sizes, torch.device("cpu"))
    assert found["ssl-experts"] > 0 and found["distilling (mtt-ssl)"] > 0
    alone = Graph(recipe.set("compare.methods", ("random",))).of_a_run()
    without = stage_seconds(alone, sizes, torch.device("cpu"))
    assert not any("ssl" in sort for sort in without)
    assert found["pre-training"] > without["pre-training"]


def test_what_they_do_not_depend_on_does_not_make_them_afresh(recipe: Recipe) -> None:
    def keys(recipe: Recipe) -> dict[str, str]:
        return {m: Graph(recipe).key(encoder_of(m, 0)) for m in (*NEW, "random")}

    before = keys(recipe)
    targets = keys(recipe.set("targets.components", 2))
    assert {m for m in before if targets[m] != before[m]} == {"random"}
    lr = keys(recipe.set("ssl.lr", 1e-2))
    assert {m for m in before if lr[m] != before[m]} == {"ssl-random", "ssl-full"}
    own = keys(recipe.set("mtt_ssl.lr", 1e-2 / 3))
    assert {m for m in before if own[m] != before[m]} == {"mtt-ssl"}


def test_nothing_asks_a_teacher_for_them(recipe: Recipe) -> None:
    stages = Graph(recipe.set("compare.methods", NEW)).of_a_run()
    assert {"targets", "teacher", "random-seed0"}.isdisjoint(stage.name for stage in stages)


@pytest.mark.parametrize("method", ["ssl-random", "mtt-ssl"])
def test_one_image_is_refused_early(
    method: str, recipe: Recipe, tmp_path: Path, tiny_images: Images, tiny_task: Task
) -> None:
    one = recipe.having(size=1).set("compare.methods", (method,))
    with pytest.raises(DecoctError, match="a set of 1 is too small"):
        check_run(Graph(one), images=tiny_images, tasks=[tiny_task], folder=tmp_path)
