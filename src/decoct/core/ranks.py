"""Processes that make a run together: which one this is, and what all of them know.

Rank 0 writes files and talks; the others help. On a single process, and inside `alone`, every
function here is an identity, so no stage asks whether it is divided. What is added is added in the
order of ranks, so all ranks hold the same bits. torch.distributed moves the bytes, started by
torchrun or SLURM; decoct opens no connection of its own.
"""

import importlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from decoct.core.console import speak_as
from decoct.core.errors import DecoctError

T = TypeVar("T")
# Ranks may wait for days while another makes a stage; torchrun and SLURM notice the dead.
_PATIENCE = timedelta(days=30)
_AT_ONCE = 2**24  # numbers of each result that are exchanged at once, so that buffers stay small
# What torch says when a process has ended on which this one waits; it has no class for that.
_LOST = re.compile("gloo|nccl|connection (closed|reset)|broken pipe", re.IGNORECASE)

_alone = False


class SaidByFirstError(DecoctError):
    """Rank 0 has failed, and says why; the others only end."""


class OthersEndedError(DecoctError):
    """Another process has ended before the work was done, so this one cannot go on."""


def started_together() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def together() -> Iterator[None]:
    """Inside the block this process and those that were started with it are one group.

    Raises `OthersEndedError` if one of them ends before this one has heard what it waits for.
    """
    if not started_together() or dist.is_initialized():
        yield
        return
    # Imported later, by whatever needs it, it would keep the group, whose threads would outlive it.
    # We have seen a process abort as it ended, most likely for that.
    importlib.import_module("torch._dynamo")
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    dist.init_process_group(backend, timeout=_PATIENCE)
    speak_as(dist.get_rank())
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise OthersEndedError(
            f"one of the {dist.get_world_size()} processes has ended; the same command "
            "continues, with any number of them"
        ) from error
    finally:
        speak_as(0)
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block this process does everything itself, whatever the others do."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def world() -> int:
    """The number of processes."""
    return 1 if _alone or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    """The number of this process, from 0."""
    return 0 if world() == 1 else dist.get_rank()


def is_first() -> bool:
    """Whether this process writes the files, and talks."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process among those on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0")) if started_together() else 0


def share(items: Sequence[T]) -> Sequence[T]:
    """What this rank does of what can be done one by one: every so many of the items.

    >>> share([3, 4, 5])
    [3, 4, 5]
    """
    return items[rank() :: world()]


def in_order(mine: Sequence[Tensor], *, total: int, like: Tensor) -> list[Tensor]:
    """All results, in the order of the items that `share` has divided.

    `total` is the number of items, and each result is like `like` in shape, type and device.

    >>> in_order([torch.tensor(1.0)], total=1, like=torch.tensor(0.0))
    [tensor(1.)]
    """
    if world() == 1:
        return list(mine)
    found: list[Tensor] = []
    rounds = iter(mine)
    while len(found) < total:
        found += _gathered(next(rounds, torch.zeros_like(like)))
    return found[:total]


def mean_in_order(mine: Sequence[Tensor], *, total: int, like: Tensor) -> Tensor:
    """The mean of all results, given as to `in_order`; its bits are those of one process.

    Each rank averages a piece of all results, and hears of the pieces of the others. So it receives
    the bytes of about two results for each of its own, however many ranks there are.

    >>> mean_in_order([torch.tensor(1.0), torch.tensor(2.0)], total=2, like=torch.tensor(0.0))
    tensor(1.5000)
    """
    if world() == 1:
        return _sum(mine) / total
    found = like.new_empty(like.shape)
    place, flat = found.view(-1), [result.reshape(-1) for result in mine]
    for begin in range(0, like.numel(), _AT_ONCE):
        piece = slice(begin, begin + _AT_ONCE)
        place[piece] = _mean_of_piece([result[piece] for result in flat], total, place[piece])
    return found


def _mean_of_piece(mine: Sequence[Tensor], total: int, like: Tensor) -> Tensor:
    sizes = [s.stop - s.start for s in (_rows_of(k, world(), len(like)) for k in range(world()))]
    own, found = sizes[rank()], list[Tensor]()
    while len(found) < total:
        turn, there = len(found) // world(), min(world(), total - len(found))
        sent = mine[turn].contiguous() if rank() < there else like[:0]
        heard = like.new_empty(there * own)
        dist.all_to_all_single(
            heard,
            sent,
            output_split_sizes=[own] * there + [0] * (world() - there),
            input_split_sizes=sizes if len(sent) else [0] * world(),
        )
        found += heard.view(there, own)
    mean = _sum(found) / total
    means = _gathered(torch.cat([mean, mean.new_zeros(max(sizes) - own)]))
    return torch.cat([m[:size] for m, size in zip(means, sizes, strict=True)])


def _sum(values: Sequence[Tensor]) -> Tensor:
    """One after the other; torch's own sums take another order in another place of a tensor."""
    return reduce(torch.add, values)


