"""Compare methods: each with every seed on every task."""

from decoct.evaluation.scores import Scores
from decoct.run.pipeline import Run
from decoct.studies.stopped import stopped_early


def compare(run: Run) -> Scores:
    """The accuracies of the recipe's methods, and facts about each; also writes `scores.json`.

    Sets, encoders and accuracies that are already in the run's folder are reused.
    """
    run.save_recipe()
    methods = run.graph.methods
    scores = [s for seed in run.graph.seeds for m in methods for s in run.probe_scores(m, seed)]
    facts = {method: run.facts(method) | _stopped(run, method) for method in methods}
    result = Scores(tuple(scores), facts)
    result.save(run.folder / "scores.json")
    return result


def _stopped(run: Run, method: str) -> dict[str, list[str]]:
    found = stopped_early(run, method)
    return {"stopped": found} if found else {}
