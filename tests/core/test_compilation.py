"""Compiling changes the speed alone, is not done in short runs, and is not needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from decoct.core.compilation import compiled, pays
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient
from decoct.models.convnet import convnet

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def test_auto_asks_the_arithmetic_and_not_the_clock() -> None:
    assert not pays("auto", multiply_adds=1e12, device=CPU)
    assert pays("auto", multiply_adds=1e15, device=CPU)
    assert not pays("auto", multiply_adds=1e15, device=CUDA)  # seconds there
    assert pays("auto", multiply_adds=1e17, device=CUDA)
    assert not pays("auto", multiply_adds=1e30, device=MPS)


@pytest.mark.parametrize("work", [0, 1e30])
def test_always_and_never_are_obeyed(work: float) -> None:
    assert pays("always", multiply_adds=work, device=CPU)
    assert not pays("never", multiply_adds=work, device=CPU)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_compiled_equals_eager() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)  # the checks are no part of what is compiled
    try:
        _compiled_equals_eager()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def _compiled_equals_eager() -> None:
    torch.manual_seed(0)
    network = convnet(size=8, width=4, depth=2, outputs=3)
    theta = parameters_to_vector(network.parameters()).detach()
    x, y, direction = torch.randn(5, 3, 8, 8), torch.randn(5, 3), torch.randn_like(theta)
    eager = InnerGradient.by_hand(ConvNetGradient(network))
    fast = eager.compiled()
    with torch.no_grad():
        _, _, tape = eager.with_tape(theta, x, y)
        _, _, fast_tape = fast.with_tape(theta, x, y)
        pairs = [
            (fast.with_tape(theta, x, y)[1], eager.gradient(theta, x, y)[1]),
            *zip(
                fast.derivative_of_tape(fast_tape, theta, direction),
                eager.derivative_of_tape(tape, theta, direction),
                strict=True,
            ),
        ]
    for got, wanted in pairs:
        assert float((got - wanted).norm() / wanted.norm()) < 1e-5


def test_where_there_is_no_compiler_a_line_says_so_and_work_goes_on(tmp_path: Path) -> None:
    program = (
        "import torch; from decoct.core.compilation import compiled\n"
        "double = compiled(lambda x: x * 2 + 1)\n"
        "print([float(double(torch.ones(3)).sum()) for _ in range(2)])"
    )
    environment = {
        **os.environ,
        "CXX": "/nowhere/g++",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[9.0, 9.0]"
    said = [line for line in result.stderr.splitlines() if "torch.compile does not work" in line]
    assert len(said) == 1


def test_an_error_of_the_function_itself_is_not_swallowed() -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        compiled(wrong)(torch.ones(2))
