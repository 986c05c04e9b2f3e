"""`kill -9` at random moments, resumed each time, ends in the bits of an unbroken run."""

import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

KILLS = 20
# What depends on the clock: everything else must be equal to the bit.
TIMED = {"seconds.json", "metrics.jsonl", "run.json", "report.html"}

TINY = """
name: tiny
size: 12
device: cpu
images: {{source: {pool}, size: 16}}
teacher:
  train: true
  ssl:
    {{network: {{name: resnet10-small, width: 4}}, epochs: 4, warm_up: 1, batch: 32, projector: 16}}
targets: {{components: 4}}
experts: {{count: 3, epochs: 2, batch: 32, network: {{width: 4, depth: 2}}}}
rule: {{batch: 8}}
matching:
  iterations: 40
  inner_steps: 4
  expert_epochs: 1
  max_start_epoch: 2
  batch: 8
  optimiser: adam
  lr_images: 0.05
  lr_targets: 0.05
  checkpoint_every: 3
pretrain: {{epochs: 3, network: {{width: 4, depth: 2}}}}
probe: {{fractions: [0.3]}}
compare: {{seeds: 2, tasks: [{task}], full_epochs: 1}}
"""


def write_tiny_recipe(folder: Path) -> Path:
    """A recipe, its pool and its task: random blocks of colour in three classes."""
    draw = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = draw.integers(0, 256, (120, 4, 4, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    images[..., 1] = images[..., 1] // 4 + 60 * labels[:, None, None].astype(np.uint8)
    pool, task = folder / "pool.npz", folder / "blocks.npz"
    np.savez(pool, images=images)
    np.savez(
        task,
        train_images=images[:90],
        train_labels=labels[:90],
        test_images=images[90:],
        test_labels=labels[90:],
    )
    recipe = folder / "tiny.yaml"
    recipe.write_text(TINY.format(pool=pool, task=task))
    return recipe


def decoct_run(recipe: str, out: str) -> None:
    """`decoct run`, in a process of its own."""
    import torch

    from decoct.cli import main
    from decoct.training import loop

    torch.set_num_threads(1)
    loop.CHECKPOINT_EVERY_S = 0.0  # epochs are short here; save after every one
    log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1), os.dup2(log, 2)
    status = main(["run", recipe, "--out", out])
    os._exit(status)


def contents(folder: Path) -> dict[str, bytes]:
    """The artefacts of a run, byte for byte, without what was half written at a kill."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in TIMED and not file.name.startswith(".")
    }


@pytest.mark.timeout(400)
def test_killed_at_twenty_random_moments_it_ends_in_the_bits_of_an_unbroken_run(tmp_path):
    context = multiprocessing.get_context("forkserver")  # torch is imported once, not 40 times
    context.set_forkserver_preload(["decoct.verbs", "kornia.augmentation"])
    recipe = str(write_tiny_recipe(tmp_path))

    def start(out: Path):
        process = context.Process(target=decoct_run, args=(recipe, str(out)))
        process.start()
        return process

    whole = start(tmp_path / "whole")
    whole.join()
    assert whole.exitcode == 0
    expected = contents(tmp_path / "whole")
    assert any("scores.json" in name for name in expected)

    moments, kills, finished = random.Random(0), 0, 0
    broken = tmp_path / "broken"
    while kills < KILLS or not finished:
        process = start(broken)
        process.join(timeout=moments.uniform(0.05, 2.0) if kills < KILLS else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            finished = 0
            continue
        assert process.exitcode == 0
        assert contents(broken) == expected
        finished += 1
        if kills < KILLS:
            shutil.rmtree(broken)
    assert kills == KILLS
