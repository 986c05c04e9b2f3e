"""Which sets of a run were not learnt to the end."""

from decoct.methods.registry import method_kind
from decoct.run.pipeline import Run


def stopped_early(run: Run, method: str) -> list[str]:
    """The seeds whose sets of a method were not learnt to the end, and where they stopped."""
    if not method_kind(method).synthetic:
        return []
    sets = {seed: run.distilled(method, seed) for seed in run.graph.seeds}
    return [f"seed {seed} at {made.stopped}" for seed, made in sets.items() if made.stopped]
