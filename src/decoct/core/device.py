"""Choose the device to compute on, and set it up to run fast."""

import ctypes
import functools
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from decoct.core import ranks
from decoct.core.errors import DecoctError

Precision = Literal["float32", "tf32", "bfloat16"]  # of the operands of convolutions and products

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@functools.cache
def raise_malloc_thresholds() -> bool:
    """Keep big tensors in the process instead of returning them to the system at each step.

    glibc returns every block above 32 MiB to the system when it is freed and faults it in again at
    the next step. Without that, plain training at batch 256 on a 2-core CPU was 1.4 times faster.
    Returns whether the thresholds were raised (only glibc has them).
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    limit = 2**31 - 1
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, limit) and libc.mallopt(_M_TRIM_THRESHOLD, limit))


def resolve_device(name: str = "auto") -> torch.device:
    """The device called `name`: "auto" (CUDA, then mps, then CPU), "cpu", "cuda", "cuda:1", "mps".

    Of processes that were started together, each has a GPU of its own machine. Raises `DecoctError`
    if that device is not available.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        known = device.type in ("cpu", "cuda", "mps")
    except RuntimeError:
        known = False
    if not known:
        raise DecoctError(f"device {name!r} is unknown; use auto, cpu, cuda or mps")
    if device.type == "cuda" and not cuda:
        raise DecoctError(
            "you asked for device cuda, but torch sees no CUDA GPU here; use --device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DecoctError(
            f"you asked for device {name}, but there are {torch.cuda.device_count()} GPUs"
        )
    if device.type == "mps" and not mps:
        raise DecoctError("you asked for device mps, but torch has no mps here; use --device cpu")
    if device.type == "cuda" and ranks.started_together():
        device = _own_gpu(device)
    if device.type == "cpu":
        raise_malloc_thresholds()
    return device


def _own_gpu(device: torch.device) -> torch.device:
    if device.index is not None:
        raise DecoctError(
            f"you asked for device {device}, but processes that work together have a GPU each; use "
            "--device cuda"
        )
    return torch.device("cuda", ranks.local_rank() % torch.cuda.device_count())


@contextmanager
def arithmetic(precision: Precision) -> Iterator[torch.dtype | None]:
    """Allow TF32 on CUDA inside the block for `tf32`, and forbid it otherwise.

    Yields the type to which the operands of convolutions are rounded, or None for no rounding.
    torch's own default is TF32 in convolutions; decoct uses it only on request.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield torch.bfloat16 if precision == "bfloat16" else None
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
