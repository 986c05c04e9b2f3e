"""`decoct distill FOLDER`: from a folder of pictures to a set and an encoder in use."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro

from decoct.core import storage
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.data.survey import survey
from decoct.flags import with_flags
from decoct.run.plan import Wishes, plan
from decoct.run.recipe import Recipe, load_recipe
from decoct.whole_run import whole_run

_PLAN = "plan.json"


def distil_folder(arguments: list[str]) -> None:
    """Look at a folder, say what will be done, and do it; an interrupted run goes on."""
    folder, flags = _folder(arguments), arguments[1:]
    wishes, settings = tyro.cli(
        Wishes, prog=f"decoct distill {folder}", args=flags, return_unknown_args=True
    )
    out = _out(folder, settings)
    recipe = _begun(out, folder, wishes) or _planned(out, folder, wishes)
    call = with_flags(recipe, "run", [*settings, "--out", str(out)], of=str(folder))
    whole_run(call.fitted())


def _folder(arguments: list[str]) -> Path:
    name = arguments[0] if arguments else "-"
    if name.startswith("-"):
        raise DecoctError("decoct distill needs a folder of pictures: decoct distill ~/photos")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.suffix in (".yaml", ".yml"):
        raise DecoctError(f"{name} is a recipe; for its set alone: decoct stage distill {name}")
    raise DecoctError(
        f"{name} is no folder of pictures; for other sources: decoct run pictures "
        f"--images.source {name}"
    )


def _out(folder: Path, settings: list[str]) -> Path:
    """Where the run is kept: what --out says, or runs/ and the folder's name."""
    for number, word in enumerate(settings):
        if word.startswith("--out="):
            return Path(word.partition("=")[2]).expanduser()
        if word == "--out" and number + 1 < len(settings):
            return Path(settings[number + 1]).expanduser()
    return Path("runs") / folder.resolve().name


def _begun(out: Path, folder: Path, wishes: Wishes) -> Recipe | None:
    """The recipe of a run that was begun with the same wishes, whose plan must not change."""
    file = out / _PLAN
    if not storage.is_valid(file, kind="plan"):
        return None
    known: dict[str, Any] = storage.load_json(file, kind="plan")
    if known["folder"] != str(folder.resolve()):
        raise DecoctError(
            f"{out} holds a run of {known['folder']}; choose another folder with --out"
        )
    if known["wishes"] != asdict(wishes):
        return None
    note(f"going on with the plan in {out}")
    return load_recipe(out / "plan.yaml")


def _planned(out: Path, folder: Path, wishes: Wishes) -> Recipe:
    found = plan(folder, survey(folder), wishes)
    print("\n".join(found.lines), flush=True)
    storage.write_text(out / "plan.yaml", found.recipe.to_yaml())
    content = {"folder": str(folder.resolve()), "wishes": asdict(wishes)}
    storage.save_json(out / _PLAN, content, kind="plan")
    return found.recipe
