"""What several processes gain over one, a thread each, and what they say to each other.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py                  # minutes, on two quiet cores
    OMP_NUM_THREADS=1 python benchmarks/scaling.py --parts traffic  # any number of processes

`matching` and `experts` time real processes; beside them two that never speak, each of which does
half of the work, show what the machine allows. `traffic` lets one process be rank 0 of many: it
takes the steps that this rank takes, and what it hears of the others is counted at the calls of
torch.distributed, not calculated from what the code should do.
"""

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from common import in_turn, machine, table
from traffic import WORKLOADS, Step, step_of

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets  # noqa: E402
from decoct.artefacts.trajectories import Trajectories  # noqa: E402
from decoct.core import ranks  # noqa: E402
from decoct.core.console import console  # noqa: E402
from decoct.core.device import raise_malloc_thresholds  # noqa: E402
from decoct.data.images import Images  # noqa: E402
from decoct.matching.loop import MatchingConfig  # noqa: E402
from decoct.methods.mkdt import mkdt  # noqa: E402
from decoct.models.registry import NetworkConfig  # noqa: E402
from decoct.training.expert import ExpertsConfig  # noqa: E402
from decoct.training.experts import train_experts  # noqa: E402
from tests.processes import Processes  # noqa: E402

RECORDS = Path(__file__).parent / "scaling"
CPU = torch.device("cpu")
NETWORK = NetworkConfig(width=32)
EXPERTS = ExpertsConfig(count=2, epochs=2, network=NETWORK, compile="never")
MATCHING = MatchingConfig(
    inner_steps=10,
    expert_epochs=1,
    batch=64,
    inner_momentum=0.9,
    optimiser="adam",
    lr_images=0.05,
    lr_targets=0.05,
    inner_lr=0.05,
    compile="never",
)
Part = Literal["matching", "experts", "traffic"]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    parts: tuple[Part, ...] = ("matching", "experts", "traffic")
    repeats: int = 5  # rounds, in which one process and two take turns
    iterations: int = 10  # of matching, in a round
    images: int = 4096  # that experts learn from
    processes: tuple[int, ...] = (8, 64, 512)  # whose traffic is counted


@dataclass(frozen=True)
class Gain:
    """How many times as much two processes do as one, and how many times they should.

    `work` takes a folder and the number of experts, which the ranks of a group divide.
    """

    what: str
    bar: float
    work: Callable[..., None]


def main(options: Options) -> None:
    """Print the tables and write the records."""
    console.quiet = True
    torch.set_num_threads(1)
    print(machine(CPU) + "\n", flush=True)
    gains = {
        "matching": Gain(
            "iterations of mkdt, 2 experts a step", 1.7, partial(distil, options.iterations)
        ),
        "experts": Gain("2 experts", 1.8, partial(train_few, options.images)),
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            if part == "traffic":
                counted(options)
            else:
                timed(part, gains[part], options, Path(folder))


def timed(part: str, gain: Gain, options: Options, folder: Path) -> None:
    """A row and a record of what two processes gain, and of what two gain that never speak."""
    groups = {count: Processes(count) for count in (1, 2)}
    strangers = {str(folder / place): Processes(1) for place in ("here", "there")}
    for own in strangers:
        Path(own).mkdir(exist_ok=True)

    def apart() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda own: strangers[own].call(gain.work, own, 1), strangers))

    contenders = {str(n): partial(p.call, gain.work, str(folder), 2) for n, p in groups.items()}
    seconds = in_turn(contenders | {"apart": apart}, repeats=options.repeats, device=CPU)
    for processes in (*groups.values(), *strangers.values()):
        processes.end()
    found, allowed = (seconds["1"] / seconds[name] for name in ("2", "apart"))
    row = [gain.what, f"{seconds['1']:.2f}", f"{seconds['2']:.2f}", f"{found:.2f}", gain.bar]
    header = ["what", "1 process, s", "2 processes, s", "times as fast", "should be at least"]
    print(table([*header, "apart"], [[*row, f"{allowed:.2f}"]]) + "\n", flush=True)
    record = {"what": gain.what, "seconds": seconds, "gain": round(found, 3), "bar": gain.bar}
    keep(part, record | {"apart": round(allowed, 3)})


@cache
def data(count: int) -> tuple[Images, Targets]:
    """Random pictures of 32 px, and targets."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=draws)
    return Images.from_array(pixels), fit_targets(
        torch.randn(count, 64, generator=draws), TargetsConfig()
    )


@cache
def two_experts(folder: str) -> Trajectories:
    """What is matched: experts of few images, for their time does not count."""
    raise_malloc_thresholds()
    console.quiet = True
    images, targets = data(256)
    with ranks.alone():
        own = Path(folder) / f"rank{ranks.rank()}of{ranks.world()}"
        return train_experts(images=images, targets=targets, folder=own, config=EXPERTS)


def distil(iterations: int, folder: str, experts: int) -> None:
    """Take some iterations; ranks divide the experts of each."""
    images, targets = data(256)
    mkdt(
        images=images,
        targets=targets,
        trajectories=two_experts(folder),
        index=torch.arange(128),
        config=replace(MATCHING, iterations=iterations, experts_per_step=experts),
    )


def train_few(count: int, folder: str, experts: int) -> None:
    """Train experts; each rank trains its own."""
    raise_malloc_thresholds()
    console.quiet = True
    images, targets = data(count)
    own = list(ranks.share(range(experts)))
    with tempfile.TemporaryDirectory(dir=folder) as new, ranks.alone():
        train_experts(images=images, targets=targets, folder=new, config=EXPERTS, only=own)


def counted(options: Options) -> None:
    """A row for each kind of work and number of processes, and a record."""
    header = ["a step of", "processes", "a rank computes, s", "messages", "it hears, MB"]
    header += ["at 10 Gbit/s, s"]
    print(table(header, []), flush=True)
    record: list[dict[str, Any]] = []
    for name in WORKLOADS:
        for world in options.processes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                step: Step = pool.apply(step_of, (name, world))
            cells = [name, world, f"{step.seconds:.2f}", step.messages, f"{step.heard / 1e6:.2f}"]
            cells += [f"{step.heard * 8 / 1e10:.4f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            record.append({"of": name, "processes": world, **vars(step)})
    keep("traffic", {"steps": record})


def keep(part: str, record: dict[str, Any]) -> None:
    """Write a record, for docs/scaling.md."""
    RECORDS.mkdir(exist_ok=True)
    text = json.dumps(record | {"machine": machine(CPU)}, indent=1)
    (RECORDS / f"{part}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
