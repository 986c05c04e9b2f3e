"""Compare methods: each with every seed on every task."""

from decoct.evaluation.scores import Scores
from decoct.run.pipeline import Run


def compare(run: Run) -> Scores:
    """The accuracies of the recipe's methods, and facts about each; also writes `scores.json`.

    Sets, encoders and accuracies that are already in the run's folder are reused.
    """
    run.save_recipe()
    methods = run.graph.methods
    scores = [s for seed in run.graph.seeds for m in methods for s in run.probe_scores(m, seed)]
    result = Scores(tuple(scores), {method: run.facts(method) for method in methods})
    result.save(run.folder / "scores.json")
    return result
