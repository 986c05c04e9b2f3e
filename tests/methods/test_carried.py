"""A set that carries its labeller: fresh views, the labeller's targets, and few bytes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.rule import TrainingRule
from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.stored_views import FreshViews, plain_views
from decoct.methods.carried import LabellerConfig, carried_set
from decoct.models.registry import NetworkConfig, create_network
from decoct.report.export import export
from decoct.report.show import describe, show
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.training.pretrain import PretrainConfig, pretrain

CHOSEN = torch.tensor([3, 7, 12, 25, 30])
NETWORK = NetworkConfig(width=4, depth=2)
RULE = TrainingRule(lr=0.02, batch=3, optimiser="muon", schedule="linear")


@pytest.fixture(params=["convnet", "convnet-bn"])
def labeller(request: pytest.FixtureRequest, tiny_images: Images) -> Assistant:
    network = replace(NETWORK, name=request.param)
    with seeding.seeded(0, "test"):
        made = create_network(network, channels=3, size=tiny_images.size, outputs=6)
    mean, std = tiny_images.mean, tiny_images.std
    return Assistant(made.eval(), network, size=tiny_images.size, mean=mean, std=std, outputs=6)


def make(images: Images, labeller: Assistant, **settings: object) -> DistilledSet:
    config = LabellerConfig(**settings)  # type: ignore[arg-type]
    return carried_set(images=images, index=CHOSEN, labeller=labeller, config=config, rule=RULE)


def test_every_item_is_a_fresh_view_with_the_labellers_target(
    tiny_images: Images, labeller: Assistant
) -> None:
    found = make(tiny_images, labeller, weights="float32")
    assert len(found) == 5 and found.has_targets and found.dimensions == 6
    torch.manual_seed(0)
    (views, targets), (others, _) = found.read(torch.arange(5)), found.read(torch.arange(5))
    assert not torch.equal(views, others)
    torch.manual_seed(0)
    again, _ = found.read(torch.arange(5))
    assert torch.equal(views, again)
    expected = labeller.network(views).detach()  # both are normalised in the same way
    torch.testing.assert_close(targets, expected, rtol=1e-4, atol=1e-5)


def test_shown_plain_it_is_the_images_themselves(tiny_images: Images, labeller: Assistant) -> None:
    found = make(tiny_images, labeller, plain=1.0)
    images, _ = found.read(torch.arange(5))
    torch.testing.assert_close(images, tiny_images.normalised(CHOSEN), rtol=0, atol=1e-5)


def test_a_share_is_shown_plain() -> None:
    torch.manual_seed(0)
    numbers = FreshViews(plain=0.25).draw(4000)
    share = (numbers == plain_views(1)).all(1).float().mean().item()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_it_trains_the_same_before_and_after_it_was_saved(
    tiny_images: Images, labeller: Assistant, weights: str, tmp_path: Path
) -> None:
    found = make(tiny_images, labeller, weights=weights, quality=70)
    found.save(tmp_path / "set.safetensors")
    back = load_distilled(tmp_path / "set.safetensors")
    assert torch.equal(back.images, found.images)
    assert back.labeller is not None and found.labeller is not None
    before, after = found.labeller.network.state_dict(), back.labeller.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert back.bytes == found.bytes and back.fresh == found.fresh and back.rule == RULE
    config = PretrainConfig(network=NETWORK, epochs=2)
    one, other = (pretrain(distilled=part, config=config) for part in (found, back))
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bytes_are_what_the_file_keeps_of_it(
    tiny_images: Images, labeller: Assistant, tmp_path: Path
) -> None:
    numbers = sum(p.numel() for p in labeller.network.state_dict().values())
    for weights, each in (("float32", 4), ("float16", 2)):
        found = make(tiny_images, labeller, weights=weights)
        pixels = found.coded["images"].bytes
        whole = each * numbers
        assert abs(found.bytes - pixels - whole) <= 8 * 10  # counters of batch norm are int64
    small = make(tiny_images, labeller, weights="int8")
    assert small.bytes < found.bytes
    small.save(tmp_path / "set.safetensors")
    header = 8192  # names, rule, provenance, and the small tensors beside them
    assert small.bytes < (tmp_path / "set.safetensors").stat().st_size < small.bytes + header


def test_rounded_weights_label_almost_the_same(tiny_images: Images, labeller: Assistant) -> None:
    views = torch.rand(20, 3, tiny_images.size, tiny_images.size)
    exact = labeller.label(views)
    for weights, close in (("float16", 1e-3), ("int8", 0.03)):
        rounded = labeller.compact(weights).label(views)  # type: ignore[arg-type]
        assert F.mse_loss(rounded, exact) < close**2 * exact.var()


def test_it_feeds_a_data_loader_in_batches(tiny_images: Images, labeller: Assistant) -> None:
    found = make(tiny_images, labeller)
    batches: list[tuple[Tensor, Tensor]] = list(DataLoader(found, batch_size=2, shuffle=True))
    assert [tuple(x.shape) for x, _ in batches] == [(2, 3, 16, 16), (2, 3, 16, 16), (1, 3, 16, 16)]
    assert [tuple(y.shape) for _, y in batches] == [(2, 6), (2, 6), (1, 6)]


def test_stored_targets_beside_a_labeller_are_refused(
    tiny_images: Images, labeller: Assistant
) -> None:
    found = make(tiny_images, labeller)
    with pytest.raises(DecoctError, match="stores no targets"):
        replace(found, targets=torch.zeros(5, 6))


def test_it_is_described_shown_and_exported(
    tiny_images: Images, labeller: Assistant, tmp_path: Path
) -> None:
    file = tmp_path / "set.safetensors"
    make(tiny_images, labeller, weights="int8").save(file)
    said = describe(file)
    assert "fresh ones at every step" in said and "int8" in said and "images as webp" in said
    assert "views" in show(file, out=tmp_path / "set.png")
    export(file, out=tmp_path / "exported")
    names = {path.name for path in (tmp_path / "exported").iterdir()}
    assert {"00004.png", "targets.npy", "labeller.safetensors", "README.txt"} <= names
    assert "Assistant.load" in (tmp_path / "exported/README.txt").read_text()
    back = Assistant.load(tmp_path / "exported/labeller.safetensors")
    views = torch.rand(2, 3, 16, 16)
    assert torch.equal(back.label(views), labeller.compact("int8").label(views))


@pytest.mark.parametrize(
    "method", ["carried", "carried-random", "carried-mkdt", "noise", "full-views"]
)
def test_a_run_makes_it_and_trains_on_it(method: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(replace(tiny_recipe, method=method), tmp_path / "run")
    encoder = run.encoder(method, 0)
    assert all(bool(p.isfinite().all()) for p in encoder.network.parameters())
    if method != "full-views":
        assert run.distilled(method, 0).labeller is not None
        assert run.facts(method)["bytes"] >= run.distilled(method, 0).bytes - 9 * 3 * 16 * 16


def test_the_assistant_as_an_encoder_is_its_body(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tiny_recipe.set("labeller.weights", "float32"), tmp_path / "run")
    encoder = run.encoder("assistant", 0)
    images = run.images.subset(torch.arange(4))
    features = encoder.embed(images, device="cpu")
    head = run.assistant.network.head
    labels = run.assistant.label(images.pixels[:].float() / 255)
    torch.testing.assert_close(head(features).detach(), labels, rtol=1e-4, atol=1e-4)
    assert run.facts("assistant")["steps"] == 0
