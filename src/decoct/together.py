"""`together`: one of several processes joins the others, and what goes wrong is said once."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from decoct.core import ranks
from decoct.core.errors import DecoctError
from decoct.launched import launcher

# When all fail for the same reason, rank 0 has said it by then, and their launcher ends the rest.
_FIRST_SPEAKS_S = 3.0


@contextmanager
def together() -> Iterator[None]:
    """Inside the block this process works with those that were started with it, if any.

    Rank 0 says what all processes fail at; another rank speaks only of what it alone fails at.
    """
    if not ranks.started_together():
        yield
        return
    _share_cores()
    try:
        with ranks.together(), _saying_once():
            yield
    except ranks.OthersEndedError:
        if launcher() is None:
            raise
        sys.exit(2)  # our launcher knows, and says, which one has ended


@contextmanager
def _saying_once() -> Iterator[None]:
    try:
        yield
    except ranks.SaidByFirstError:
        sys.exit(0)  # any other status would make a launcher end rank 0 before it has spoken
    except Exception as error:
        if ranks.is_first():
            raise
        time.sleep(_FIRST_SPEAKS_S)
        if not isinstance(error, DecoctError):
            raise
        raise DecoctError(f"rank {ranks.rank()} on {platform.node()}: {error}") from error


def _share_cores() -> None:
    """Take a part of this machine's cores, unless whoever started the processes divided them."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // here))
        threadpool_limits(torch.get_num_threads())
