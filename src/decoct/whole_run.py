"""A whole run: every stage, all scores, the report, and where the results lie."""

from collections.abc import Callable, Iterable

from decoct.core import ranks
from decoct.core.errors import DecoctError
from decoct.core.spelling import suggest
from decoct.evaluation.scores import Scores
from decoct.flags import Call
from decoct.methods.method import Method
from decoct.methods.registry import METHODS
from decoct.report.costs import cost_rows, costs
from decoct.report.label_free import label_free_text
from decoct.report.page import write_report
from decoct.report.show import describe
from decoct.report.table import columns, text_table
from decoct.run.division import make_together
from decoct.run.lock import is_shared
from decoct.run.pipeline import Run
from decoct.run.sharing import share_work
from decoct.run.workers import stage_jobs, workers
from decoct.studies.compare import compare
from decoct.studies.label_free import judge_without_labels


def whole_run(call: Call) -> None:
    """Make and judge everything that the recipe asks for, and say where it lies."""
    run = call.run()
    if not run.recipe.compare.tasks:  # then its own encoder is made, whatever is compared
        known(run.recipe.method, lambda kind: kind.keeps_encoder)
    ranks.first_does(lambda: begin(run))
    share_out(run, run.graph.asked_for(), finish=lambda: _finish(run, call.flags.jobs))


def begin(run: Run) -> None:
    """Check what would fail only later, and save the recipe."""
    run.check()
    run.save_recipe()


def share_out(run: Run, names: Iterable[str], *, finish: Callable[[], None]) -> None:
    """All processes that work together make stages; then the first of them finishes the verb."""
    if is_shared(run.folder):
        run.save_recipe()  # at once, so that others see what is made here, or refuse to join
        share_work(run, names)
    else:
        make_together(run, names)
    if ranks.is_first():
        with ranks.alone():
            finish()


def _finish(run: Run, jobs: int) -> None:
    if run.recipe.judged:
        print_comparison(run, jobs)  # with --jobs, makes the recipe's own encoder too
    if not run.recipe.compare.tasks:
        run.encoder(run.recipe.method, run.recipe.seed)
        run.save_manifest()
    run.mend()
    made = run.publish()
    for file in made:
        print(f"{file}\n  {describe(file).splitlines()[0]}")
    print(f"report: {write_report(run.folder)}")
    if made:
        encoder, out = made[-1], run.folder
        print(
            f"next: decoct embed {encoder} FOLDER --out features.npy\n"
            f"      decoct export {encoder} --to onnx --out {out / 'onnx'}"
        )


def known(method: str, fits: Callable[[type[Method]], bool]) -> None:
    """Raise `DecoctError` for a method that a verb cannot work with."""
    names = [name for name, kind in METHODS.items() if fits(kind)]
    if method not in names:
        raise DecoctError(f"--method {method} is unknown here;{suggest(method, names)}")


def print_comparison(run: Run, jobs: int) -> None:
    """Judge the recipe's methods on its tasks, and on images held out; print the tables."""
    if jobs != 1:
        with workers(jobs) as pool:
            wanted = stage_jobs(run, run.graph.asked_for())
            pool.do(wanted, label="stages, side by side")
    if run.recipe.compare.tasks:
        scores = compare(run)
        run.save_manifest()  # finds the seconds of stages that were there
        print(text_table(scores, run.recipe.method))
        print(f"\nwhat each method costs\n{columns(_cost_rows(run, scores))}\n")
        print(f"all accuracies: {run.folder / 'scores.json'}")
    if run.recipe.images.holdout:
        print(label_free_text(judge_without_labels(run)))
    run.save_manifest()


def _cost_rows(run: Run, scores: Scores) -> list[list[str]]:
    stages = run.graph.of_a_run()
    inputs = {stage.name: stage.inputs for stage in stages}
    return cost_rows(costs(scores, run.stages.seconds(), inputs))
