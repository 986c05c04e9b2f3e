"""Teachers brought along are loaded whole, or refused by the name of what does not fit."""

import os
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import TargetsConfig, compute_targets
from decoct.core.errors import DecoctError
from decoct.data.arrays import resize_and_crop
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.pretrained import load_teacher, teacher_fingerprint

RESNET = NetworkConfig(name="resnet18", width=4)
RESNET10 = NetworkConfig(name="resnet10", width=4)


@pytest.fixture
def network() -> Network:
    """A ResNet-18 of width 4 whose running statistics are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = create_network(RESNET, channels=3, size=16, outputs=5)
        made(torch.randn(8, 3, 16, 16))
    return made.eval()


def write(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({k: v.clone() for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def assert_is(teacher: Encoder, network: Network, images: Images) -> None:
    with torch.no_grad():
        expected = network.features(images.normalised())
    assert not teacher.network.training
    assert torch.allclose(teacher.embed(images, device="cpu"), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "encoder."])
def test_state_dicts_load_whatever_training_code_prefixed(
    prefix: str, suffix: str, network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    state = {f"{prefix}{name}": value for name, value in network.body.state_dict().items()}
    state |= {f"{prefix}fc.weight": torch.ones(7, 32), f"{prefix}fc.bias": torch.ones(7)}
    state |= {"module.projector.0.weight": torch.ones(3, 3)}
    path = write(state, tmp_path / f"t{suffix}")
    teacher = load_teacher(str(path), images=tiny_images, network=RESNET)
    assert_is(teacher, network, tiny_images)
    assert torch.equal(teacher.mean, tiny_images.mean)
    assert teacher.size == 16


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_state_dicts_are_found_in_a_training_checkpoint(
    key: str, network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, key: network.body.state_dict()}
    path = write(checkpoint, tmp_path / "t.pt")
    assert_is(load_teacher(str(path), images=tiny_images, network=RESNET), network, tiny_images)


def test_a_state_dict_of_our_own_network_loads(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    path = write(network.state_dict(), tmp_path / "t.pt")
    assert_is(load_teacher(str(path), images=tiny_images, network=RESNET), network, tiny_images)


def test_a_state_dict_may_be_fed_at_another_size(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    path = write(network.body.state_dict(), tmp_path / "t.pt")
    teacher = load_teacher(str(path), images=tiny_images, network=RESNET, size=32)
    larger = Images.from_array(tiny_images.pixels, size=32)
    assert_is(teacher, network, larger.with_statistics(tiny_images.mean, tiny_images.std))


def test_an_encoder_file_of_ours_says_everything_itself(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    encoder = Encoder(
        network=network, config=RESNET, size=24, mean=mean, std=std, provenance={"a": 1}
    )
    encoder.save(tmp_path / "e.safetensors")
    teacher = load_teacher(
        str(tmp_path / "e.safetensors"), images=tiny_images, network=NetworkConfig()
    )
    assert (teacher.config, teacher.size, teacher.provenance) == (RESNET, 24, {"a": 1})
    assert torch.equal(
        teacher.embed(tiny_images, device="cpu"), encoder.embed(tiny_images, device="cpu")
    )


# Files that do not fit


class Dangerous:
    """What a checkpoint with code in it looks like: unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.marker,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_run(
    how: str, tiny_images: Images, tmp_path: Path
) -> None:
    marker, path = tmp_path / "was run", tmp_path / "t.pt"
    if how == "torch":
        torch.save({"state_dict": Dangerous(marker)}, path)
    else:
        path.write_bytes(pickle.dumps(Dangerous(marker)))
    with pytest.raises(DecoctError, match=r"t\.pt cannot be loaded.*weights_only=True"):
        load_teacher(str(path), images=tiny_images, network=RESNET)
    assert not marker.exists()


