"""Repeat the step that a stage failed at, from the state before it, and say where that begins."""

from pathlib import Path

from decoct.core.errors import DecoctError, DivergedError
from decoct.core.failing_step import FiniteThisTime
from decoct.core.place import FAILING_STEP
from decoct.run.pipeline import Run
from decoct.run.recipe import load_recipe


def replay(path: Path | str) -> str:
    """Take a kept step again and no other; says where its numbers stop being finite.

    `path` is `failing-step.safetensors` in a stage's folder, or that folder. The recipe lies beside
    it. Raises `DecoctError` if there is none, or if it makes this stage no more.
    """
    path = Path(path)
    file = path / FAILING_STEP if path.is_dir() else path
    if file.name != FAILING_STEP or not file.is_file():
        raise DecoctError(f"{path} holds no step that failed; such a file is called {FAILING_STEP}")
    recipe, folder = file.with_suffix(".yaml"), file.absolute().parent
    if not recipe.is_file():
        raise DecoctError(f"{recipe} is missing; run again the command that made {file}")
    run = Run(load_recipe(recipe), folder.parent)
    try:
        run.repeat(folder)
    except DivergedError as error:
        return f"again: {error}"
    except FiniteThisTime as step:
        return f"{step} is finite this time: a fault of this machine then, or another one now\n" + (
            _advice(run, folder)
        )


def _advice(run: Run, folder: Path) -> str:
    """How to make what was given up; a set that stopped early is there, and was used."""
    stage = folder.name.rpartition("-")[0]
    artefact = run.graph.stage(stage).artefact
    again = "run the same command as before"
    if artefact is None or not (folder / artefact.file).is_file():
        return f"to go on, {again}"
    made = " ".join(map(str, run.folders_made_from(stage)))
    return f"to make it again, with what was made from it, {again} after: rm -r {made}"
