"""What a run is about, in two sentences and a few numbers."""

from rich.filesize import decimal as size_text

from decoct.artefacts.distilled import DistilledSet
from decoct.report.contents import Contents
from decoct.report.duration import duration
from decoct.report.verdicts import Comparison, headline

Card = tuple[str, str, str]  # name, number, remark


def lede(contents: Contents) -> str:
    """What the run made, by its own method, and what the page shows."""
    own = own_set(contents)
    if own is None:
        made = "This run compares ways to choose a few images on which to pre-train a network"
    else:
        source = own.provenance.get("images") or (contents.pool.name if contents.pool else "")
        pool = f"the unlabelled images of {source}" if source else "unlabelled images"
        made = (
            f"From {pool}, decoct {_made(own)}, so that a network pre-trained on these few images "
            "learns what it would learn from all"
        )
    shown = ["the images", "how they were learnt"] * bool(contents.sets) + _judged(contents)
    *first, last = shown or [""]
    listed = ", ".join(first) + (", and " if len(first) > 1 else " and ") * bool(first) + last
    return f"{made}. Below are {listed}." if shown else f"{made}."


def own_set(contents: Contents) -> DistilledSet | None:
    """The first set of the recipe's own method, or of the first that made one."""
    return next((found for sets in contents.sets.values() for found in sets.values()), None)


def _made(own: DistilledSet) -> str:
    if own.labeller is not None:
        kept = "with a small network that labels fresh views of them while training"
        return f"kept {len(own.images)} images {kept}"
    if own.views is not None:
        kept = f"in {own.views_each} views each, with targets of their own"
        return f"kept {len(own.images)} images {kept}"
    if own.is_real:
        return f"kept {len(own.images)} of them, chosen by {own.method}"
    return f"distilled a set of {len(own)} synthetic ones"


def _judged(contents: Contents) -> list[str]:
    """What the encoders are judged by."""
    if contents.scores and contents.scores.scores:
        return [
            "the accuracies of linear classifiers that use such a network's features and few "
            "labels, with baselines for comparison"
        ]
    return ["what such a network's features are worth without any label"] * bool(
        contents.label_free
    )


def glance(contents: Contents, compared: list[Comparison]) -> list[Card]:
    """The key numbers."""
    cards: list[Card] = []
    if own := own_set(contents):
        what = "real images, kept" if own.is_real else "synthetic images"
        size = f"{own.size} × {own.size} pixels, {size_text(own.bytes)}"
        cards.append((what, f"{len(own.images):,}", size))
    cards += [card for comparison in compared for card in headline(comparison, contents.hero)]
    if contents.seconds:
        parts = len(contents.seconds)
        cards.append(("time", duration(sum(contents.seconds.values())), f"{parts} stages"))
    return cards
