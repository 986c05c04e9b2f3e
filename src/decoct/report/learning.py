"""The learning curves of a run, in the order in which its own set was made."""

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from decoct.artefacts.distilled import DistilledSet
from decoct.report.contents import Contents
from decoct.report.plots import curves

Curve = tuple[str, str, Markup]  # title, explanation and plot

_MATCHING = (
    "How far from an expert a student ends that trains on the synthetic images; 1 means that it is "
    "no nearer than at the start."
)


def learning_curves(contents: Contents) -> Iterator[Curve]:
    """The curves that there are: of the teacher, the assistant, and the sets that were learnt."""
    if contents.teacher.losses:
        text = "The self-supervised loss of the teacher that was trained in this run."
        yield _by_epoch("The teacher’s loss", text, contents.teacher.losses)
    if contents.assistant_losses:
        text = "How far the small network that labels views is from the teacher, while it learns."
        yield _by_epoch("The assistant’s loss", text, contents.assistant_losses)
    for method, sets in contents.sets.items():
        yield from _of_sets(method, sets)


def _by_epoch(title: str, text: str, losses: tuple[float, ...]) -> Curve:
    return title, text, curves({"": losses}, title=title, x="epoch", y="loss")


def _of_sets(method: str, sets: Mapping[int, DistilledSet]) -> Iterator[Curve]:
    """What a method's sets recorded while they were learnt, for all seeds."""
    losses, rates = (_series(sets, key) for key in ("loss", "lr"))
    if losses:
        matched = bool(rates)  # only students that take steps have a rate
        title = f"{method}: the {'matching ' * matched}loss"
        text = _MATCHING if matched else "The loss that the synthetic images are learnt by."
        yield title, text, curves(losses, title=title, x="iteration", y="loss", smooth=True)
    if rates:
        title = f"{method}: the learnt learning rate"
        text = (
            "The rate of the student’s gradient descent, learnt together with images and targets."
        )
        yield title, text, curves(rates, title=title, x="iteration", y="learning rate")


def _series(sets: Mapping[int, DistilledSet], key: str) -> dict[str, list[float]]:
    return {
        f"seed {seed}": found.history[key].tolist()
        for seed, found in sets.items()
        if len(found.history.get(key, ()))
    }
