"""An encoder in formats that do not need decoct: plain torch, safetensors, timm and ONNX."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch

from decoct.artefacts.encoder import Encoder, load_encoder
from decoct.core import atomic
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.report.loaders import onnx_program, timm_program, torch_program
from decoct.report.plain_encoder import PlainEncoder, architecture, numbers, plain, source_code

Format = Literal["timm", "torch", "onnx", "safetensors"]
_SAME = 1e-4  # difference between ONNX and torch, as a share of the largest feature
_README = """\
An encoder ({name}): {channels} x {size} x {size} pixels to {features} features.

{files}
Pictures are scaled along their shorter side to {size} px, and the centre square is used.
{normalised}
python load.py photo.jpg prints the features of a picture.
"""
_INSIDE = "Normalisation is part of the network: it takes pixels {pixels}."
_OUTSIDE = "The network takes (pixels / 255 - mean) / std, with\n  mean  {mean}\n  std   {std}"


def export_encoder(path: Path | str, *, to: Format, out: Path | str) -> Path:
    """Write an encoder's weights and a short program `load.py` that loads them without decoct.

    `path` is what `load_encoder` takes, `out` a new or empty folder. Formats: `torch` and
    `safetensors` have the network's source in `model.py`, and take uint8 pixels or floats from 0 to
    1; `onnx` takes uint8 pixels, in batches of any size; `timm` is a folder that
    `timm.create_model("local-dir:FOLDER", pretrained=True)` reads, for networks of timm's. ONNX is
    compared with torch before it is written. Raises `DecoctError` if an extra is missing or the
    network does not fit the format.
    """
    encoder, out = load_encoder(path), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DecoctError(f"{out} already exists and is not an empty folder; name a new one")
    _FORMATS[to](encoder, out)
    return out


def _to_torch(encoder: Encoder, out: Path) -> None:
    weights = io.BytesIO()  # torch would write a file's name into it
    torch.save(plain(encoder).state_dict(), weights)
    with atomic.new_file(out / "weights.pt") as temporary:
        temporary.write_bytes(weights.getvalue())
    atomic.write_text(out / "model.py", source_code(encoder))
    atomic.write_text(out / "load.py", torch_program(encoder, safe=False))
    files = {"weights.pt": "the weights, a state dict", "model.py": "the network's source"}
    _write_readme(encoder, out, files, inside="from 0 to 255 as uint8, or floats from 0 to 1")


def _to_safetensors(encoder: Encoder, out: Path) -> None:
    _save_weights(plain(encoder), out / "weights.safetensors")
    atomic.write_text(out / "model.py", source_code(encoder))
    atomic.write_text(out / "load.py", torch_program(encoder, safe=True))
    files = {"weights.safetensors": "the weights", "model.py": "the network's source"}
    _write_readme(encoder, out, files, inside="from 0 to 255 as uint8, or floats from 0 to 1")


def _to_timm(encoder: Encoder, out: Path) -> None:
    if not encoder.config.name.startswith("timm:"):
        raise DecoctError(
            f"this encoder is a {encoder.config.name}, which timm does not have; use --to torch"
        )
    _save_weights(encoder.network.body, out / "model.safetensors")
    atomic.write_text(out / "config.json", json.dumps(_timm_config(encoder), indent=1) + "\n")
    atomic.write_text(out / "load.py", timm_program(encoder))
    files = {"model.safetensors": "the weights", "config.json": "what timm must know of them"}
    _write_readme(encoder, out, files, inside="")


def _timm_config(encoder: Encoder) -> dict[str, Any]:
    """As timm's own `save_for_hf` writes it."""
    body: Any = encoder.network.body
    own = {key: body.pretrained_cfg.get(key) for key in ("first_conv", "classifier", "pool_size")}
    return {
        "architecture": architecture(encoder),
        "num_classes": 0,
        "num_features": encoder.network.feature_count,
        "pretrained_cfg": {
            **own,
            "num_classes": 0,
            "input_size": [encoder.channels, encoder.size, encoder.size],
            "fixed_input_size": bool(body.pretrained_cfg.get("fixed_input_size", False)),
            "mean": numbers(encoder.mean),
            "std": numbers(encoder.std),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
        },
    }


def _to_onnx(encoder: Encoder, out: Path) -> None:
    for package in ("onnx", "onnxruntime"):
        import_extra(package, extra="onnx", package=package)
    network = plain(encoder)
    with atomic.new_file(out / "encoder.onnx") as temporary:
        _write_onnx(network, _noise(encoder, 2), temporary)
        _check_onnx(network, [_noise(encoder, count) for count in (1, 3)], temporary)
    atomic.write_text(out / "load.py", onnx_program(encoder))
    files = {"encoder.onnx": "the network, from pixels (uint8) to features; any number at a time"}
    _write_readme(encoder, out, files, inside="from 0 to 255 as uint8")


def _noise(encoder: Encoder, count: int) -> torch.Tensor:
    draws, shape = torch.Generator().manual_seed(count), (encoder.channels, *[encoder.size] * 2)
    return torch.randint(256, (count, *shape), generator=draws, dtype=torch.uint8)


def _write_onnx(network: PlainEncoder, example: torch.Tensor, path: Path) -> None:
    with warnings.catch_warnings():  # it is called legacy, but needs no onnxscript, and is fast
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=["pixels"],
            output_names=["features"],
            dynamic_axes={"pixels": {0: "pictures"}, "features": {0: "pictures"}},
            opset_version=17,
            dynamo=False,
        )


def _check_onnx(network: PlainEncoder, batches: list[torch.Tensor], path: Path) -> None:
    """Raise `DecoctError` unless the file computes what the network does."""
    runtime = import_extra("onnxruntime", extra="onnx", package="onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for pixels in batches:
        with torch.no_grad():
            expected = network(pixels).numpy()
        (found,) = session.run(None, {"pixels": pixels.numpy()})
        error = np.abs(found - expected).max() / np.abs(expected).max().clip(1e-12)
        if not error <= _SAME:
            raise DecoctError(
                f"ONNX differs from torch by {error:.2g} of the largest feature, so nothing is "
                "written; use --to torch"
            )


def _save_weights(module: torch.nn.Module, path: Path) -> None:
    weights = {name: t.contiguous() for name, t in module.cpu().state_dict().items()}
    with atomic.new_file(path) as temporary:
        safetensors.torch.save_file(weights, temporary, metadata={"format": "pt"})


def _write_readme(encoder: Encoder, out: Path, files: dict[str, str], *, inside: str) -> None:
    files = files | {"load.py": "loads it and embeds pictures; needs nothing of decoct"}
    width = max(map(len, files))
    mean, std = numbers(encoder.mean), numbers(encoder.std)
    normalised = _INSIDE.format(pixels=inside) if inside else _OUTSIDE.format(mean=mean, std=std)
    text = _README.format(
        name=architecture(encoder),
        channels=encoder.channels,
        size=encoder.size,
        features=encoder.network.feature_count,
        files="".join(f"  {name:{width}}  {what}\n" for name, what in files.items()),
        normalised=normalised,
    )
    atomic.write_text(out / "README.txt", text)


_FORMATS: dict[str, Callable[[Encoder, Path], None]] = {
    "timm": _to_timm,
    "torch": _to_torch,
    "onnx": _to_onnx,
    "safetensors": _to_safetensors,
}
