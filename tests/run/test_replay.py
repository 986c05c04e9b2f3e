"""Whatever diverges in a run can be repeated by one command, from the state before it."""

from pathlib import Path

import pytest

from decoct.artefacts.encoder import Encoder
from decoct.cli import main
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.place import FAILING_STEP
from decoct.models.registry import NetworkConfig
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.run.replay import replay
from decoct.training.teacher import SSLConfig

NETWORK = NetworkConfig(name="convnet-bn", width=4, depth=2)
SSL = SSLConfig(network=NETWORK, epochs=1, batch=8, projector=8, lr=1e30)
HOT = {
    "teacher": {"teacher.train": True, "targets.source": "", "teacher.ssl": SSL},
    "experts": {"experts.lr": 1e12},
    "ssl-experts": {"mtt_ssl.lr": 1e12},
    "assistant": {"assistant.lr": 1e30},
    "encoder-random-seed0": {"rule.lr": 1e30},
    "encoder-ssl-random-seed0": {"ssl.lr": 1e30},
    "mkdt-seed0": {"matching.lr_targets": 1e20},
    "krr-st-seed0": {"krr_st.lr": 3e17},
}


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*.*") if file.is_file())
    return {str(file): file.read_bytes() for file in files if file.name != "seconds.json"}


def longer(recipe: Recipe, changes: dict[str, object]) -> Recipe:
    recipe = recipe.set("matching.iterations", 5).set("krr_st.iterations", 5)
    for setting, value in changes.items():
        recipe = recipe.set(setting, value)
    return recipe


@pytest.mark.parametrize("stage", HOT)
def test_what_diverges_can_be_repeated(stage: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(longer(tiny_recipe, HOT[stage]), tmp_path / "run")
    try:
        assert run.get(stage).stopped
    except DivergedError as error:
        assert "decoct replay" in str(error)
    (file,) = (tmp_path / "run").rglob(FAILING_STEP)
    assert file.parent.name.startswith(stage)
    before = contents(tmp_path / "run")
    said = replay(file)
    assert said.startswith("again: ")
    assert "gives the first number that is not finite" in said
    assert contents(tmp_path / "run") == before


def test_from_the_command_line(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "hot.yaml", tmp_path / "run"
    recipe.write_text(longer(tiny_recipe, HOT["assistant"]).to_yaml())
    words = ["stage", "train-assistant", str(recipe), "--out", str(out)]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    (file,) = out.rglob(FAILING_STEP)
    assert error.startswith("decoct: the assistant diverged in epoch 0; lower assistant.lr (step ")
    assert f"decoct replay {file}" in error
    assert main(["show", str(file)]) == 0
    assert f"decoct replay {file} repeats it" in capsys.readouterr().out
    assert main(["replay", str(file.parent)]) == 0
    assert "again: the assistant diverged" in capsys.readouterr().out
    file.with_suffix(".yaml").unlink()
    assert main(["replay", str(file)]) == 2
    assert main(["replay", str(out)]) == 2


def test_what_is_finite_when_it_is_repeated_can_be_made_again(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = Run(longer(tiny_recipe, HOT["krr-st-seed0"]), tmp_path / "run")
    assert run.get("krr-st-seed0").stopped
    (file,) = (tmp_path / "run").rglob(FAILING_STEP)
    recipe = file.with_suffix(".yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoct.core.failing_step.all_finite", lambda tensors: True)
        said = replay(file)
    assert said.startswith("iteration 1 is finite this time") and f"rm -r {file.parent}" in said
    recipe.write_text(recipe.read_text().replace("lifetime: 2", "lifetime: 3"))
    with pytest.raises(DecoctError, match="cannot be repeated"):
        replay(file)


def test_a_stage_that_is_finite_after_all_keeps_no_step(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = Run(longer(tiny_recipe, {}), tmp_path / "run")
    name = "encoder-random-seed0"
    step = run.folder / f"{name}-{run.graph.key(name)}" / FAILING_STEP
    step.parent.mkdir(parents=True)
    step.write_bytes(b"of an earlier try")
    assert isinstance(run.get(name), Encoder)
    assert not step.exists()
