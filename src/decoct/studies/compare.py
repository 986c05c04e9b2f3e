"""Compare methods: each with every seed on every task."""

from decoct.evaluation.scores import Scores
from decoct.methods.registry import method_kind
from decoct.run.pipeline import Run


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
    """The seeds whose sets were not learnt to the end, and where they stopped."""
    if not method_kind(method).synthetic:
        return {}
    sets = {seed: run.distilled(method, seed) for seed in run.graph.seeds}
    found = [f"seed {seed} at {made.stopped}" for seed, made in sets.items() if made.stopped]
    return {"stopped": found} if found else {}
