"""What leaves us as an encoder computes what ours does, where decoct is not installed."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from decoct.artefacts.encoder import Encoder
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.pictures import fit
from decoct.models.registry import NetworkConfig
from decoct.report import export_encoder as exporting
from decoct.report.export_encoder import export_encoder
from decoct.training.pretrain import fresh_encoder
from tests.conftest import TORCHVISIONS_OPERATORS

SIZE = 32


def encoder_of(config: NetworkConfig, channels: int = 3, size: int = SIZE) -> Encoder:
    """A network with statistics of its own, as training leaves them."""
    draws = torch.Generator().manual_seed(1)
    mean, std = (torch.rand(channels, generator=draws) / 2 + 0.25 for _ in range(2))
    made = fresh_encoder(config, mean=mean, std=std, size=size, seed=0)
    for module in made.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    made.network.remove_head()
    return replace(made, provenance={"source": f"{Path.home()}/secret", "images": "/work/secret"})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Half transparent, turned by its EXIF data, and of the encoders' size."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    made = Image.fromarray(pixels)
    exif = made.getexif()
    exif[0x0112] = 6
    made.save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def expected(encoder: Encoder, file: Path) -> np.ndarray[Any, Any]:
    with Image.open(file) as opened:
        pixels = fit(opened, size=encoder.size, channels=encoder.channels)
    images = Images(
        torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], encoder.mean, encoder.std
    )
    features: np.ndarray[Any, Any] = encoder.embed(images)[0].numpy()
    return features


IN_A_FRESH_PROCESS = """
import json, runpy, sys
from pathlib import Path
sys.modules["decoct"] = None  # an import of it fails
file, *folders = sys.argv[1:]
for folder in folders:
    if Path(folder).name == "onnx":
        assert "torch" not in sys.modules
    elif Path(folder).name == "timm" and {stand_in}:
        import torch
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.modules.pop("model", None)
    sys.argv, sys.path[0] = ["load.py", file], folder
    runpy.run_path(folder + "/load.py", run_name="__main__")
"""


def test_the_loaders_run_where_there_is_no_decoct(picture: Path, tmp_path: Path) -> None:
    ours, timms = (
        encoder_of(NetworkConfig("resnet10-small", width=4)),
        encoder_of(NetworkConfig("timm:test_resnet")),
    )
    ours.save(tmp_path / "ours.safetensors")
    timms.save(tmp_path / "timms.safetensors")
    folders = []
    for to, name in (
        ("onnx", "ours"),
        ("torch", "ours"),
        ("safetensors", "ours"),
        ("timm", "timms"),
    ):
        out = tmp_path / to
        assert (
            main(["export", f"{tmp_path}/{name}.safetensors", "--to", to, "--out", str(out)]) == 0
        )
        folders.append(out)
    code = IN_A_FRESH_PROCESS.format(stand_in=TORCHVISIONS_OPERATORS is not None)
    command = [sys.executable, "-c", code, str(picture), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ") for line in done.stdout.splitlines()]
    for line, encoder in zip(lines, (ours, ours, ours, timms), strict=True):
        assert line[0] == str(picture)
        found = np.array(line[1:], dtype=np.float32)
        np.testing.assert_allclose(found, expected(encoder, picture), atol=1e-4, rtol=1e-4)


CONFIGS = [
    (NetworkConfig("convnet", width=6, depth=2), 3),
    (NetworkConfig("convnet-bn", width=6, depth=3), 1),
    (NetworkConfig("resnet18", width=4), 3),
    (NetworkConfig("resnet10", width=4), 1),
    (NetworkConfig("timm:test_vit"), 1),
]


@pytest.mark.parametrize("config, channels", CONFIGS)
def test_every_network_in_every_format(
    config: NetworkConfig,
    channels: int,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = encoder_of(config, channels)
    encoder.save(tmp_path / "encoder.safetensors")
    wanted = expected(encoder, picture)
    of_timm = config.name.startswith("timm:")
    for to in ("torch", "safetensors", "onnx", *["timm"] * of_timm):
        out = export_encoder(tmp_path / "encoder.safetensors", to=to, out=tmp_path / to)  # type: ignore[arg-type]
        monkeypatch.syspath_prepend(out)
        monkeypatch.delitem(sys.modules, "model", raising=False)
        program = runpy.run_path(str(out / "load.py"))
        loaded, pixels = program["load"](), program["read"](picture)
        if to == "onnx":
            found = loaded.run(None, {"pixels": np.concatenate([pixels] * 3)})[0][2]
        else:
            with torch.no_grad():
                found = loaded(pixels)[0].numpy()
                if to != "timm":  # floats from 0 to 1 as well
                    assert torch.equal(loaded(pixels / 255)[0], torch.from_numpy(found))
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), err_msg=to)
        for file in out.iterdir():
            assert b"secret" not in file.read_bytes()
            assert str(Path.home()).encode() not in file.read_bytes()
            assert str(Path(exporting.__file__).parent).encode() not in file.read_bytes()


def test_onnx_is_compared_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder_of(CONFIGS[0][0]).save(tmp_path / "encoder.safetensors")

    class Wrong(onnxruntime.InferenceSession):  # type: ignore[misc]
        def run(self, *arguments: Any) -> Any:
            return [1.001 * super().run(*arguments)[0]]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    with pytest.raises(DecoctError, match=r"ONNX differs from torch by 0\.001 of the largest"):
        export_encoder(tmp_path / "encoder.safetensors", to="onnx", out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_onnx_says_what_it_takes(tmp_path: Path) -> None:
    encoder_of(CONFIGS[0][0]).save(tmp_path / "encoder.safetensors")
    out = export_encoder(tmp_path / "encoder.safetensors", to="onnx", out=tmp_path / "out")
    session = onnxruntime.InferenceSession(out / "encoder.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type) == ("pixels", "tensor(uint8)")
    assert (taken.shape[1:], given.shape[1:]) == ([3, SIZE, SIZE], [6 * 64])
    assert taken.shape[0] == given.shape[0] == "pictures"
    assert "from 0 to 255 as uint8" in (out / "README.txt").read_text()


def test_timms_folder_has_its_preprocessing(tmp_path: Path) -> None:
    import timm

    encoder = encoder_of(NetworkConfig("timm:test_resnet"))
    encoder.save(tmp_path / "encoder.safetensors")
    out = export_encoder(tmp_path / "encoder.safetensors", to="timm", out=tmp_path / "out")
    network = timm.create_model(f"local-dir:{out}", pretrained=True)
    data = timm.data.resolve_model_data_config(network)
    assert tuple(data["input_size"]) == (3, SIZE, SIZE) and data["crop_pct"] == 1
    torch.testing.assert_close(torch.tensor(data["mean"]), encoder.mean)
    torch.testing.assert_close(torch.tensor(data["std"]), encoder.std)
    assert json.loads((out / "config.json").read_text())["architecture"] == "test_resnet"


def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "encoder.safetensors"
    encoder_of(CONFIGS[0][0]).save(file)

    def said(*words: str) -> str:
        assert main(["export", str(file), *words]) == 2
        return " ".join(capsys.readouterr().err.split())

    out = str(tmp_path / "out")
    assert "a convnet, which timm does not have; use --to torch" in said(
        "--to", "timm", "--out", out
    )
    assert "not an empty folder" in said("--to", "torch", "--out", str(tmp_path))
    assert "is an encoder; say --to timm, torch, onnx or safetensors" in said("--out", out)
    assert "give one of the two" in said("--to", "torch", "--out", out, "--uint8")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'decoct[onnx]'" in said("--to", "onnx", "--out", out)
    assert not Path(out).exists()
