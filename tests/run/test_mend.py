"""A finished run is whole again after the same command, also where no score needs a file."""

from pathlib import Path

import pytest

from decoct.cli import main
from decoct.report.verify import is_whole, verify
from decoct.run.recipe import Recipe
from tests.run.kills import contents


@pytest.mark.parametrize("gone", [False, True], ids=["damaged", "deleted at the top, too"])
def test_what_nothing_reads_any_more_is_made_again(
    gone: bool, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = tiny_recipe.set("compare.methods", ("random", "full")).set("method", "random")
    file, out = tmp_path / "finished.yaml", tmp_path / "run"
    file.write_text(recipe.to_yaml())
    command = ["run", str(file), "--out", str(out)]
    assert main(command) == 0
    whole = contents(out)
    for encoder in out.glob("encoder-*/encoder.safetensors"):
        content = bytearray(encoder.read_bytes())
        content[-1] ^= 1
        encoder.unlink()
        if not (gone and "random" in encoder.parent.name):
            encoder.write_bytes(content)
    if gone:
        (out / "encoder.safetensors").unlink()
    assert not is_whole(verify(out))
    assert main(command) == 0
    found = contents(out)
    del whole["report.html"], found["report.html"]  # which has seconds on it
    assert found == whole
    assert is_whole(verify(out))
