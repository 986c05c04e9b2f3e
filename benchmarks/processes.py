"""Gradient steps a second of several processes that pre-train on one device.

python benchmarks/processes.py --device cuda --counts 1 8 14
"""

import argparse
import multiprocessing
import time
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import torch
from common import table

from decoct import (
    Assistant,
    LabellerConfig,
    NetworkConfig,
    PretrainConfig,
    carried_set,
    create_network,
    load_images,
    pretrain,
)
from decoct.artefacts.rule import TrainingRule
from decoct.core.console import console


def steps_of_one(device: str, steps: int, together: Barrier, seconds: "Queue[float]") -> None:
    """Pre-train a ConvNet of width 32 on 378 emoji with an untrained labeller of width 64."""
    console.quiet = True
    torch.set_num_threads(1)
    images, config = load_images("emoji", size=32), NetworkConfig(width=64)
    network = create_network(config, channels=3, size=32, outputs=64)
    labeller = Assistant(network, config, 32, images.mean, images.std, 64)
    distilled = carried_set(
        images=images,
        index=torch.arange(378),
        labeller=labeller,
        config=LabellerConfig(weights="int8", quality=50),
        rule=replace(TrainingRule().by("muon"), batch=63),
    )
    short = PretrainConfig(network=NetworkConfig(width=32), steps=20)
    pretrain(distilled=distilled, config=short, device=device)  # warm up
    together.wait()
    start = time.perf_counter()
    pretrain(distilled=distilled, config=replace(short, steps=steps), device=device)
    seconds.put(time.perf_counter() - start)


def rate(device: str, count: int, steps: int) -> float:
    """Steps a second of `count` processes together, until the last one is done."""
    context = multiprocessing.get_context("spawn")
    together, seconds = context.Barrier(count), context.Queue()
    arguments = (device, steps, together, seconds)
    processes = [context.Process(target=steps_of_one, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    slowest = max(seconds.get(timeout=600) for _ in processes)
    for process in processes:
        process.join()
    return count * steps / slowest


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    rows = [[n, f"{rate(options.device, n, options.steps):.0f}"] for n in options.counts]
    print(table(["processes", "steps a second, all together"], rows))


if __name__ == "__main__":
    main()
