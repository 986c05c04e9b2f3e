"""The verbs that take a recipe: each parses its flags, runs and prints."""

import textwrap
from collections.abc import Callable

import tyro

from decoct.commands import STAGES
from decoct.core import ranks
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.printable import printable_output
from decoct.core.spelling import suggest
from decoct.data.sources import load_images
from decoct.distil_folder import distil_folder
from decoct.flags import Call, parse
from decoct.launch import launched
from decoct.methods.method import Method
from decoct.methods.real_images import RealImages
from decoct.methods.registry import METHODS, method_kind
from decoct.report.ablation_table import ablation_markdown, ablation_text
from decoct.report.frontier import frontier_tables
from decoct.report.logs.follow import logged
from decoct.report.page import write_report
from decoct.report.show import describe
from decoct.report.table import columns, labels_phrase, markdown
from decoct.report.variance_table import variance_text
from decoct.run.agreement import check_agreement, folder_of_all
from decoct.run.budget import within_budget
from decoct.run.doctor import doctor
from decoct.run.method_stages import encoder_of, probe_of, set_of
from decoct.run.pipeline import Run
from decoct.settings_help import print_help
from decoct.studies.ablate import ablate
from decoct.studies.fit import fit, fit_rows
from decoct.studies.frontier.study import frontier
from decoct.studies.tune import tune, tuning_rows
from decoct.studies.variance.study import diagnose_variance
from decoct.studies.variance.theorem import theorem_text
from decoct.submit import submit
from decoct.together import together
from decoct.tools import TOOLS
from decoct.whole_run import begin, known, print_comparison, share_out, whole_run


def dispatch(verb: str, arguments: list[str]) -> None:
    """Run one verb."""
    if verb not in DIVIDED:
        _refuse_many(verb, arguments)
    with together():
        _dispatch(verb, arguments)


def _refuse_many(verb: str, arguments: list[str]) -> None:
    """Raise `DecoctError` for a verb that one process does, if several are to do it."""
    asked = any(word.partition("=")[0] == "--devices" for word in arguments)
    if ranks.started_together() or (asked and verb != "doctor"):
        raise DecoctError(
            f"decoct {verb} works in one process: start it once, without --devices; those that "
            f"share their work are {', '.join(DIVIDED)}"
        )


def _dispatch(verb: str, arguments: list[str]) -> None:
    command = [verb, *arguments]
    has_recipe = bool(arguments) and not arguments[0].startswith("-")
    if verb in TOOLS and not (verb in RECIPE_VERBS and has_recipe):
        tyro.cli(printable_output()(TOOLS[verb]), prog=f"decoct {verb}", args=arguments)
        return
    if verb == "distill":
        distil_folder(arguments)
        return
    if verb == "submit":
        with printable_output():
            submit(arguments)
        return
    if verb == "demo":
        verb, arguments = "run", ["demo", *arguments]
    if verb == "diagnose":
        if arguments[:1] != ["variance"]:
            raise DecoctError("decoct diagnose takes a word and a recipe: diagnose variance demo")
        verb, arguments = "diagnose variance", arguments[1:]
    if verb == "stage":
        stage, *arguments = arguments or [""]
        if stage not in STAGES:
            raise DecoctError(f"decoct stage takes a stage's name;{suggest(stage, STAGES)}")
        make, verb = STAGE_VERBS[stage], f"stage {stage}"
    else:
        make = RECIPE_VERBS[verb]
    call = parse(verb, arguments)
    if call.help is not None:
        print_help(call, f"decoct {verb} {arguments[0]}", call.help)
        return
    if verb == "doctor":  # it only looks
        printable_output()(make)(call)
        return
    share = getattr(call.flags, "share", False)
    if command[0] in DIVIDED and launched(call, command):
        return
    check_agreement(call.recipe, call.flags.out)
    with printable_output(), folder_of_all(call.flags.out, wait=call.flags.wait, share=share):
        call = call if verb in _OWN_BUDGET else call.fitted()
        loggers = getattr(call.flags, "log", ()) if ranks.is_first() else ()
        with logged(call.recipe, call.flags.out, loggers):
            make(call)


DIVIDED = ("run", "demo", "compare", "stage", "distill")  # verbs that several processes share
_OWN_BUDGET = ("fit", "doctor")  # these divide a budget in their own way


