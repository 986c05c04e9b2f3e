"""The programs that exports come with: they load the encoder and embed pictures without decoct."""

from decoct.artefacts.encoder import Encoder
from decoct.report.plain_encoder import numbers

_PROGRAM = '''\
"""Features of pictures, with {packages} and pillow: python load.py photo.jpg ..."""

import sys
from pathlib import Path

{imports}

FOLDER = Path(__file__).parent


def load():
    """The encoder: {says}."""
{load}


def read(file):
    """A picture as the encoder was trained to see them: upright, on white, the centre square."""
    picture = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = ImageOps.fit(picture.convert("{mode}"), ({size}, {size}), Image.Resampling.BICUBIC)
{pixels}


if __name__ == "__main__":
    encoder = load()
    for file in sys.argv[1:]:
        print(file, *{features})
'''
_PIXELS = "np.asarray(picture).reshape(1, {size}, {size}, {channels}).transpose(0, 3, 1, 2)"
_TORCH = """\
    network = model.encoder()
    network.load_state_dict({weights})
    return network.eval()"""
_TIMM = """\
    return timm.create_model(f"local-dir:{FOLDER}", pretrained=True, num_classes=0).eval()"""
_TIMM_PIXELS = """\
    pixels = torch.from_numpy({pixels}.copy()) / 255
    return (pixels - torch.tensor({mean}).view(-1, 1, 1)) / torch.tensor({std}).view(-1, 1, 1)"""


def torch_program(encoder: Encoder, *, safe: bool) -> str:
    """The program beside `model.py` and its weights, which are in safetensors if `safe`."""
    read = "safetensors.torch.load_file" if safe else "torch.load"
    weights = "weights.safetensors" if safe else "weights.pt"
    more = "" if safe else ", weights_only=True"
    packages = ["torch"] + ["safetensors"] * safe
    packages += ["timm"] * encoder.config.name.startswith("timm:")
    imports = ["import numpy as np", "import torch", "from PIL import Image, ImageOps"]
    if safe:
        imports.insert(1, "import safetensors.torch")
    return _program(
        encoder,
        packages=", ".join(packages),
        imports=[*imports, "", "import model"],
        says="{pictures}, uint8 or floats from 0 to 1, to {features}",
        load=_TORCH.format(weights=f'{read}(FOLDER / "{weights}"{more})'),
        pixels=f"    return torch.from_numpy({_PIXELS}.copy())",
        features="encoder(read(file))[0].tolist()",
    )


def timm_program(encoder: Encoder) -> str:
    """The program beside a folder of timm's."""
    return _program(
        encoder,
        packages="timm",
        imports=["import numpy as np", "import timm", "import torch", _PILLOW],
        says="{pictures}, normalised, to {features}",
        load=_TIMM,
        pixels=_TIMM_PIXELS.replace("{pixels}", _PIXELS),
        features="encoder(read(file))[0].tolist()",
    )


def onnx_program(encoder: Encoder) -> str:
    """The program beside `encoder.onnx`."""
    return _program(
        encoder,
        packages="onnxruntime",
        imports=["import numpy as np", "import onnxruntime", _PILLOW],
        says='the input "pixels", uint8, {pictures}, gives "features", {features}',
        load='    return onnxruntime.InferenceSession(FOLDER / "encoder.onnx")',
        pixels=f"    return {_PIXELS}",
        features='encoder.run(None, {"pixels": read(file)})[0][0]',
    )


_PILLOW = "from PIL import Image, ImageOps"


def _program(
    encoder: Encoder,
    *,
    packages: str,
    imports: list[str],
    says: str,
    load: str,
    pixels: str,
    features: str,
) -> str:
    size, channels = encoder.size, encoder.channels
    facts = {
        "size": size,
        "channels": channels,
        "mean": numbers(encoder.mean),
        "std": numbers(encoder.std),
        "pictures": f"N x {channels} x {size} x {size}",
        "features": f"N x {encoder.network.feature_count}",
    }
    return _PROGRAM.format(
        packages=packages,
        imports="\n".join(imports),
        says=says.format(**facts),
        load=load,
        mode="RGB" if channels == 3 else "L",
        size=size,
        pixels=pixels.format(**facts),
        features=features,
    )
