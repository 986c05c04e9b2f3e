"""`decoct clean`: the stages in a run's folder that nothing refers to any more."""

import shutil
from pathlib import Path

from decoct.core.errors import DecoctError
from decoct.data.catalogue import part_named
from decoct.data.fingerprint import EMBEDDED
from decoct.run.folder import stage_folders
from decoct.run.graph import Graph
from decoct.run.manifest import read_manifest
from decoct.run.recipe import Recipe, load_recipe

# Studies keep their numbers here; the stages that were measured can be made again.
_STUDIES = ("ablation.json", "frontier.json", "tuning.json", "fit.json")


def unreachable(run: Path | str) -> list[Path]:
    """The stage folders of a run that neither its saved recipe nor its `run.json` reaches.

    Only folders that a stage made count; anything else in the run's folder is the user's. Raises
    `DecoctError` if the folder is not a run's, or its recipe cannot be read.
    """
    run = Path(run)
    if not (run / "recipe.yaml").is_file():
        raise DecoctError(f"{run} is not the folder of a run: there is no recipe.yaml in it")
    recipe = load_recipe(run / "recipe.yaml")
    _check_sources(recipe)
    graph = Graph(recipe)
    reached = {f"{stage.name}-{graph.key(stage.name)}" for stage in graph.of_a_run()}
    if (run / "run.json").exists():
        reached |= set(read_manifest(run / "run.json")["stages"].values())
    return [folder for folder in stage_folders(run) if folder.name not in reached]


def _check_sources(recipe: Recipe) -> None:
    """Without its files no recipe can tell which stages are its own."""
    given = [recipe.images.source, recipe.targets.source, *recipe.compare.tasks]
    given += [] if recipe.teacher.train else [recipe.teacher.source]
    for source in map(recipe.source, filter(None, given)):
        there = Path(part_named(source)[0]).exists()  # of photos@train, the folder
        if source not in EMBEDDED and ":" not in source and not there:
            raise DecoctError(
                f"{source} is not there, so the stages made from it cannot be told from others; "
                "run this where the run was made, with its files in place"
            )


def studies_in(run: Path | str) -> list[str]:
    """The studies' files in a run's folder, whose variants' stages `unreachable` also returns."""
    return [name for name in _STUDIES if (Path(run) / name).exists()]


def remove(folders: list[Path]) -> None:
    """Delete stage folders; raises `DecoctError` for one that cannot be deleted."""
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise DecoctError(f"{folder} cannot be deleted ({error})") from error
