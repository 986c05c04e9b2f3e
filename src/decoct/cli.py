"""The command line: parse, call, print."""

import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from decoct import __version__
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.methods.subsets import SUBSETS
from decoct.report.ablation_table import ablation_markdown, ablation_text
from decoct.report.costs import cost_rows, costs
from decoct.report.export import export
from decoct.report.page import write_report
from decoct.report.show import describe, show
from decoct.report.table import columns, labels_phrase, text_table
from decoct.report.variance_table import variance_text
from decoct.run.doctor import doctor
from decoct.run.pipeline import Run
from decoct.run.recipe import DISTILLERS, METHODS, Recipe, load_recipe, recipe_names, suggest
from decoct.studies.ablate import ablate
from decoct.studies.tune import TuneConfig, tune, tuning_rows
from decoct.studies.variance.study import VarianceConfig, diagnose_variance
from decoct.studies.variance.theorem import theorem_text

_USAGE = """\
decoct VERB ...: boil an unlabelled image data set down to a few images that pre-train encoders

The whole road, from cache where nothing changed:
  demo                    run the embedded recipe: emoji, minutes on a CPU
  run RECIPE              every stage, the comparison and the report
  compare RECIPE          every stage, and the table
  ablate RECIPE           the recipe with one thing changed at a time: what each contributes
  tune RECIPE             how fast and how long to pre-train, by pool images left out alone

Whether the method's reasons hold on these images:
  diagnose variance RECIPE
                          do gradients and trajectories of SSL losses vary more than distillation's

One stage, and what it needs:
  load-images, train-teacher, compute-targets, train-experts, difficulty, select, distill,
  train-assistant, pretrain, probe RECIPE  (distill, pretrain and probe take --method; the recipe's,
                          unless it is given)

What came out:
  report RUN              one HTML page about a run's folder
  show FILE               what any artefact is; its image grid as PNG
  export FILE             a distilled set as PNG images and targets, or as uint8
  doctor [RECIPE]         versions, devices, extras; what a recipe would take

RECIPE is a YAML file of yours or one of: {recipes}.
decoct VERB --help lists the flags; each setting of a recipe is one, and flags win.
"""


@dataclass(frozen=True)
class RunFlags:
    """A recipe's settings, and where the run is kept."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path = field(default=Path())


@dataclass(frozen=True)
class TuneFlags(RunFlags):
    """A recipe's settings, where the run is kept, and what is tried."""

    tune: TuneConfig = field(default_factory=TuneConfig)


@dataclass(frozen=True)
class AblateFlags(RunFlags):
    """A recipe's settings, where the run is kept, and what is varied."""

    axes: tuple[str, ...] = ()  # start, experts=1,5 ...; none given: all
    markdown: bool = False  # print Markdown tables


