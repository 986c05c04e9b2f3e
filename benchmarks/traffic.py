"""What a rank of many hears of the others in a step, counted where torch.distributed is called.

torch's `fake` group lets one process be rank 0 of as many as one likes: nobody is there, and what
it is told is what it said itself. So it does its own share of the work, and makes its own calls.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.core import ranks
from decoct.core.console import console
from decoct.core.device import raise_malloc_thresholds
from decoct.data.images import Images
from decoct.matching.loop import MatchingConfig
from decoct.methods.mkdt import mkdt
from decoct.models.registry import NetworkConfig
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts
from decoct.training.pretrain import PretrainConfig, pretrain_on_all
from decoct.training.teacher import SSLConfig, train_teacher

BATCH = 1024  # images in a step of all ranks together
NETWORK = NetworkConfig(width=32)
_FEW, _MORE = 2, 8  # steps: what is paid once, at the first two, does not count
Work = Callable[[int], object]  # takes so many steps


@dataclass(frozen=True)
class Step:
    """What a step costs rank 0."""

    seconds: float  # of computing
    messages: int  # calls of torch.distributed
    heard: int  # bytes


class Traffic(TorchDispatchMode):
    """Counts the calls of torch.distributed inside the block, and the bytes that they bring."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has not typed it
        self.messages, self.heard = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "c10d":
            self.messages += 1
            self.heard += _heard(func.overloadpacket.__name__, args)
        return func(*args, **(kwargs or {}))

    def sum_of(self, size: int) -> None:
        """Count a sum over ranks, as a ring of them does it."""
        self.messages += 1
        self.heard += 2 * size * (dist.get_world_size() - 1) // dist.get_world_size()


def _heard(name: str, args: tuple[Any, ...]) -> int:
    """The bytes that a call brings rank 0 from others."""
    world, first = dist.get_world_size(), _bytes(args[0])
    if name in ("allgather_", "_allgather_base_"):
        return first - _bytes(args[1])
    if name == "alltoall_base_":
        sizes = [int(size) for size in args[3]] or [len(args[0]) // world] * world
        return first - sizes[0] * args[0][:1].nbytes
    if name == "allreduce_":
        return 2 * first * (world - 1) // world
    assert name in ("broadcast_", "barrier"), f"say here what {name} brings"
    return first if name == "broadcast_" else 0


def _bytes(values: Any) -> int:
    return sum(t.nbytes for t in tree_leaves(values) if isinstance(t, torch.Tensor))


@contextmanager
def one_of(world: int) -> Iterator[None]:
    """Inside the block this process is rank 0 of so many, of which there is none but this one."""
    dist.init_process_group("fake", rank=0, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def traffic_of(work: Work, steps: int) -> tuple[Traffic, float]:
    """What rank 0 hears in so many steps, and the seconds that it takes."""
    traffic, init = Traffic(), DistributedDataParallel.__init__

    def watched(module: Any, *given: Any, **named: Any) -> None:
        init(module, *given, **named)
        module.register_comm_hook(traffic, _summed)

    DistributedDataParallel.__init__ = watched  # type: ignore[method-assign]
    start = time.perf_counter()
    try:
        with traffic:
            work(steps)
    finally:
        DistributedDataParallel.__init__ = init  # type: ignore[method-assign]
    return traffic, time.perf_counter() - start


def _summed(traffic: Traffic, bucket: dist.GradBucket) -> Future[torch.Tensor]:
    """In place of the sum that DDP would ask for in C++, where nobody could count it."""
    traffic.sum_of(bucket.buffer().nbytes)
    found: Future[torch.Tensor] = Future()
    found.set_result(bucket.buffer())
    return found


def step_of(name: str, world: int) -> Step:
    """One step of a kind of work, for rank 0 of so many."""
    console.quiet = True
    raise_malloc_thresholds()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, one_of(world):
        work = WORKLOADS[name](Path(folder))
        traffic_of(work, 1)  # what is loaded at first is not timed
        few, before = traffic_of(work, _FEW)
        more, after = traffic_of(work, _MORE)
    return Step(
        seconds=max(0.0, after - before) / (_MORE - _FEW),
        messages=(more.messages - few.messages) // (_MORE - _FEW),
        heard=(more.heard - few.heard) // (_MORE - _FEW),
    )


def _data(count: int) -> tuple[Images, Targets]:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=draws)
    values = torch.randn(count, 64, generator=draws)
    return Images.from_array(pixels), fit_targets(values, TargetsConfig())


def matching(folder: Path) -> Work:
    """MKDT of 1,000 images, with an expert a step for every rank."""
    images, targets = _data(1000)
    config = ExpertsConfig(count=1, epochs=1, network=NETWORK, compile="never")
    some = images.subset(torch.arange(256)), targets.part(torch.arange(256))
    with ranks.alone():
        experts = train_experts(images=some[0], targets=some[1], folder=folder, config=config)

    def work(steps: int) -> None:
        config = MatchingConfig(
            iterations=steps,
            inner_steps=10,
            expert_epochs=1,
            max_start_epoch=1,
            batch=64,
            experts_per_step=ranks.world(),
            lr_images=0.0,  # what others say is no gradient, so nothing may follow it
            lr_targets=0.0,
            lr_log_lr=0.0,
            inner_lr=0.05,
            compile="never",
        )
        mkdt(
            images=images,
            targets=targets,
            trajectories=experts,
            index=torch.arange(1000),
            config=config,
        )

    return work


def teacher(folder: Path) -> Work:
    """Self-supervised training of a small ResNet."""
    images, _ = _data(BATCH)
    network = NetworkConfig(name="resnet10-small", width=32)
    config = SSLConfig(network=network, batch=BATCH, projector=512, warm_up=0)
    return lambda steps: train_teacher(images=images, config=config, steps=steps)


def pretraining(folder: Path) -> Work:
    """Training of the ConvNet on targets."""
    images, targets = _data(BATCH)
    rule, config = TrainingRule(batch=BATCH), PretrainConfig(network=NETWORK)
    return lambda steps: pretrain_on_all(
        images=images, targets=targets, rule=rule, config=config, steps=steps
    )


def experts(folder: Path) -> Work:
    """An epoch of an expert, on 1,024 images: a step, for what is said, if anything."""
    images, targets = _data(BATCH)

    def work(steps: int) -> None:
        config = ExpertsConfig(count=1, epochs=steps, network=NETWORK, compile="never")
        with tempfile.TemporaryDirectory(dir=folder) as new:
            train_experts(images=images, targets=targets, folder=new, config=config)

    return work


WORKLOADS: dict[str, Callable[[Path], Work]] = {
    "matching (mkdt)": matching,
    "self-supervised training": teacher,
    "training on targets": pretraining,
    "experts (an epoch)": experts,
}
