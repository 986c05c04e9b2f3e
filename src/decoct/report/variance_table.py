"""The findings as tables for a terminal, and in words."""

from decoct.report.table import columns
from decoct.studies.variance.findings import SOURCES, Findings, Variance
from decoct.studies.variance.gradient_variance import Noise, compare_noise
from decoct.studies.variance.spread import Spread


def variance_text(variance: Variance) -> str:
    """All tables, the verdicts, and the notes."""
    parts = [_by_batch(variance), _by_epoch(variance), _spread(variance), _matching(variance)]
    said = [f"  {name}: {text}" for name, text in verdicts(variance)]
    if said:
        parts.append("\n".join(["Compared with distillation's noise-to-signal (95 %):", *said]))
    return "\n\n".join(parts + [f"Note: {text}" for text in variance.notes])


def verdicts(variance: Variance) -> list[tuple[str, str]]:
    """Where each objective's gradient is noisier than distillation's; empty without the latter."""
    reference = variance.named("distillation")
    if reference is None:
        return []
    others = [found for found in variance.findings if found is not reference]
    return [(label(found.name), _verdict(found, reference)) for found in others]


def _verdict(found: Findings, reference: Findings) -> str:
    places: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for at in found.noise:
        other = reference.at(at.source, at.epoch, at.batch)
        if at.source == "batches" and other is not None:
            places[compare_noise(at.noise, other)].append(f"epoch {at.epoch}, batch {at.batch}")
    total = sum(map(len, places.values()))
    if not total:
        return "not measured for a common batch size"
    said = []
    for sign, word in ((1, "above"), (-1, "below"), (0, "undecided")):
        if len(places[sign]) == total:
            return f"{word} at all {total} points and batch sizes"
        if places[sign]:
            listed = f" ({'; '.join(places[sign])})" if len(places[sign]) <= 3 else ""
            said.append(f"{word} at {len(places[sign])} of {total}{listed}")
    return ", ".join(said)


def label(name: str) -> str:
    """An objective's name for display.

    >>> label("barlow_twins")
    'barlow twins'
    """
    return name.replace("_", " ")


def number(value: float) -> str:
    """Three significant digits.

    >>> number(1234.5), number(0.01234), number(float("inf"))
    ('1230', '0.0123', 'inf')
    """
    return f"{float(f'{value:.3g}'):.10g}"


def _by_batch(variance: Variance) -> str:
    first = variance.epochs[0]
    rows = [["objective", *(str(b) for b in variance.batches)]]
    for found in variance.findings:
        cells = [_with_interval(found.at("batches", first, b)) for b in variance.batches]
        rows.append([label(found.name), *cells])
    title = f"Noise-to-signal of the gradient after {_epochs(first)}, by batch size (95 % interval)"
    return f"{title}\n{columns(rows)}"


def _by_epoch(variance: Variance) -> str:
    batch = variance.reference
    header = ["objective"]
    for epoch in variance.epochs:
        header += [f"epoch {epoch}", "cosine", "of views"]
    rows = [header]
    for found in variance.findings:
        cells = [label(found.name)]
        for epoch in variance.epochs:
            whole = found.at("batches", epoch, batch)
            cosine = f"{whole.cosine:.2f}" if whole else ""
            cells += [_with_interval(whole), cosine, _share(found, epoch, batch)]
        rows.append(cells)
    title = (
        f"The same at batch {batch}, by epoch of training; the mean cosine of two gradients;\n"
        "and the share of tr Cov that the views of one batch account for"
    )
    return f"{title}\n{columns(rows)}"


def _spread(variance: Variance) -> str:
    epochs = [s.epoch for s in variance.findings[0].spread]
    rows = [["objective", "lr", "loss by epoch", *(f"epoch {e}" for e in epochs), "cosine"]]
    for found in variance.findings:
        cells = [_with_half_width(s) for s in found.spread]
        losses = " ".join(map(number, found.losses))
        rows.append(
            [label(found.name), number(found.lr), losses, *cells, f"{found.spread[-1].cosine:.3f}"]
        )
    title = "Spread of trajectories from one start; the last epoch's mean cosine of displacements"
    return f"{title}\n{columns(rows)}"


def _matching(variance: Variance) -> str:
    rows = [["objective", "at first", "at last", "last / first", "images moved"]]
    for found in variance.findings:
        matching = found.matching
        rows.append(
            [
                label(found.name),
                number(matching.first),
                number(matching.last),
                number(matching.ratio),
                number(matching.moved),
            ]
        )
    count = len(variance.findings[0].matching.loss)
    learnt = "learnt too" if variance.targets_learnt else "fixed"
    title = (
        f"Matching loss over {count} iterations (images by {variance.optimiser}, targets {learnt}),"
        "\nand the root mean square change of a pixel, in standard deviations of the images"
    )
    return f"{title}\n{columns(rows)}"


def _with_interval(noise: Noise | None) -> str:
    if noise is None:
        return ""
    low, high = noise.interval()
    return f"{number(noise.ratio)} ({number(low)} to {number(high)})"


def _with_half_width(spread: Spread) -> str:
    half = f" ± {number(spread.half_width)}" if spread.runs > 2 else ""
    return number(spread.ratio) + half


def _share(found: Findings, epoch: int, batch: int) -> str:
    """The share of tr Cov that the views of one batch account for."""
    whole, views = (found.at(source, epoch, batch) for source in SOURCES)
    return f"{views.trace / whole.trace:.2f}" if views and whole and whole.trace else ""


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"
