"""One comparison of every method there is: the tables on equal terms, the costs, the report."""

import html
from pathlib import Path

import pytest
import yaml

from decoct.cli import main
from decoct.core import storage
from decoct.evaluation.scores import Scores
from decoct.methods.real_images import RealImages
from decoct.methods.registry import METHODS
from decoct.methods.ssl_random import SSLRandom
from decoct.report.costs import cost_rows, costs
from decoct.report.page import write_report
from decoct.report.table import columns
from decoct.run.recipe import Recipe

TRAINED = tuple(name for name, kind in METHODS.items() if kind.keeps_encoder)
SETS = tuple(name for name, kind in METHODS.items() if kind.makes_set)
SUBSETS = tuple(name for name, kind in METHODS.items() if issubclass(kind, RealImages))
SYNTHETIC = tuple(name for name, kind in METHODS.items() if kind.synthetic)
ON_ALL = tuple(name for name, kind in METHODS.items() if kind.whole_pool)
# They take more steps, so they are compared at equal epochs.
LONGER = ("views", "full-views", "boost-ssdd")
SSL_METHODS = tuple(name for name, kind in METHODS.items() if issubclass(kind, SSLRandom))


@pytest.fixture
def said(tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `decoct compare` prints, with a teacher of its own."""
    path = tmp_path / "mine.yaml"
    content = yaml.safe_load(path.read_text())
    ssl = {"network": {"name": "resnet10-small", "width": 4}, "epochs": 1, "warm_up": 0}
    content["teacher"] = {"train": True, "ssl": ssl | {"batch": 8, "projector": 8}}
    content["targets"] = {"components": 4}
    content["compare"]["methods"] = list(METHODS)
    path.write_text(yaml.safe_dump(content))
    assert main(["compare", str(path), "--out", str(tmp_path / "run")]) == 0
    return capsys.readouterr().out


def lines_under(text: str, title: str) -> list[list[str]]:
    """The words of each cell of the table below a title, without its header and its notes."""
    (found,) = [part for part in text.split("\n\n") if part.strip().startswith(title)]
    notes = ("gap recovered is blank", "differences come from one seed")
    return [line.split() for line in found.strip().split("\n")[2:] if not line.startswith(notes)]


def test_every_method_is_compared_on_equal_terms_and_priced(said: str, tmp_path: Path) -> None:
    scores = Scores.load(tmp_path / "run/scores.json")
    assert {s.method for s in scores.scores} == set(METHODS)
    assert scores.labels() == ["30%", "60%"] and scores.tasks() == ["stripes"]
    assert all(0 <= s.accuracy <= 100 for s in scores.scores)

    # Small sets are of one size, and everything on equal steps takes as many as they do.
    steps = {method: facts.get("steps") for method, facts in scores.facts.items()}
    small = {*SUBSETS, *SYNTHETIC} - set(LONGER)
    assert {steps[m] for m in (*small, "full-steps", "ssl-full-steps")} == {4}
    assert steps["views"] == 2 * 7  # two epochs of 9 x 3 views, in fours
    assert steps["boost-ssdd"] == 2 * 29  # two epochs of 29 x 4 views, in fours
    assert steps["full"] == 3 * 8 and steps["none"] is steps["teacher"] is None
    images = {method: facts.get("images") for method, facts in scores.facts.items()}
    assert {images[m] for m in (*SETS, "ssl-random") if m != "boost-ssdd"} == {9}
    assert images["boost-ssdd"] == 29  # which take the bytes of 9
    plain = scores.facts["krr-st"]["bytes"]
    assert 0.9 * plain < scores.facts["boost-ssdd"]["bytes"] <= plain
    assert {images[m] for m in ON_ALL} == {30}

    # All images have three epochs, small sets two. Both tables hold the same names, and each has
    # its own full data.
    shown = [m for m in METHODS if m not in ("full-steps", "ssl-full-steps")]
    for labels in ("30% of the labels", "60% of the labels"):
        on_steps = lines_under(said, f"{labels}, equal steps")
        on_epochs = lines_under(said, f"{labels}, own epochs")
        assert sorted(line[0] for line in on_steps) == sorted(m for m in shown if m not in LONGER)
        assert [line[0] for line in on_epochs] == shown
        taken = [{line[0]: line[2] for line in part} for part in (on_steps, on_epochs)]
        assert [part["full"] for part in taken] == ["4", "24"]
        assert [part["mkdt"] for part in taken] == ["4", "4"]
    for terms in ("equal steps", "own epochs"):
        title = f"difference to random, mean over tasks, {terms}"
        rows = lines_under(said, title)
        left = {"random", *LONGER} if terms == "equal steps" else {"random"}
        assert sorted(row[0] for row in rows) == sorted(m for m in shown if m not in left)
        for row in rows:  # of one seed: every difference and its half-width end with a mark
            assert [cell.endswith("?") for cell in row[1:]] == [False, False, True] * 3

    # The costs are the report's too.
    priced = lines_under(said, "what each method costs")
    assert [line[0] for line in priced] == [m for m in METHODS if m in (*TRAINED, "assistant")]
    manifest = storage.load_json(tmp_path / "run/run.json", kind="run")
    found = costs(scores, manifest["seconds"], manifest["inputs"])
    rows = cost_rows(found)
    assert columns(rows) in said
    by_method = {cost.method: cost for cost in found}
    assert all(by_method[m].pretrain_s is not None for m in TRAINED)
    made = {m for m in TRAINED if by_method[m].make_s is not None}
    assert made == set(SETS)
    assert {m for m in TRAINED if by_method[m].shared_s} == {
        "carried",
        "carried-mkdt",
        "carried-random",
        "noise",
        "high-loss",
        "mkdt",
        "mtt-ssl",
        "views",
    }
    assert all(by_method[m].bytes for m in TRAINED)
    # Without targets, only the pixels are kept.
    assert all(by_method[m].bytes == images[m] * 3 * 16 * 16 for m in SSL_METHODS)

    page = write_report(tmp_path / "run").read_text("utf-8")
    for terms in ("equal steps", "own epochs"):
        assert f"30% of the labels, {terms}" in page
    for cell in rows[0]:
        assert f'<th scope="col">{cell}</th>' in page
    for row in rows[1:]:
        assert f'<th scope="row">{row[0]}</th>' in page
    for kind in METHODS.values():
        assert html.escape(kind.summary) in page and html.escape(kind.paper) in page
