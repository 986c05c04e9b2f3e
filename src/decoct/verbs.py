"""The verbs that take a recipe: each parses its flags, runs and prints."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.spelling import suggest
from decoct.evaluation.scores import Scores
from decoct.methods.method import Method
from decoct.methods.real_images import RealImages
from decoct.methods.registry import METHODS, method_kind, sections
from decoct.report.ablation_table import ablation_markdown, ablation_text
from decoct.report.costs import cost_rows, costs
from decoct.report.frontier import frontier_tables
from decoct.report.page import write_report
from decoct.report.show import describe
from decoct.report.table import columns, labels_phrase, markdown, text_table
from decoct.report.variance_table import variance_text
from decoct.run.budget import within_budget
from decoct.run.old_recipes import upgraded_flags
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.run.recipes import recipe_names
from decoct.run.workers import stage_jobs, workers
from decoct.studies.ablate import ablate
from decoct.studies.compare import compare
from decoct.studies.fit import FitConfig, fit, fit_rows
from decoct.studies.frontier.study import FrontierConfig, frontier
from decoct.studies.tune import TuneConfig, tune, tuning_rows
from decoct.studies.variance.study import VarianceConfig, diagnose_variance
from decoct.studies.variance.theorem import theorem_text
from decoct.tools import TOOLS


@dataclass(frozen=True)
class Call:
    """A request to a verb that takes a recipe."""

    recipe: Recipe
    flags: Any

    def run(self) -> Run:
        """The requested run, with its recipe saved in its folder."""
        run = Run(self.recipe, self.flags.out)
        run.save_recipe()
        return run

    def fitted(self) -> "Call":
        """The same request with a budget, if there is one, made a size."""
        if not self.recipe.budget:
            return self
        pool = Run(replace(self.recipe, budget=""), self.flags.out).pool
        recipe, said = within_budget(self.recipe, pool)
        note(said)
        return Call(recipe, self.flags)


def dispatch(verb: str, arguments: list[str]) -> None:
    """Run one verb."""
    if verb == "demo":
        verb, arguments = "run", ["demo", *arguments]
    if verb == "diagnose":
        if arguments[:1] != ["variance"]:
            raise DecoctError("decoct diagnose takes a word and a recipe: diagnose variance demo")
        verb, arguments = "diagnose variance", arguments[1:]
    if verb in TOOLS:
        tyro.cli(TOOLS[verb], prog=f"decoct {verb}", args=arguments)
    else:
        call = parse(verb, arguments)
        by_trial = verb == "fit"  # it divides the budget itself
        _OF_A_RECIPE[verb](call if by_trial else call.fitted())


def parse(verb: str, arguments: list[str]) -> Call:
    """Parse `RECIPE [flags]`; flags override the recipe."""
    if not arguments or arguments[0].startswith("-"):
        raise DecoctError(f"decoct {verb} needs a recipe: one of {', '.join(recipe_names())}")
    recipe = load_recipe(arguments[0])
    kind = _flags_of(recipe, verb)
    flags = [_SHORT.get(word, word) for word in upgraded_flags(arguments[1:])]
    found = tyro.cli(kind, prog=f"decoct {verb} {arguments[0]}", args=flags)
    own = {name: getattr(found, name) for name in sections()}
    return Call(found.recipe.having(**own), found)


_SHORT = {"--steps": "--pretrain.steps"}


def _flags_of(recipe: Recipe, verb: str) -> Any:
    """A dataclass of all flags: the recipe's, its methods' sections, and the verb's own."""

    def default(value: Any) -> Any:
        return field(default_factory=lambda: value)

    unnamed = Annotated[Recipe, tyro.conf.arg(name="")]
    parts: list[tuple[str, Any, Any]] = [("recipe", unnamed, default(recipe))]
    parts += [(name, kind, default(recipe.methods[name])) for name, kind in sections().items()]
    parts.append(("out", Path, default(Path("runs") / recipe.name)))
    for name, kind, value in _OWN_FLAGS.get(verb, ()):
        parts.append((name, kind, default(value)))
    return make_dataclass("Flags", parts, frozen=True)


_JOBS = ("jobs", int, 1)  # processes that share the work
_OWN_FLAGS: dict[str, tuple[tuple[str, Any, Any], ...]] = {
    "run": (_JOBS,),
    "compare": (_JOBS,),
    "tune": (("tune", TuneConfig, TuneConfig()),),
    "fit": (("fit", FitConfig, FitConfig()), _JOBS),
    "ablate": (("axes", tuple[str, ...], ()), ("markdown", bool, False)),
    "frontier": (
        ("frontier", FrontierConfig, FrontierConfig()),
        _JOBS,
        ("markdown", bool, False),
    ),
    "diagnose variance": (("diagnose", VarianceConfig, VarianceConfig()),),
}


def _stage(name: str) -> Callable[[Call], None]:
    """A verb that makes one stage and describes the result."""

    def verb(call: Call) -> None:
        run = call.run()
        run.get(name)
        _say(run)

    return verb


def _say(run: Run) -> None:
    """Describe the artefact that was made last."""
    folder = run.folder / list(run.stages.used.values())[-1]
    run.save_manifest()
    for file in sorted(folder.glob("[a-z0-9]*.safetensors"))[:1]:
        print(describe(file))


