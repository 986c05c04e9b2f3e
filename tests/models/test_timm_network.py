"""timm's networks take images of any size that they can, and refuse others in a sentence."""

import pytest
import torch

from decoct.core.errors import DecoctError
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.timm_network import timm_input, timm_network


@pytest.mark.parametrize(
    "name, channels, features",
    [
        ("test_resnet", 1, 96),
        ("lcnet_035", 3, 1280),  # `num_features` is another: a layer follows the pooling
        ("test_vit", 1, 64),  # from here on made for one size
        ("mixer_s32_224", 3, 512),
        ("levit_128s", 3, 384),
    ],
)
def test_a_step_of_training(name: str, channels: int, features: int) -> None:
    state = torch.get_rng_state()
    timm_input(name)
    assert torch.equal(torch.get_rng_state(), state)
    network = create_network(
        NetworkConfig(name=f"timm:{name}"), channels=channels, size=32, outputs=5
    )
    assert network.feature_count == features
    output = network(torch.rand(4, channels, 32, 32))
    output.square().mean().backward()
    assert output.shape == (4, 5)
    assert network.features(torch.rand(2, channels, 32, 32)).shape == (2, features)


def test_the_same_seed_makes_the_same_network() -> None:
    made = []
    for _ in range(2):  # the first time also measures it
        torch.manual_seed(3)
        made.append(timm_network("test_vit3", channels=3, outputs=2, size=48).state_dict())
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("test_vit", r"timm:test_vit cannot take images of 10 px \(.*\); it can take 32 px"),
        ("nonesuch", "timm could not provide nonesuch: Unknown model"),
    ],
)
def test_what_cannot_be_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        create_network(NetworkConfig(name=f"timm:{name}"), channels=3, size=10, outputs=5)


def test_without_a_size_it_is_that_of_its_pre_training() -> None:
    network = timm_network("test_vit", channels=3, outputs=1)
    assert network(torch.rand(2, 3, 160, 160)).shape == (2, 1)
    assert timm_input("test_vit").size == 160
