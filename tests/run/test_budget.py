"""A budget of bytes: as many images as fit, and no more."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoct.cli import main
from decoct.core.bytes import bytes_of
from decoct.core.errors import DecoctError
from decoct.run.budget import size_within, within_budget
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe


@given(count=st.integers(1, 10**6))
def test_bytes_are_written_in_decimal_units(count: int) -> None:
    assert bytes_of(f"{count}") == bytes_of(f"{count} B") == count
    assert bytes_of(f"{count}kB") == 1000 * count and bytes_of(f"{count} mb") == 10**6 * count


@pytest.mark.parametrize("bad", ["", "MB", "-1MB", "1TB", "0", "nan", "1 2 MB", "1e3", "0.1B"])
def test_what_is_no_number_of_bytes_is_refused(bad: str) -> None:
    with pytest.raises(DecoctError, match="is no number of bytes; write 1MB"):
        bytes_of(bad)


@pytest.mark.parametrize("method", ["random", "views", "carried", "mkdt"])
def test_a_set_of_that_size_fits_and_a_larger_one_would_not(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    needed = run.facts(method)["bytes"]
    size = size_within(needed, recipe=tiny_recipe, method=method, images=run.pool)
    assert abs(size - 9) <= (method == "carried")  # what compression gives is estimated
    other = Run(replace(tiny_recipe, size=size), tmp_path / "run")
    assert other.distilled(method, 0).bytes <= 1.1 * needed
    twice = size_within(2 * needed, recipe=tiny_recipe, method=method, images=run.pool)
    assert twice > size


def test_too_few_bytes_are_refused_with_what_it_takes(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    with pytest.raises(DecoctError, match="too few for carried: without any image it takes"):
        size_within(50, recipe=tiny_recipe, method="carried", images=run.pool)


def test_a_set_never_has_more_images_than_there_are(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(tiny_recipe, tmp_path / "run")
    assert size_within(10**9, recipe=tiny_recipe, method="random", images=run.pool) == len(
        run.images
    )


def test_a_budget_becomes_a_size_and_says_why(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, method="carried", budget="6kB")
    pool = Run(tiny_recipe, tmp_path / "run").pool
    fitted, said = within_budget(recipe, pool)
    assert not fitted.budget and fitted.size > 1
    assert f"{fitted.size} images" in said and "to label views" in said
    assert Run(fitted, tmp_path / "run").distilled("carried", 0).bytes <= 1.1 * 6000


def test_a_wide_labeller_is_made_narrower(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, method="carried", budget="30kB")
    recipe = recipe.set("assistant.network.width", 64)
    fitted, said = within_budget(recipe, Run(tiny_recipe, tmp_path / "run").pool)
    width = fitted.assistant.network.width
    assert width in (8, 16, 32) and f"of width {width} to label views" in said


def test_a_run_takes_no_budget(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="within_budget"):
        Run(replace(tiny_recipe, budget="1MB"), tmp_path / "run")


def test_the_command_takes_bytes_and_steps(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "mine.yaml", tmp_path / "out"
    file.write_text(replace(tiny_recipe, method="random").to_yaml())
    flags = ["--budget", "4kB", "--steps", "3", "--out", str(out)]
    assert main(["stage", "pretrain", str(file), *flags]) == 0
    assert "4kB hold 5 images of about 784 bytes" in capsys.readouterr().err
    saved = load_recipe(out / "recipe.yaml")
    assert saved.size == 5 and saved.pretrain.steps == 3 and not saved.budget
    assert main(["stage", "pretrain", str(file), "--budget", "much", "--out", str(out)]) == 2