def _stage(name: str) -> Callable[[Call], None]:
    """A verb that makes one stage and describes the result."""

    def verb(call: Call) -> None:
        _make(call.run(), name)

    return verb


def _make(run: Run, *names: str) -> None:
    """Make stages, and describe the artefact of each."""

    def finish() -> None:
        for name in names:
            run.get(name)
            _say(run, name)

    share_out(run, names, finish=finish)


def _say(run: Run, name: str) -> None:
    """Describe the artefact of a stage, the first where it has several."""
    folder = run.stages.of(name, run.graph.key(name))
    run.save_recipe()
    run.save_manifest()
    for file in sorted(folder.glob("[a-z0-9]*.safetensors"))[:1]:
        print(describe(file))


def _distil(run: Run, *methods: str) -> None:
    for method in methods:
        known(method, lambda kind: kind.makes_set)
    _make(run, *(set_of(method, run.recipe.seed) for method in methods))


def _encode(run: Run, method: str) -> None:
    known(method, lambda kind: kind.keeps_encoder)
    _make(run, encoder_of(method, run.recipe.seed))


def _select(call: Call) -> None:
    run = call.run()
    wanted = [m for m in run.recipe.compare.methods if _chooses_images(method_kind(m))]
    if not wanted:
        known = [name for name, kind in METHODS.items() if _chooses_images(kind)]
        raise DecoctError(f"compare.methods names no subset to select; add {', '.join(known)}")
    _distil(run, *wanted)


def _chooses_images(kind: type[Method]) -> bool:
    return issubclass(kind, RealImages)


def _probe(call: Call) -> None:
    run = call.run()
    method, seed = run.recipe.method, run.recipe.seed

    def finish() -> None:
        scores = run.probe_scores(method, seed)
        run.save_recipe()
        run.save_manifest()
        for score in scores:
            print(f"{score.task}, {labels_phrase(score.labels)}: {score.accuracy:.1f} %")

    share_out(run, [probe_of(method, seed)], finish=finish)


def _compare(call: Call) -> None:
    run = call.run()
    if not run.recipe.judged:
        raise DecoctError(
            "nothing judges the methods: give labelled images (--compare.tasks), or hold some of "
            "the pool out (--images.holdout 0.1)"
        )
    ranks.first_does(lambda: begin(run))
    names = run.graph.asked_for()
    share_out(run, names, finish=lambda: print_comparison(run, call.flags.jobs))


def _tune(call: Call) -> None:
    flags = call.flags
    tuning = tune(recipe=call.recipe, folder=flags.out, config=flags.tune, jobs=flags.jobs)
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
    flags, out = call.flags, call.flags.out
    ablation = ablate(recipe=call.recipe, folder=out, axes=flags.axes, jobs=flags.jobs)
    print(ablation_markdown(ablation) if flags.markdown else ablation_text(ablation))
    note(f"all accuracies: {out / 'ablation.json'}; decoct report {out} plots them")


def _frontier(call: Call) -> None:
    out, run = call.flags.out, call.run()
    found = frontier(
        recipe=call.recipe, folder=out, config=call.flags.frontier, jobs=call.flags.jobs
    )
    run.save_recipe()
    for name, rows in frontier_tables(found).items():
        print(f"{name}\n{markdown(rows) if call.flags.markdown else columns(rows)}\n")
    note(f"all accuracies: {out / 'frontier.json'}; decoct report {out} plots them")


def _diagnose(call: Call) -> None:
    run = call.run()
    variance = diagnose_variance(run, call.flags.diagnose)
    run.save_recipe()
    run.save_manifest()
    print(f"{variance_text(variance)}\n\n{theorem_text(run)}\n")
    print(f"report: {write_report(run.folder)}")


def _doctor(call: Call) -> None:
    recipe = call.recipe
    if recipe.budget:
        config, source = recipe.images, recipe.source(recipe.images.source)
        pool = load_images(source, size=config.size, channels=config.channels)
        recipe, said = within_budget(recipe, pool)
        note(said)
    print(doctor(recipe, folder=call.flags.out, devices=call.flags.devices))


RECIPE_VERBS: dict[str, Callable[[Call], None]] = {
    "run": whole_run,
    "compare": _compare,
    "ablate": _ablate,
    "tune": _tune,
    "fit": _fit,
    "frontier": _frontier,
    "diagnose variance": _diagnose,
    "doctor": _doctor,
}
STAGE_VERBS: dict[str, Callable[[Call], None]] = {
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
