"""Runs killed at random moments, resumed each time, end in the bits of an unbroken run."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.run.kills import Ground, Kill


def kills_in(folder: Path) -> list[Kill]:
    return Ground(folder, share=0.2).kills(30, seed=0)


@pytest.mark.timeout(400)
def test_killed_at_thirty_random_moments_runs_end_in_the_bits_of_an_unbroken_one(
    tmp_path: Path,
) -> None:
    """`benchmarks/kills.py` does this a thousand times."""
    context = multiprocessing.get_context("spawn")  # this process may have threads
    with ProcessPoolExecutor(1, context) as pool:
        kills = pool.submit(kills_in, tmp_path).result()
    assert len(kills) == 30
    assert {"SIGKILL", "SIGTERM"} == {kill.kind.split()[0] for kill in kills}