def test_a_parameter_that_is_missing_is_named(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    state = network.body.state_dict()
    del state["layer3.1.bn2.running_var"]
    path = write(state, tmp_path / "t.pt")
    with pytest.raises(DecoctError, match=r"t\.pt does not fit.*layer3\.1\.bn2\.running_var"):
        load_teacher(str(path), images=tiny_images, network=RESNET)


def test_a_parameter_of_another_shape_is_named(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    path = write(network.body.state_dict(), tmp_path / "t.pt")
    with pytest.raises(DecoctError, match=r"does not fit.*conv1\.weight"):
        load_teacher(str(path), images=tiny_images, network=NetworkConfig(name="resnet18", width=8))


def test_a_checkpoint_of_a_smaller_network_is_refused(tiny_images: Images, tmp_path: Path) -> None:
    small = create_network(RESNET10, channels=3, size=16, outputs=1)
    path = write(small.body.state_dict(), tmp_path / "t.pt")
    with pytest.raises(DecoctError, match=r"does not fit.*layer1\.1\."):
        load_teacher(str(path), images=tiny_images, network=RESNET)


def test_a_checkpoint_of_a_deeper_network_is_refused_and_not_cut(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    # All that a ResNet-10 has, a ResNet-18 has under the same names in the same shapes.
    path = write(network.body.state_dict(), tmp_path / "t.pt")
    with pytest.raises(DecoctError, match=r"does not fit.*layer1\.1\."):
        load_teacher(str(path), images=tiny_images, network=RESNET10)


@pytest.mark.parametrize(
    "state", [[1, 2], {"epoch": 3}, {"state_dict": {"conv1.weight": "text"}}, torch.ones(3)]
)
def test_a_checkpoint_without_a_state_dict_is_refused(
    state: Any, tiny_images: Images, tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "t.pt")
    with pytest.raises(DecoctError, match="holds no state dict"):
        load_teacher(str(tmp_path / "t.pt"), images=tiny_images, network=RESNET)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 50, 2000])
def test_a_checkpoint_that_was_cut_short_is_refused(
    suffix: str, kept: int, network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    path = write(network.body.state_dict(), tmp_path / f"t{suffix}")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DecoctError, match=f"t{suffix}"):
        load_teacher(str(path), images=tiny_images, network=RESNET)


def test_an_encoder_file_that_was_altered_is_refused_as_such(
    network: Network, tiny_images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "e.safetensors"
    mean, std = torch.zeros(3), torch.ones(3)
    Encoder(network=network, config=RESNET, size=16, mean=mean, std=std).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DecoctError, match="damaged"):
        load_teacher(str(path), images=tiny_images, network=RESNET)


def test_a_missing_file_is_refused_with_what_there_is(tiny_images: Images) -> None:
    with pytest.raises(DecoctError, match=r"nowhere\.pt does not exist; use embedded, timm:NAME"):
        load_teacher("nowhere.pt", images=tiny_images, network=RESNET)


# timm


@pytest.fixture
def published(hub: Path) -> Iterator[nn.Module]:
    """timm's smallest ResNet with weights drawn here, which the hub's cache holds as if fetched."""
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = timm.create_model("test_resnet")
        made.train()(torch.randn(8, 3, 32, 32))  # running statistics that are not the initial ones
    repository = hub / "hub" / "models--timm--test_resnet.r160_in1k"
    revision = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    safetensors.torch.save_file(made.state_dict(), snapshot / "model.safetensors")
    yield made.eval()
    shutil.rmtree(repository, ignore_errors=True)


def test_timms_teacher_brings_its_own_weights_and_preprocessing(
    published: Any, tiny_images: Images
) -> None:
    teacher = load_teacher("timm:test_resnet", images=tiny_images, network=RESNET)
    assert teacher.config == NetworkConfig(name="timm:test_resnet")
    assert teacher.size == 160
    assert teacher.mean.tolist() == teacher.std.tolist() == [0.5, 0.5, 0.5]
    large = resize_and_crop(tiny_images.pixels, 160) / 255
    with torch.no_grad():
        expected = published.forward_head(
            published.forward_features((large - 0.5) / 0.5), pre_logits=True
        )
    assert torch.allclose(teacher.embed(tiny_images, device="cpu"), expected, atol=1e-5)


@pytest.mark.usefixtures("published")
def test_timms_teacher_takes_grey_images(tiny_images: Images) -> None:
    grey = Images.from_array(tiny_images.pixels[:4, :1])
    teacher = load_teacher("timm:test_resnet", images=grey, network=RESNET)
    assert teacher.channels == 1
    assert teacher.mean.tolist() == teacher.std.tolist() == [0.5]
    threefold = Images.from_array(grey.pixels.expand(-1, 3, -1, -1))
    colour = load_teacher("timm:test_resnet", images=threefold, network=RESNET)
    found, expected = (t.embed(grey, device="cpu") for t in (teacher, colour))
    assert torch.allclose(found, expected, atol=1e-5)  # the first layer sums over the channels


def test_timms_teacher_comes_back_from_its_file_alone(
    published: Any, hub: Path, tiny_images: Images, tmp_path: Path
) -> None:
    teacher = load_teacher("timm:test_resnet", images=tiny_images, network=RESNET)
    teacher.save(tmp_path / "e.safetensors")
    shutil.rmtree(hub / "hub" / "models--timm--test_resnet.r160_in1k")
    loaded = Encoder.load(tmp_path / "e.safetensors")
    assert torch.equal(
        loaded.embed(tiny_images, device="cpu"), teacher.embed(tiny_images, device="cpu")
    )


def saved_by_timm(name: str, folder: Path, **arguments: Any) -> nn.Module:
    """A network of timm's with weights drawn here, in a folder as timm writes it."""
    import timm
    from timm.models import save_for_hf

    with torch.random.fork_rng():
        torch.manual_seed(5)
        made: nn.Module = timm.create_model(name, **arguments)
    save_for_hf(made, folder)
    return made.eval()


def pretrained_features(made: Any, images: Images, size: int) -> torch.Tensor:
    """What timm's network says of images that are resized to `size`, by its own configuration."""
    pixels = resize_and_crop(images.pixels, size) / 255
    mean, std = (torch.tensor(made.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        features: torch.Tensor = made.forward_head(
            made.forward_features((pixels - mean) / std), pre_logits=True
        )
    return features


@pytest.mark.parametrize(
    "name, changes",
    [
        ("test_resnet", {"pretrained_cfg_overlay": {"input_size": (3, 224, 224)}}),
        ("test_vit", {"img_size": 224}),
    ],
)
def test_a_teacher_from_timms_own_folder_gives_targets(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    emoji = load_images("emoji").part(torch.arange(0, 30, 10))
    made = saved_by_timm(name, tmp_path / "net", **changes)
    source = f"timm:local-dir:{tmp_path / 'net'}"
    teacher = load_teacher(source, images=emoji, network=RESNET)
    assert (teacher.size, teacher.config) == (224, NetworkConfig(name=f"timm:{name}"))
    found = compute_targets(images=emoji, teacher=teacher, config=TargetsConfig(scaling="none"))
    assert torch.allclose(found.values, pretrained_features(made, emoji, 224), atol=1e-4)
    teacher.save(tmp_path / "e.safetensors")
    shutil.rmtree(tmp_path / "net")  # what was saved stands alone
    loaded = Encoder.load(tmp_path / "e.safetensors")
    assert torch.equal(loaded.embed(emoji, device="cpu"), teacher.embed(emoji, device="cpu"))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_a_state_dict_of_a_timm_network_is_fed_as_timm_says(
    name: str, tiny_images: Images, tmp_path: Path
) -> None:
    made = saved_by_timm(name, tmp_path / "net")
    path = write({f"module.{k}": v for k, v in made.state_dict().items()}, tmp_path / "t.pt")
    teacher = load_teacher(
        str(path), images=tiny_images, network=NetworkConfig(name=f"timm:{name}")
    )
    assert teacher.size == 160
    expected = pretrained_features(made, tiny_images, 160)
    assert torch.allclose(teacher.embed(tiny_images, device="cpu"), expected, atol=1e-4)


def test_a_vit_may_see_images_of_another_size(tiny_images: Images, tmp_path: Path) -> None:
    saved_by_timm("test_vit", tmp_path / "net")
    source = f"timm:local-dir:{tmp_path / 'net'}"
    teacher = load_teacher(source, images=tiny_images, network=RESNET, size=64)
    teacher.save(tmp_path / "e.safetensors")
    loaded = Encoder.load(tmp_path / "e.safetensors")
    assert loaded.size == 64
    assert torch.equal(
        loaded.embed(tiny_images, device="cpu"), teacher.embed(tiny_images, device="cpu")
    )


def test_a_network_that_its_folder_changes_needs_the_folder(
    tiny_images: Images, tmp_path: Path
) -> None:
    saved_by_timm("test_vit", tmp_path / "net", depth=1)
    source = f"timm:local-dir:{tmp_path / 'net'}"
    teacher = load_teacher(source, images=tiny_images, network=RESNET)
    assert teacher.config == NetworkConfig(name=source)


def test_a_folder_of_timms_is_noticed_and_runs_no_code(tiny_images: Images, tmp_path: Path) -> None:
    folder, marker = tmp_path / "net", tmp_path / "was run"
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "test_resnet", "num_classes": 3}')
    source = f"timm:local-dir:{folder}"
    before = teacher_fingerprint(source)
    torch.save({"a": Dangerous(marker)}, folder / "pytorch_model.bin")
    assert teacher_fingerprint(source) != before
    with pytest.raises(DecoctError, match="timm could not provide local-dir"):
        load_teacher(source, images=tiny_images, network=RESNET)
    assert not marker.exists()
    (folder / "pytorch_model.bin").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert teacher_fingerprint(source)
    with pytest.raises(DecoctError, match="safetensors is a pipe"):
        load_teacher(source, images=tiny_images, network=RESNET)


@pytest.mark.parametrize(
    "name, why",
    [
        ("local-dir:nowhere", "Config file not found: nowhere"),
        ("nonesuch", "Unknown model"),
        ("test_resnet.nonesuch", "Invalid pretrained tag"),
        ("test_vit", "cannot find the requested files in the local cache"),  # nor is asked the hub
    ],
)
def test_what_timm_cannot_provide_is_a_sentence(name: str, why: str, tiny_images: Images) -> None:
    with pytest.raises(DecoctError, match=f"timm could not provide {name}: .*{why}"):
        load_teacher(f"timm:{name}", images=tiny_images, network=RESNET)


def test_without_timm_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tiny_images: Images
) -> None:
    for name in ("timm", "timm.data"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        DecoctError, match=r"timm is not installed; run: pip install 'decoct\[timm\]'"
    ):
        load_teacher("timm:some_net", images=tiny_images, network=RESNET)
