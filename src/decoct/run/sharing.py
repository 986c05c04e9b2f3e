"""Commands that share a run's folder: each makes what none of the others makes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from decoct.core import atomic
from decoct.core.claims import one_by_one
from decoct.run.folder import stage_claim
from decoct.run.pipeline import Run


def share_work(run: Run, names: Iterable[str]) -> None:
    """Make the kept stages that `names` are made from, together with others that do the same.

    Of those whose inputs are there, it takes the first that nobody has claimed, and so on until all
    are there; what another leaves that dies, it takes over. All share the experts, which are
    claimed one by one. Only where nothing is free it waits.
    """
    shared = _Shared(run, run.graph.kept(names))
    stages = one_by_one(
        lambda: list(dict.fromkeys(shared.ready())),
        claim=shared.claim,
        is_there=run.is_there,
        waiting_for=", ".join,
    )
    for name, claim in stages:
        with claim:
            run.get(name)


class _Shared:
    """The kept stages of a run, and those that each needs."""

    def __init__(self, run: Run, needs: dict[str, frozenset[str]]) -> None:
        self.run, self.needs = run, needs
        inner = frozenset[str]().union(*needs.values())
        self.last = [name for name in needs if name not in inner]

    def ready(self) -> Iterator[str]:
        """Stages that are missing and can be made, for the last ones in their order."""
        for name in self.last:
            yield from self._ready(name)

    def _ready(self, name: str) -> Iterator[str]:
        if self.run.is_there(name):
            return
        missing = [need for need in self.needs if need in self.needs[name]]
        missing = [need for need in missing if not self.run.is_there(need)]
        for need in missing:
            yield from self._ready(need)
        if not missing:
            yield name

    def claim(self, name: str) -> Path | None:
        stage = self.run.graph.stage(name)
        if stage.fills_folder:
            return None
        folder = self.run.folder / f"{name}-{self.run.graph.key(name)}"
        atomic.make_folder(folder)
        return stage_claim(folder)