def _distil(run: Run, method: str) -> None:
    _known(method, lambda kind: kind.makes_set)
    run.distilled(method, run.recipe.seed)
    _say(run)


def _encode(run: Run, method: str) -> None:
    _known(method, lambda kind: kind.keeps_encoder)
    run.encoder(method, run.recipe.seed)
    _say(run)


def _known(method: str, fits: Callable[[type[Method]], bool]) -> None:
    known = [name for name, kind in METHODS.items() if fits(kind)]
    if method not in known:
        raise DecoctError(f"--method {method} is unknown here;{suggest(method, known)}")


def _select(call: Call) -> None:
    run = call.run()
    wanted = [m for m in run.recipe.compare.methods if _chooses_images(method_kind(m))]
    if not wanted:
        known = [name for name, kind in METHODS.items() if _chooses_images(kind)]
        raise DecoctError(f"compare.methods names no subset to select; add {', '.join(known)}")
    for method in wanted:
        _distil(run, method)


def _chooses_images(kind: type[Method]) -> bool:
    return issubclass(kind, RealImages)


def _probe(call: Call) -> None:
    run = call.run()
    for score in run.probe_scores(run.recipe.method, run.recipe.seed):
        print(f"{score.task}, {labels_phrase(score.labels)}: {score.accuracy:.1f} %")


def _compare(call: Call) -> None:
    _print_comparison(call.run(), call.flags.jobs)


def _print_comparison(run: Run, jobs: int) -> None:
    run.check()
    if jobs != 1:
        with workers(jobs) as pool:
            wanted = stage_jobs(run, run.graph.asked_for())
            pool.do(wanted, label="stages, side by side")
    scores = compare(run)
    run.save_manifest()
    print(text_table(scores))
    print(f"\nwhat each method costs\n{columns(_cost_rows(run, scores))}\n")
    print(f"all accuracies: {run.folder / 'scores.json'}")


def _cost_rows(run: Run, scores: Scores) -> list[list[str]]:
    stages = run.graph.of_a_run()
    inputs = {stage.name: stage.inputs for stage in stages}
    return cost_rows(costs(scores, run.stages.seconds(), inputs))


def _tune(call: Call) -> None:
    tuning = tune(recipe=call.recipe, folder=call.flags.out, config=call.flags.tune)
    epochs = tuning.epochs()
    factors = ", ".join(f"{m}: {r:g}" for m, r in tuning.lr_factors(epochs).items())
    print(columns(tuning_rows(tuning)))
    print(
        "\nerror on held-out pool images, as a share of their targets' variance (x: the factor on "
        f"a method's own learning rate)\nfor the recipe:\n  pretrain: {{epochs: {epochs}}}\n"
        f"  compare: {{lr_factors: {{{factors}}}}}"
    )


def _fit(call: Call) -> None:
    out = call.flags.out
    found = fit(recipe=call.recipe, folder=out, config=call.flags.fit, jobs=call.flags.jobs)
    print(columns(fit_rows(found)))
    lines = textwrap.indent(found.candidates[0].lines(), "  ")
    print(
        f"\nerror on held-out pool images, as a share of their targets' variance\n"
        f"for the recipe:\n{lines}"
    )


def _ablate(call: Call) -> None:
    out = call.flags.out
    ablation = ablate(recipe=call.recipe, folder=out, axes=call.flags.axes)
    print(ablation_markdown(ablation) if call.flags.markdown else ablation_text(ablation))
    note(f"all accuracies: {out / 'ablation.json'}; decoct report {out} plots them")


def _frontier(call: Call) -> None:
    out = call.flags.out
    Run(call.recipe, out).save_recipe()
    found = frontier(
        recipe=call.recipe, folder=out, config=call.flags.frontier, jobs=call.flags.jobs
    )
    for name, rows in frontier_tables(found).items():
        print(f"{name}\n{markdown(rows) if call.flags.markdown else columns(rows)}\n")
    note(f"all accuracies: {out / 'frontier.json'}; decoct report {out} plots them")


def _diagnose(call: Call) -> None:
    run = call.run()
    variance = diagnose_variance(run, call.flags.diagnose)
    run.save_manifest()
    print(f"{variance_text(variance)}\n\n{theorem_text(run)}\n")
    print(f"report: {write_report(run.folder)}")


def _whole_run(call: Call) -> None:
    run = call.run()
    if run.recipe.compare.tasks:
        _print_comparison(run, call.flags.jobs)
    else:
        method = run.recipe.method
        _known(method, lambda kind: kind.keeps_encoder)
        run.check()
        (_distil if method_kind(method).makes_set else _encode)(run, method)
    print(f"report: {write_report(run.folder)}")


_OF_A_RECIPE: dict[str, Callable[[Call], None]] = {
    "run": _whole_run,
    "compare": _compare,
    "ablate": _ablate,
    "tune": _tune,
    "fit": _fit,
    "frontier": _frontier,
    "diagnose variance": _diagnose,
    "load-images": _stage("images"),
    "train-teacher": _stage("teacher"),
    "compute-targets": _stage("targets"),
    "train-experts": _stage("experts"),
    "difficulty": _stage("difficulty"),
    "train-assistant": _stage("assistant"),
    "select": _select,
    "distill": lambda call: _distil(call.run(), call.recipe.method),
    "pretrain": lambda call: _encode(call.run(), call.recipe.method),
    "probe": _probe,
}
