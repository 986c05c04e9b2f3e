"""`make_together`: several processes make a run's stages, each stage by one of them or by all."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from decoct.core import ranks
from decoct.core.console import note
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.stage import Stage

Needs = Mapping[str, Collection[str]]  # stages to make, each with the kept ones that it needs


@dataclass(frozen=True)
class Turn:
    """Stages that are made at the same time: one by all processes, or some by one process each."""

    stages: tuple[Stage[Any], ...]
    by_all: bool

    def of(self, rank: int, world: int) -> tuple[Stage[Any], ...]:
        """Those at which a process works."""
        return self.stages if self.by_all else self.stages[rank::world]


def make_together(run: Run, names: Iterable[str]) -> None:
    """Make what is missing of the stages that `names` are made from; all processes call it.

    Afterwards every process reads them from the run's folder. A single process does nothing: it
    makes what it needs when it needs it.
    """
    world = ranks.world()
    if world == 1:
        return
    run.plan(names := list(names))
    needs = run.graph.kept(names)
    missing, complete = _looked_up(run, names, needs)
    run.trust(complete)
    stages = [run.graph.stage(name) for name in needs if name in missing]
    for turn in turns(stages, needs, world):
        if turn.by_all:
            _make_by_all(run, turn.stages[0], world)
        else:
            for stage in turn.of(ranks.rank(), world):
                with ranks.alone():
                    run.get(stage.name)
        ranks.wait()
        run.trust(stage.name for stage in turn.stages)


def turns(stages: Sequence[Stage[Any]], needs: Needs, world: int) -> Iterator[Turn]:
    """In which turns so many processes make stages, of which each comes after those it needs."""
    left = {stage.name: stage for stage in stages}
    while left:
        ready = [stage for name, stage in left.items() if left.keys().isdisjoint(needs[name])]
        turn = _turn(ready, world)
        yield turn
        for stage in turn.stages:
            del left[stage.name]


def seconds_of_run(graph: Graph, seconds: Mapping[str, float], world: int) -> dict[str, float]:
    """How long each stage of a whole run takes so many processes, given how long it takes one."""
    needs = graph.kept(graph.asked_for())
    kept = [stage for stage in graph.of_a_run() if stage.name in needs]
    return {**seconds, **seconds_together(kept, needs, seconds, world)}


def seconds_together(
    stages: Sequence[Stage[Any]], needs: Needs, seconds: Mapping[str, float], world: int
) -> dict[str, float]:
    """How long each stage takes so many processes, given how long it takes one.

    Where each process makes other stages, all wait for the last one, in proportion to their own.
    """
    found: dict[str, float] = {}
    for turn in turns(stages, needs, world):
        alone = {stage.name: seconds.get(stage.name, 0.0) for stage in turn.stages}
        if turn.by_all:
            share = 1 / min(turn.stages[0].parts, world)
        else:
            spans = [sum(alone[s.name] for s in turn.of(rank, world)) for rank in range(world)]
            share = max(spans) / (sum(spans) or 1.0)
        found |= {name: share * value for name, value in alone.items()}
    return found


def _turn(ready: Sequence[Stage[Any]], world: int) -> Turn:
    """What to make next, of what can be made.

    A stage that can be divided is made by all, unless there is one of its sort for each process.
    What cannot be divided waits until nothing else is left, so that there is more of it to share.
    """
    alike: dict[str, list[Stage[Any]]] = {}
    for stage in ready:
        if stage.parts > 1:
            alike.setdefault(stage.sort or stage.name, []).append(stage)
    by_all = [stage for group in alike.values() for stage in group[: len(group) % world]]
    return Turn((by_all[0],), by_all=True) if by_all else Turn(tuple(ready), by_all=False)


def _make_by_all(run: Run, stage: Stage[Any], world: int) -> None:
    idle = world - stage.parts
    if idle > 0 and ranks.is_first():
        note(
            f"{stage.name} can be divided among {stage.parts} of the {world} processes; "
            f"{idle} {'have' if idle > 1 else 'has'} nothing to do in it"
        )
    run.take_part(stage.name)


def _looked_up(run: Run, names: Sequence[str], needs: Needs) -> tuple[list[str], list[str]]:
    """The stages that must be made, and those that they need and that are there.

    Rank 0 looks for them, and tells the others.
    """
    complete: dict[str, bool] = {}

    def walk(name: str) -> None:
        if name not in complete:
            complete[name] = run.is_there(name)
            for source in () if complete[name] else needs[name]:
                walk(source)

    def look() -> None:
        kept = [name for name in names if name in needs] or list(needs)
        for name in (*kept, *({"images"} & needs.keys())):  # every stage counts the images
            walk(name)

    ranks.first_does(look)
    told: dict[str, bool] = json.loads(ranks.all_say(json.dumps(complete))[0])
    return [n for n in told if not told[n]], [n for n in told if told[n]]
