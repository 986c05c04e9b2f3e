"""Networks have the sizes that arithmetic gives, and the names that published checkpoints use."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from decoct.core.errors import DecoctError
from decoct.models.convnet import convnet
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.resnet import BasicBlock, resnet

ALL = [
    NetworkConfig(width=4),
    NetworkConfig(name="resnet10", width=4),
    NetworkConfig(name="resnet18", width=4),
    NetworkConfig(name="resnet10-small", width=4),
    NetworkConfig(name="convnet-bn", width=4),
]


def create(config: NetworkConfig, size: int = 32, channels: int = 3, outputs: int = 5) -> Network:
    return create_network(config, channels=channels, size=size, outputs=outputs)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def resnet_body(blocks: int, width: int = 64, channels: int = 3) -> int:
    """By hand: convolutions without bias, two numbers a channel for each batch norm."""
    total = channels * width * 9 + 2 * width
    inputs = width
    for stage in range(4):
        outputs = width << stage
        for _ in range(blocks):
            total += 9 * inputs * outputs + 9 * outputs * outputs + 4 * outputs
            if inputs != outputs:
                total += inputs * outputs + 2 * outputs
            inputs = outputs
    return total


# Sizes


def test_the_papers_convnet_has_as_many_parameters_as_published() -> None:
    network = convnet(outputs=512)
    convolutions = (3 * 128 * 9 + 128) + 2 * (128 * 128 * 9 + 128)
    norms, head = 3 * 2 * 128, 2048 * 512 + 512
    assert parameters(network) == convolutions + norms + head == 1_348_608
    assert network.feature_count == 2048


def test_resnet_18_has_as_many_parameters_as_torchvisions_with_a_small_stem() -> None:
    # torchvision's has 11,689,512: less the classifier, and 3 x 3 instead of 7 x 7 in the stem.
    body = resnet(outputs=10).body
    assert parameters(body) == 11_689_512 - (512 * 1000 + 1000) - 3 * 64 * (49 - 9)
    assert parameters(body) == resnet_body(2) == 11_168_832


@pytest.mark.parametrize(
    "name, blocks, width",
    [("resnet10", 1, 64), ("resnet18", 2, 64), ("resnet18", 2, 8), ("resnet10-small", 1, 32)],
)
def test_resnets_have_as_many_parameters_as_by_hand(name: str, blocks: int, width: int) -> None:
    network = create(NetworkConfig(name=name, width=0 if width in (32, 64) else width))
    head = 8 * width * 5 + 5
    if name == "resnet10-small":  # its first stage halves as well, so it has a shortcut, too
        head += width * width + 2 * width
    assert parameters(network) == resnet_body(blocks, width) + head


@pytest.mark.parametrize(
    "config, size, expected",
    [
        (NetworkConfig(), 32, 128 * 4 * 4),
        (NetworkConfig(depth=4), 64, 128 * 4 * 4),
        (NetworkConfig(width=16, depth=1), 10, 16 * 5 * 5),
        (NetworkConfig(width=16, depth=2), 30, 16 * 7 * 7),  # 30, 15, 7
        (NetworkConfig(name="resnet18"), 32, 512),
        (NetworkConfig(name="resnet10"), 64, 512),
        (NetworkConfig(name="resnet10-small"), 32, 256),
        (NetworkConfig(name="convnet-bn"), 32, 512 * 4 * 4),
        (NetworkConfig(name="convnet-bn", width=64, depth=4), 64, 512 * 4 * 4),
    ],
)
def test_features_are_as_many_as_said(config: NetworkConfig, size: int, expected: int) -> None:
    network = create(config, size).eval()
    features = network.features(torch.randn(2, 3, size, size))
    assert features.shape == (2, expected)
    assert network.feature_count == expected


@pytest.mark.parametrize("config", ALL, ids=lambda c: c.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_are_the_head_on_the_features(config: NetworkConfig, channels: int) -> None:
    network = create(config, size=16, channels=channels).eval()
    images = torch.randn(4, channels, 16, 16)
    assert network(images).shape == (4, 5)
    assert torch.equal(network(images), network.head(network.features(images)))
    network.remove_head()
    assert torch.equal(network(images), network.features(images))


# Names


def test_resnet_18s_names_are_torchvisions() -> None:
    def norm(name: str) -> set[str]:
        ends = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{name}.{end}" for end in ends}

    expected = {"conv1.weight", *norm("bn1")}
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            start = f"layer{layer}.{block}"
            for i in (1, 2):
                expected |= {f"{start}.conv{i}.weight", *norm(f"{start}.bn{i}")}
        if layer > 1:
            start = f"layer{layer}.0.downsample"
            expected |= {f"{start}.0.weight", *norm(f"{start}.1")}
    assert set(resnet(outputs=1, width=2).body.state_dict()) == expected


def test_resnet_18s_computes_what_torchvisions_does() -> None:
    from torchvision.models import resnet18  # slow to import

    theirs = resnet18()
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool, theirs.fc = nn.Identity(), nn.Identity()
    ours = resnet(outputs=1)
    ours.body.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours.eval().features(images), theirs.eval()(images), atol=1e-5)


# What they compute


def test_the_convnet_is_its_definition() -> None:
    network = convnet(channels=3, size=8, outputs=2, width=4, depth=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    x = images = torch.randn(3, 3, 8, 8)
    weights = list(network.body.parameters())
    for i in range(0, 8, 4):
        x = F.conv2d(x, weights[i], weights[i + 1], padding=1)
        x = F.instance_norm(x, weight=weights[i + 2], bias=weights[i + 3])
        x = F.avg_pool2d(x.relu(), 2)
    assert torch.allclose(network.features(images), x.flatten(1), atol=1e-4)


def test_the_batch_norm_convnet_is_its_definition() -> None:
    network = create(NetworkConfig(name="convnet-bn", width=3, depth=2), size=8).train()
    x = images = torch.randn(6, 3, 8, 8)
    weights = list(network.body.parameters())
    assert [len(w) for w in weights[::4]] == [3, 6]
    for i in range(0, 8, 4):
        x = F.conv2d(x, weights[i], weights[i + 1], padding=1)
        x = F.batch_norm(x, None, None, weights[i + 2], weights[i + 3], training=True)
        x = F.avg_pool2d(x.relu(), 2)
    assert torch.allclose(network.features(images), x.flatten(1), atol=1e-5)


def test_the_convnet_treats_every_image_by_itself() -> None:
    network = create(NetworkConfig(width=4)).train()
    images = torch.randn(5, 3, 32, 32)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), alone, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_basic_block_with_dead_convolutions_is_its_shortcut(stride: int) -> None:
    block = BasicBlock(4, 4, stride).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.allclose(block(x), F.relu(block.downsample(x)))
    assert block(x).shape == (2, 4, 8 // stride, 8 // stride)


def test_initialisation_draws_from_torchs_global_generator() -> None:
    made = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            made.append(create(ALL[2]).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    other = create(ALL[2]).state_dict()
    assert not torch.equal(made[0]["body.conv1.weight"], other["body.conv1.weight"])


# Mistakes


def test_an_unknown_network_is_refused_with_those_there_are() -> None:
    with pytest.raises(DecoctError, match="'resnet19' is unknown; use convnet, resnet10, resnet18"):
        NetworkConfig(name="resnet19")


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"width": -1}, r"network\.width is -1; it must be at least 0"),
        ({"depth": 0}, r"network\.depth is 0; it must be at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(bad: dict[str, int], message: str) -> None:
    with pytest.raises(DecoctError, match=message):
        NetworkConfig(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("size, depth", [(32, 6), (4, 3), (1, 1)])
def test_a_convnet_that_halves_its_images_to_nothing_is_refused(size: int, depth: int) -> None:
    with pytest.raises(DecoctError, match=f"depth {depth} halves {size} px to nothing"):
        convnet(size=size, outputs=1, depth=depth)
    assert convnet(size=1 << depth, outputs=1, width=2, depth=depth).feature_count == 2


@pytest.mark.parametrize("name, last", [("resnet10-small", True), ("convnet", False)])
def test_the_layout_of_the_images_changes_the_speed_alone(name: str, last: bool) -> None:
    net = create_network(NetworkConfig(name=name, width=4), channels=3, size=16, outputs=5).eval()
    images = torch.randn(3, 3, 16, 16)
    assert net.channels_last == last
    assert all(p.is_contiguous() for p in net.parameters())  # stored as every network's are
    expected = net(images)
    for other in (True, False):
        net.channels_last = other
        layout = torch.channels_last if other else torch.contiguous_format
        assert torch.allclose(net(images.contiguous(memory_format=layout)), expected, atol=1e-5)


def copied(net: Network) -> Network:
    return copy.deepcopy(net)


def pickled(net: Network) -> Network:
    again: Network = pickle.loads(pickle.dumps(net))
    return again


def saved_whole(net: Network) -> Network:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    again: Network = torch.load(file, weights_only=False)
    return again


@pytest.mark.parametrize("through", [copied, pickled, saved_whole])
@pytest.mark.parametrize("name", ["resnet10-small", "convnet"])
def test_a_network_can_be_copied_and_pickled(
    name: str, through: Callable[[Network], Network]
) -> None:
    net = create_network(NetworkConfig(name=name, width=4), channels=3, size=16, outputs=5).eval()
    images = torch.randn(3, 3, 16, 16)
    again = through(net)
    assert again is not net and torch.equal(again(images), net(images))
    assert again.channels_last == net.channels_last
