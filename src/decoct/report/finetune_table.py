"""Fine-tuning beside the linear probe, as a table."""

from decoct.evaluation.finetune import PROBE, TUNED
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import Scores
from decoct.report.table import columns, labels_phrase, resampled


def finetune_text(scores: Scores) -> str:
    """Both accuracies on every choice of labels, and their difference in pairs."""
    (task,), labels = scores.tasks(), scores.labels()
    rows = [[task, *map(labels_phrase, labels)]]
    for method in (PROBE, TUNED):
        rows.append([method, *(str(scores.row(method, choice).accuracy) for choice in labels)])
    rows.append(["difference", *(_difference(scores.over(TUNED, PROBE, c)) for c in labels)])
    seeds, draws = len({s.seed for s in scores.scores}), len({s.draw for s in scores.scores})
    return (
        f"{columns(rows)}\n\naccuracy in per cent on all test images, mean over "
        f"{seeds * draws} draws of the labels ± half the 95 % interval\n({resampled(seeds)}); "
        "difference in pairs of the same labels"
    )


def _difference(over: Interval | None) -> str:
    assert over is not None  # both saw the same draws
    return over.signed() + " (within noise)" * (not over.excludes_zero)
