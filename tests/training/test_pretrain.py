"""Pre-training is SGD as the set's rule says, from the initialisation that "none" is judged by."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.pretrain import PretrainConfig, fresh_encoder, pretrain

CONVNET = NetworkConfig(width=4, depth=2)
RESNET = NetworkConfig(name="resnet10-small", width=4)
CONFIG = PretrainConfig(network=CONVNET, epochs=3)
RULE = TrainingRule(lr=0.05, momentum=0.0, weight_decay=0.0, batch=5)


@pytest.fixture
def distilled(tiny_images: Images, tiny_targets: Targets) -> DistilledSet:
    index = torch.arange(12)
    return DistilledSet(
        images=tiny_images.normalised(index),
        targets=tiny_targets.values[index],
        mean=tiny_images.mean,
        std=tiny_images.std,
        rule=RULE,
        method="test",
    )


def untrained(config: NetworkConfig, of: DistilledSet, seed: int = 0) -> Encoder:
    return fresh_encoder(config, mean=of.mean, std=of.std, size=of.size, outputs=4, seed=seed)


def same_body(a: Encoder, b: Encoder) -> bool:
    first, second = (e.network.body.state_dict() for e in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("momentum, weight_decay", [(0.0, 0.0), (0.9, 0.0), (0.9, 0.1)])
def test_full_batches_are_gradient_descent_as_the_rule_says(
    momentum: float, weight_decay: float, distilled: DistilledSet
) -> None:
    rule = TrainingRule(lr=0.05, momentum=momentum, weight_decay=weight_decay, batch=100)
    got = pretrain(distilled=replace(distilled, rule=rule), config=CONFIG)
    network = untrained(CONVNET, distilled).network
    velocities = [torch.zeros_like(p) for p in network.parameters()]
    for _ in range(CONFIG.epochs):
        loss = F.mse_loss(network(distilled.images), distilled.targets)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for p, v, g in zip(network.parameters(), velocities, gradients, strict=True):
                v.mul_(momentum).add_(g + weight_decay * p)
                p.sub_(0.05 * v)
    for name, value in network.body.state_dict().items():
        assert torch.allclose(got.network.body.state_dict()[name], value, atol=1e-5), name


@pytest.mark.parametrize("config", [CONVNET, RESNET], ids=["convnet", "resnet"])
def test_at_next_to_no_rate_nothing_moves_from_the_untrained_network(
    config: NetworkConfig, distilled: DistilledSet
) -> None:
    still = replace(distilled, rule=replace(RULE, lr=1e-300))  # 0 in float32; 0 is refused
    got = pretrain(distilled=still, config=PretrainConfig(network=config, epochs=1), seed=4)
    # The outputs that a head has do not change the body that it sits on.
    none = fresh_encoder(
        config, mean=distilled.mean, std=distilled.std, size=distilled.size, seed=4
    )
    for name, value in none.network.body.named_parameters():
        assert torch.equal(dict(got.network.body.named_parameters())[name], value), name


def test_the_sets_own_rule_is_used_unless_another_is_given(distilled: DistilledSet) -> None:
    other = replace(RULE, lr=0.01)
    own = pretrain(distilled=distilled, config=CONFIG)
    given = pretrain(distilled=distilled, config=CONFIG, rule=other)
    assert same_body(given, pretrain(distilled=replace(distilled, rule=other), config=CONFIG))
    assert not same_body(given, own)
    assert given.provenance["rule"]["lr"] == 0.01


def test_pre_training_depends_on_the_seed_alone(distilled: DistilledSet) -> None:
    first = pretrain(distilled=distilled, config=CONFIG, seed=1)
    torch.manual_seed(77)
    assert same_body(pretrain(distilled=distilled, config=CONFIG, seed=1), first)
    assert not same_body(pretrain(distilled=distilled, config=CONFIG, seed=2), first)


def test_the_method_has_no_influence_on_initialisation_or_order(distilled: DistilledSet) -> None:
    renamed = replace(distilled, method="another")
    first, second = (pretrain(distilled=d, config=CONFIG) for d in (distilled, renamed))
    assert same_body(first, second)


@pytest.mark.parametrize("network", [CONVNET, RESNET], ids=["convnet", "resnet"])
def test_the_loss_falls(network: NetworkConfig, distilled: DistilledSet) -> None:
    encoder = pretrain(distilled=distilled, config=PretrainConfig(network=network, epochs=8))
    losses = encoder.provenance["losses"]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("network", [CONVNET, RESNET], ids=["convnet", "resnet"])
def test_what_comes_out_is_an_encoder_in_eval_mode(
    network: NetworkConfig, distilled: DistilledSet, tiny_images: Images
) -> None:
    encoder = pretrain(distilled=distilled, config=PretrainConfig(network=network, epochs=1))
    assert not encoder.network.training
    features = encoder.embed(tiny_images, device="cpu")
    assert features.shape == (40, encoder.network.feature_count)
    # One by one, or all at once: in eval mode an image does not see its batch.
    encoder.network.train()
    alone = encoder.embed(tiny_images, device="cpu", batch=1)
    assert torch.allclose(features, alone, atol=1e-5)


def test_divergence_is_an_error_that_names_the_rate(distilled: DistilledSet) -> None:
    with pytest.raises(DecoctError, match=r"diverged.*1e\+20 is too high for convnet"):
        pretrain(distilled=replace(distilled, rule=replace(RULE, lr=1e20)), config=CONFIG)


def test_no_epochs_are_refused() -> None:
    with pytest.raises(DecoctError, match=r"pretrain\.epochs is 0; it must be at least 1"):
        PretrainConfig(epochs=0)


# Encoders


@pytest.fixture
def encoder(distilled: DistilledSet) -> Encoder:
    return pretrain(distilled=distilled, config=PretrainConfig(network=RESNET, epochs=1))


def test_encoders_come_back_from_their_file(
    encoder: Encoder, tiny_images: Images, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "e.safetensors")
    loaded = Encoder.load(tmp_path / "e.safetensors")
    assert same_body(loaded, encoder)
    assert (loaded.config, loaded.size, loaded.provenance) == (
        encoder.config,
        encoder.size,
        encoder.provenance,
    )
    assert torch.equal(
        loaded.embed(tiny_images, device="cpu"), encoder.embed(tiny_images, device="cpu")
    )


def test_half_precision_halves_the_file_and_keeps_the_features(
    encoder: Encoder, tiny_images: Images, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "whole.safetensors")
    encoder.save(tmp_path / "half.safetensors", dtype=torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    loaded = Encoder.load(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in loaded.network.parameters())
    features, halved = (e.embed(tiny_images, device="cpu") for e in (encoder, loaded))
    assert float((features - halved).norm() / features.norm()) < 0.01


def test_encoders_resize_and_normalise_by_their_own_rules(tiny_images: Images) -> None:
    mean, std = torch.tensor([0.2, 0.3, 0.4]), torch.tensor([0.5, 0.4, 0.3])
    network = create_network(CONVNET, channels=3, size=32, outputs=1).eval()
    encoder = Encoder(network=network, config=CONVNET, size=32, mean=mean, std=std)
    expected = Images.from_array(tiny_images.pixels, size=32).pixels / 255
    with torch.no_grad():
        features = network.features((expected - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
    got = encoder.embed(tiny_images.with_statistics(std, mean), device="cpu", batch=7)
    assert torch.allclose(got, features, atol=1e-4)


def test_representations_can_be_trained_on(encoder: Encoder, tiny_images: Images) -> None:
    head = torch.nn.Linear(encoder.network.feature_count, 2)
    head(encoder.embed(tiny_images, device="cpu")).sum().backward()
    assert head.weight.grad is not None
