"""Scores without labels: read from a run's folder, as text and on the page."""

from pathlib import Path

import pytest

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.report.label_free import (
    LabelFreeRow,
    LabelFreeScores,
    label_free_rows,
    label_free_text,
    weak_without_labels,
)
from decoct.report.page import write_report

EVIL = "<script>alert(1)</script>"
FOUND = {
    "none": (0.8, 40.0, 0.1),
    "random": (0.6, 30.0, 0.2),
    "carried": (0.4, 25.0, 0.3),
    "teacher": (0.0, 20.0, 1.0),
}


def save(folder: Path, **more: tuple[float, float, float]) -> Path:
    rows = [
        {"method": m, "seed": s, "error": e + s / 10, "rankme": r, "agreement": a}
        for m, (e, r, a) in {**FOUND, **more}.items()
        for s in range(2)
    ]
    path = folder / "label_free.json"
    storage.save_json(path, {"rows": rows, "left_out": 200}, kind="label-free")
    return path


def test_a_table_has_means_and_ranges(tmp_path: Path) -> None:
    found = LabelFreeScores.load(save(tmp_path))
    rows = label_free_rows(found)
    assert rows[0] == ["method", "error ↓", "RankMe ↑", "agreement ↑"]
    assert rows[3] == ["carried", "0.45 (0.40 to 0.50)", "25.0", "0.30"]
    text = label_free_text(found)
    assert "On 200 images left out; mean over 2 seeds" in text
    assert all(f"{name}: " in text for name in ("error", "RankMe", "agreement"))
    assert max(map(len, text.splitlines())) <= 100


def test_a_run_without_tasks_has_a_whole_report(tmp_path: Path) -> None:
    storage.save_json(tmp_path / "run.json", {"stages": {}, "seconds": {}}, kind="run")
    (tmp_path / "recipe.yaml").write_text("method: carried\n")
    save(tmp_path, **{EVIL: (0.5, 1.0, 0.1)})
    page = write_report(tmp_path).read_text("utf-8")
    assert "carried misses 45% of the teacher&#39;s variance, against 65% by random" in page
    assert "0.45 (0.40 to 0.50)" in page and '<tr class="ours"><th scope="row">carried' in page
    assert "contains no comparison" not in page
    assert EVIL not in page


@pytest.mark.parametrize(
    ("method", "error", "rankme", "said"),
    [
        ("teacher", 0.0, 2.0, "has collapsed"),
        ("none", 0.05, 40.0, "hardly better than an untrained network"),
        ("none", 0.5, 40.0, ""),
    ],
)
def test_a_teacher_without_content_is_said_to_be(
    method: str, error: float, rankme: float, said: str
) -> None:
    row = LabelFreeRow(method=method, seed=0, error=error, rankme=rankme, agreement=0.1)
    found = LabelFreeScores((row,), left_out=90)
    sentence = weak_without_labels(found)
    assert said in sentence and bool(said) == bool(sentence)
    assert ("--teacher.train" in label_free_text(found)) == bool(said)


def test_few_images_say_nothing_about_a_collapse() -> None:
    row = LabelFreeRow(method="teacher", seed=0, error=0.0, rankme=2.0, agreement=1.0)
    assert weak_without_labels(LabelFreeScores((row,), left_out=3)) == ""


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "label_free.json"
    storage.save_json(path, {"rows": [{"method": "x"}]}, kind="label-free")
    with pytest.raises(DecoctError, match=r"label_free.json: .*missing required field"):
        LabelFreeScores.load(path)
