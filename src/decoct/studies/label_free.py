"""Judge a run's methods without labels, on the images that it holds out."""

from decoct.evaluation.label_free import LabelFreeScores
from decoct.run.pipeline import Run
from decoct.studies.stopped import stopped_early


def judge_without_labels(run: Run) -> LabelFreeScores:
    """The label-free scores of the recipe's methods by seed; also writes `label_free.json`.

    Scores that are already in the run's folder are reused.
    """
    rows = (
        row
        for method in run.graph.methods
        for seed in run.graph.seeds
        for row in run.label_free(method, seed).rows
    )
    stopped = tuple(
        f"{method}'s set of {where}"
        for method in run.graph.methods
        for where in stopped_early(run, method)
    )
    found = LabelFreeScores(tuple(rows), left_out=len(run.split[1]), stopped=stopped)
    found.save(run.folder / "label_free.json")
    return found
