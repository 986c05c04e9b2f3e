"""What doctor says that steps gave elsewhere is what the committed frontier says."""

from pathlib import Path

import pytest
import torch

from decoct.run.doctor import doctor
from decoct.run.expected import MEASURED, outlook
from decoct.run.recipe import Recipe
from decoct.run.sizes import measure_sizes
from decoct.studies.frontier.cells import Frontier

FRONTIER = Path(__file__).parents[2] / "benchmarks/proxy32/frontier.json"


def test_the_gaps_are_those_of_the_frontier() -> None:
    frontier = Frontier.load(FRONTIER)
    found = {
        (network, cell.bytes, cell.steps): frontier.gap(cell, rule="strict")
        for network in frontier.networks()
        for cell in frontier.line("carried", network, "bytes")
    }
    assert {(e.network, e.bytes, e.steps) for e in MEASURED} == found.keys()
    for each in MEASURED:
        gap = found[each.network, each.bytes, each.steps]
        assert gap is not None and gap.mean == pytest.approx(each.gap, abs=0.01)


def test_steps_have_a_price_here(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.set("method", "carried")
    sizes = measure_sizes(recipe)
    assert sizes is not None
    found = outlook(recipe, sizes, torch.device("cpu"))
    assert [each.steps for each in found] == [120, 480, 1920]
    assert found[2].seconds == pytest.approx(16 * found[0].seconds)
    assert all(0 < each.lowest < each.highest for each in found)
    assert "1,920 steps" in doctor(recipe, folder=tmp_path)
    assert not outlook(recipe.set("method", "mkdt"), sizes, torch.device("cpu"))
