"""Stop training as a killed process would: in the middle, and at once."""

from typing import Any

import pytest
import torch

from decoct.artefacts.encoder import Encoder
from decoct.core.metrics import Metrics


class Interrupted(BaseException):
    """An error that no error handler catches."""


def interrupt_in(epoch: int, patch: pytest.MonkeyPatch) -> None:
    """Stop the one training loop at the end of this epoch, before its checkpoint."""

    def write(self: Metrics, **values: Any) -> None:
        if values["epoch"] == epoch:
            raise Interrupted

    patch.setattr(Metrics, "write", write)


def assert_same(a: Encoder, b: Encoder) -> None:
    """The same tensors, including buffers, and the same losses along the way."""
    first, second = (e.network.body.state_dict() for e in (a, b))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert a.provenance == b.provenance
