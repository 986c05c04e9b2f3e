"""`kept_needs`: which kept stages of a run must be there before which others can be made."""

from collections.abc import Iterable

from decoct.run.pipeline import Run


def kept_needs(run: Run, names: Iterable[str]) -> dict[str, frozenset[str]]:
    """The stages that `names` are made from and that are kept, each with those that it needs.

    Stages that are not kept, such as the split, are seen through. Inputs come first, so the order
    is one in which the stages can be made.
    """
    reached: dict[str, frozenset[str]] = {}  # what whoever needs a stage needs on disk
    needs = {}
    for stage in run.graph.reachable(names):
        found = frozenset[str]().union(*(reached[source] for source in stage.inputs))
        if stage.is_kept:
            needs[stage.name] = found
        reached[stage.name] = frozenset([stage.name]) if stage.is_kept else found
    return needs