@dataclass(frozen=True)
class DiagnoseFlags(RunFlags):
    """A recipe's settings, where the run is kept, and what is measured."""

    diagnose: VarianceConfig = field(default_factory=VarianceConfig)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_USAGE.format(recipes=", ".join(recipe_names())))
        return 0
    if arguments[0] == "--version":
        print(f"decoct {__version__}")
        return 0
    try:
        return _dispatch(arguments[0], arguments[1:])
    except DecoctError as error:
        print(f"decoct: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("decoct: no space left on the device; free some, and run again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("decoct: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _dispatch(verb: str, arguments: list[str]) -> int:
    if verb == "demo":
        verb, arguments = "run", ["demo", *arguments]
    if verb == "diagnose":
        if arguments[:1] != ["variance"]:
            raise DecoctError("decoct diagnose takes a word and a recipe: diagnose variance demo")
        verb, arguments = "diagnose variance", arguments[1:]
    if verb in _STAGES:
        flags = _parse(verb, arguments, RunFlags)
        _STAGES[verb](_open_run(flags))
    elif verb in _OF_A_METHOD:
        flags = _parse(verb, arguments, RunFlags)
        _OF_A_METHOD[verb](_open_run(flags), flags.recipe.method)
    elif verb == "tune":
        _tune(_parse(verb, arguments, TuneFlags))
    elif verb == "ablate":
        _ablate(_parse(verb, arguments, AblateFlags))
    elif verb == "diagnose variance":
        _diagnose(_parse(verb, arguments, DiagnoseFlags))
    elif verb in _TOOLS:
        tyro.cli(_TOOLS[verb], prog=f"decoct {verb}", args=arguments)
    else:
        known = [*_STAGES, *_OF_A_METHOD, *_TOOLS, "demo", "tune", "ablate", "diagnose"]
        raise DecoctError(f"there is no verb {verb};{suggest(verb, known)}")
    return 0


Flags = TypeVar("Flags", bound=RunFlags)


def _open_run(flags: RunFlags) -> Run:
    """The run that flags ask for."""
    run = Run(flags.recipe, flags.out)
    run.save_recipe()
    return run


def _parse(verb: str, arguments: list[str], kind: type[Flags]) -> Flags:
    """What `RECIPE [flags]` asks for; flags win over the recipe."""
    named = arguments and not arguments[0].startswith("-")
    recipe = load_recipe(arguments[0] if named else "demo")
    flags = tyro.cli(
        kind,
        prog=f"decoct {verb} {arguments[0] if named else 'RECIPE'}",
        default=kind(recipe=recipe, out=Path("runs") / recipe.name),
        args=arguments[1:] if named else arguments,
    )
    if not named:
        raise DecoctError(f"decoct {verb} needs a recipe: one of {', '.join(recipe_names())}")
    return flags


def _artefact(use: Callable[[Run], object]) -> Callable[[Run], None]:
    """A verb that makes one stage and says what came out."""

    def verb(run: Run) -> None:
        use(run)
        _say(run)

    return verb


def _say(run: Run) -> None:
    """Describe the artefact that was made last."""
    folder = run.folder / list(run.stages.used.values())[-1]
    run.save_manifest()
    for file in sorted(folder.glob("[a-z0-9]*.safetensors"))[:1]:
        print(describe(file))


def _distil(run: Run, method: str) -> None:
    _known(method, (*SUBSETS, *DISTILLERS))
    run.distilled(method, run.recipe.seed)
    _say(run)


def _pretrain(run: Run, method: str) -> None:
    _known(method, [m for m in METHODS if m not in ("none", "teacher")])
    run.encoder(method, run.recipe.seed)
    _say(run)


def _known(method: str, methods: Sequence[str]) -> None:
    if method not in methods:
        raise DecoctError(f"--method {method} is unknown here;{suggest(method, methods)}")


def _select(run: Run) -> None:
    wanted = [method for method in run.recipe.compare.methods if method in SUBSETS]
    if not wanted:
        raise DecoctError(f"compare.methods names no subset to select; add {', '.join(SUBSETS)}")
    for method in wanted:
        _distil(run, method)


def _probe(run: Run, method: str) -> None:
    _known(method, METHODS)
    for score in run.probe_scores(method, run.recipe.seed):
        print(f"{score.task}, {labels_phrase(score.labels)}: {score.accuracy:.1f} %")


def _compare(run: Run) -> None:
    run.check()
    scores = run.compare()
    run.save_manifest()
    print(text_table(scores))
    print(f"\nwhat each method costs\n{columns(cost_rows(costs(scores, run.stages.seconds())))}\n")
    print(f"all accuracies: {run.folder / 'scores.json'}")


def _tune(flags: TuneFlags) -> None:
    tuning = tune(recipe=flags.recipe, folder=flags.out, config=flags.tune)
    epochs = tuning.epochs()
    factors = ", ".join(f"{m}: {r:g}" for m, r in tuning.rates(epochs).items())
    print(columns(tuning_rows(tuning)))
    print(
        "\nerror on pool images left out, as a share of their targets' variance (rate, as a factor "
        f"on a method's own)\nfor the recipe:\n  pretrain: {{epochs: {epochs}}}\n"
        f"  compare: {{rates: {{{factors}}}}}"
    )


def _ablate(flags: AblateFlags) -> None:
    ablation = ablate(recipe=flags.recipe, folder=flags.out, axes=flags.axes)
    print(ablation_markdown(ablation) if flags.markdown else ablation_text(ablation))
    note(f"all accuracies: {flags.out / 'ablation.json'}; decoct report {flags.out} plots them")


def _diagnose(flags: DiagnoseFlags) -> None:
    run = _open_run(flags)
    variance = diagnose_variance(run, flags.diagnose)
    run.save_manifest()
    print(f"{variance_text(variance)}\n\n{theorem_text(run)}\n")
    print(f"report: {write_report(run.folder)}")


def _run(run: Run) -> None:
    run.check()
    if run.recipe.compare.tasks:
        _compare(run)
    else:
        _distil(run, run.recipe.method)
    print(f"report: {write_report(run.folder)}")


_STAGES: dict[str, Callable[[Run], None]] = {
    "load-images": _artefact(lambda run: run.images),
    "train-teacher": _artefact(lambda run: run.teacher),
    "compute-targets": _artefact(lambda run: run.targets),
    "train-experts": _artefact(lambda run: run.trajectories),
    "difficulty": _artefact(lambda run: run.difficulty),
    "train-assistant": _artefact(lambda run: run.assistant),
    "select": _select,
    "compare": _compare,
    "run": _run,
}


_OF_A_METHOD: dict[str, Callable[[Run, str], None]] = {
    "distill": _distil,
    "pretrain": _pretrain,
    "probe": _probe,
}


def _report(run: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """Write one self-contained HTML page about the run in a folder."""
    print(f"report: {write_report(run, out=out)}")


def _show(file: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """Say what any artefact is, and write its image grid as PNG."""
    print(show(file, out=out))


def _export(file: tyro.conf.Positional[Path], out: Path, uint8: bool = False) -> None:
    """Write a distilled set as PNG images and targets, or (--uint8) as a file of bytes."""
    print(f"exported to {export(file, out=out, uint8=uint8)}")


def _doctor(
    recipe: tyro.conf.Positional[str] = "", data: str = "", out: Path = Path("runs")
) -> None:
    """Say what is installed, what works, and what a recipe would take in the folder `out`."""
    settings = load_recipe(recipe) if recipe else None
    if settings and data:
        settings = replace(settings, data=data)
    print(doctor(settings, folder=out))


_TOOLS: dict[str, Callable[..., None]] = {
    "report": _report,
    "show": _show,
    "export": _export,
    "doctor": _doctor,
}
