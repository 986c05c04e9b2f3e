"""`decoct distill FOLDER`: from a folder of pictures to a set and an encoder in use."""

from dataclasses import replace
from pathlib import Path

import tyro

from decoct.core import atomic, ranks, storage
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.printable import printable, printable_output
from decoct.data.survey import survey
from decoct.flags import Call, settings_said, source_name, with_flags
from decoct.launch import launched
from decoct.report.logs.follow import logged
from decoct.report.readers import read_plan
from decoct.run.agreement import check_agreement, folder_of_all
from decoct.run.plan import Draft, Wishes, plan
from decoct.run.recipe import Recipe, load_recipe
from decoct.whole_run import whole_run

_PLAN, _RECIPE = "plan.json", "plan.yaml"


def distil_folder(arguments: list[str]) -> None:
    """Look at a folder, say what will be done, and do it; an interrupted run goes on."""
    folder = _folder(arguments)
    wishes, flags = tyro.cli(
        Wishes, prog=f"decoct distill {folder}", args=arguments[1:], return_unknown_args=True
    )
    base = load_recipe("pictures").having(name=source_name(str(folder)))
    call = with_flags(base, "run", flags, of=str(folder))
    if call.flags.share:
        raise DecoctError(
            "decoct distill plans for one process; to share what it has planned: "
            f"decoct run {call.flags.out / 'recipe.yaml'} --share"
        )
    if launched(call, ["distill", *arguments]):
        return
    out = call.flags.out
    check_agreement(call.recipe, out)
    with folder_of_all(out, wait=call.flags.wait):
        said, devices = settings_said(flags), ranks.world()
        ranks.first_does(lambda: _make_plan(call, folder, wishes, said, devices))
        recipe = load_recipe(out / _RECIPE)
        loggers = call.flags.log if ranks.is_first() else ()
        with printable_output(), logged(recipe, out, loggers):
            whole_run(replace(call, recipe=recipe).fitted())


def _make_plan(
    call: Call, folder: Path, wishes: Wishes, said: frozenset[str], devices: int
) -> None:
    """See that the recipe of the run is there, from the folder's plan; if not, say and keep one."""
    wanted = storage.digest(call.recipe, wishes)
    if not _is_begun(call.flags.out, folder, wanted):
        draft = Draft(call.recipe, said)
        found = plan(draft, folder=folder, found=survey(folder), wishes=wishes, devices=devices)
        print(printable("\n".join(found.lines)), flush=True)
        _keep(call.flags.out, folder, wanted, found.recipe)


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


def _is_begun(out: Path, folder: Path, wanted: str) -> bool:
    """Whether a run was begun with the same wishes: its plan must not change."""
    file = out / _PLAN
    if not storage.is_valid(file, kind="plan"):
        return False
    known = read_plan(file)
    if known["folder"] != str(folder.resolve()):
        raise DecoctError(
            f"{out} holds a run of {known['folder']}; choose another folder with --out"
        )
    if known["wanted"] != wanted:
        return False
    note(f"going on with the plan in {out}")
    return True


def _keep(out: Path, folder: Path, wanted: str, recipe: Recipe) -> None:
    """Keep the plan, for a run that is interrupted."""
    atomic.write_text(out / _RECIPE, recipe.to_yaml())
    content = {"folder": str(folder.resolve()), "wanted": wanted}
    storage.save_json(out / _PLAN, content, kind="plan")