def batches_in_order(mine: Sequence[Tensor], *, total: int, batch: int, row: Tensor) -> Tensor:
    """All `total` rows, of which `share` has divided the batches; each row is like `row`.

    >>> batches_in_order([torch.ones(2), torch.ones(1)], total=3, batch=2, row=torch.tensor(0.0))
    tensor([1., 1., 1.])
    """
    if world() == 1:
        return torch.cat(list(mine))
    short = (part.new_zeros(batch - len(part), *row.shape) for part in mine)
    whole = [torch.cat([part, rest]) for part, rest in zip(mine, short, strict=True)]
    count, like = -(-total // batch), row.new_zeros(batch, *row.shape)
    found = in_order(whole, total=count, like=like)
    return torch.cat([like[:0], *found])[:total]


def rows(count: int) -> slice:
    """The rows of this rank, of `count`: contiguous, in the order of ranks, none if there are few.

    >>> rows(5)
    slice(0, 5, None)
    """
    return _rows_of(rank(), world(), count)


def _rows_of(rank: int, world: int, count: int) -> slice:
    """The first ranks have one row more if it does not come out even.

    >>> [_rows_of(rank, 3, 5) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    each, more = divmod(count, world)
    begin = rank * each + min(rank, more)
    return slice(begin, begin + each + (rank < more))


def joined(mine: Tensor, count: int) -> Tensor:
    """All `count` rows, of which every rank has its `rows`; differentiable.

    Backward, each rank must come to the same loss, computed from all rows: then the sum over ranks
    of its gradient is `world()` times its own.

    >>> joined(torch.ones(2, 3), 2).shape
    torch.Size([2, 3])
    """
    if world() == 1:
        return mine
    found: Tensor = _Joined.apply(mine, count)  # type: ignore[no-untyped-call]
    return found


def total(values: Tensor) -> Tensor:
    """The sum over ranks, the same bits on all of them; differentiable.

    >>> total(torch.tensor(2.0))
    tensor(2.)
    """
    if world() == 1:
        return values
    found: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return found


def wait() -> None:
    """Wait until every rank has come here."""
    all_say("")


def all_say(text: str) -> list[str]:
    """What each rank has to say, in the order of ranks.

    >>> all_say("here")
    ['here']
    """
    if world() == 1:
        return [text]
    # As bytes in tensors: torch's own way to send an object pickles it.
    said = torch.tensor(list(text.encode()), dtype=torch.uint8)
    lengths = [int(n) for n in _gathered(torch.tensor([len(said)]))]
    padded = torch.cat([said, said.new_zeros(max(lengths) - len(said))])
    texts = _gathered(padded)
    return [bytes(t[:n].tolist()).decode() for t, n in zip(texts, lengths, strict=True)]


def first_says(question: Callable[[], bool]) -> bool:
    """Rank 0's answer to a question, on all ranks."""
    answer: list[bool] = []
    first_does(lambda: answer.append(question()))
    said = all_say(str(int(answer[0])) if answer else "")
    return said[0] == "1"


def first_does(action: Callable[[], Any]) -> None:
    """Rank 0 does something, alone; all go on when it is done. If it fails, all raise."""
    if world() == 1:
        action()
        return
    failed: DecoctError | None = None
    if is_first():
        try:
            with alone():
                action()
        except DecoctError as error:
            failed = error
    said = all_say(str(failed) if failed else "")
    if failed:
        raise failed
    if said[0]:
        raise SaidByFirstError(said[0])


def all_refuse(reason: str) -> NoReturn:
    """All ranks, which have found the same, raise `DecoctError`; rank 0 says it."""
    raise DecoctError(reason) if is_first() else SaidByFirstError(reason)


def _gathered(tensor: Tensor) -> list[Tensor]:
    """A tensor of every rank, in the order of ranks; all have the same shape."""
    own = tensor.contiguous()
    parts = [torch.empty_like(own) for _ in range(world())]
    dist.all_gather(parts, own)
    return parts


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor, count: int) -> Tensor:
        ctx.rows = rows(count)
        most = -(-count // world())
        padded = torch.cat([mine, mine.new_zeros(most - len(mine), *mine.shape[1:])])
        parts = _gathered(padded)
        sizes = [_rows_of(k, world(), count) for k in range(world())]
        return torch.cat([p[: s.stop - s.start] for p, s in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return world() * slopes[0][ctx.rows], None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _sum(_gathered(values))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return _sum(_gathered(slopes[0]))
