"""What each method costs, and the tables that say so."""

from dataclasses import replace
from pathlib import Path

import pytest
import scipy.stats

from decoct.core import storage
from decoct.evaluation.scores import Score, Scores
from decoct.methods.registry import METHODS
from decoct.report.costs import Cost, cost_rows, costs
from decoct.report.table import columns, margin_rows, markdown, summary_rows, text_table
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.studies.compare import compare

FACTS = {
    "none": {},
    "random": {"images": 9, "bytes": 1_500, "steps": 20},
    "high-loss": {"images": 9, "bytes": 1_500, "steps": 20},
    "mkdt": {"images": 9, "bytes": 6_000_000, "steps": 20},
    "ssl-random": {"images": 9, "bytes": 900, "steps": 20},
    "full": {"images": 18_880, "bytes": 3_000_000_000, "steps": 41_960},
}
SECONDS = {
    "images": 1.0,
    "targets": 2.0,
    "experts": 30.0,
    "difficulty": 4.0,
    "random-seed0": 0.5,
    "random-seed1": 0.7,
    "mkdt-seed0": 100.0,
    "mkdt-seed1": 140.0,
    "encoder-mkdt-seed0": 3.0,
    "encoder-mkdt-seed1": 5.0,
    "encoder-random-seed0": 2.0,
    "encoder-ssl-random-seed0": 8.0,
    "encoder-full-seed0": 60.0,
    "encoder-full-seed10": 80.0,
    "probe-mkdt-seed0": 9.0,
    "tune-random-seed0": 7.0,
}
# What run.json says of mkdt that starts from the images of highest loss.
INPUTS = {
    "teacher": ["images"],
    "targets": ["images", "teacher"],
    "experts": ["images", "targets"],
    "difficulty": ["images", "targets", "experts"],
    "random-seed0": ["images", "targets"],
    "random-seed1": ["images", "targets"],
    "high-loss-seed0": ["images", "targets", "difficulty"],
    "mkdt-seed0": ["images", "targets", "experts", "high-loss-seed0"],
    "mkdt-seed1": ["images", "targets", "experts", "high-loss-seed0"],
    "encoder-mkdt-seed0": ["mkdt-seed0"],
}


def scores_of(accuracies: dict[str, list[float]], labels: tuple[str, ...] = ("5%",)) -> Scores:
    scores = (
        Score(method, seed, "a", label, 0, accuracy)
        for label in labels
        for method, own in accuracies.items()
        for seed, accuracy in enumerate(own)
    )
    return Scores(tuple(scores), {m: FACTS.get(m, {}) | same_steps(m) for m in accuracies})


def same_steps(method: str) -> dict[str, str]:
    """The facts of a method that repeats another one with fewer steps."""
    longer = METHODS[method].as_many_steps_as
    return {"as_many_steps_as": longer} if longer else {}


def test_costs_by_hand() -> None:
    found = {cost.method: cost for cost in costs(Scores((), FACTS), SECONDS, INPUTS)}
    assert list(found) == ["random", "high-loss", "mkdt", "ssl-random", "full"]  # what has any
    assert found["mkdt"] == Cost(
        method="mkdt",
        images=9,
        bytes=6_000_000,
        steps=20,
        shared_s=34.0,  # experts, and the difficulty that chooses what it starts from
        make_s=120.0,
        pretrain_s=4.0,
    )
    assert found["high-loss"].shared_s == 34.0
    assert found["high-loss"].make_s is found["high-loss"].pretrain_s is None
    assert found["random"].make_s == pytest.approx(0.6)
    assert found["random"].pretrain_s == 2.0
    assert found["random"].shared_s is None
    # ssl-random is not a seed of random's, nor seed 10 one of seed 1's.
    assert found["ssl-random"].pretrain_s == 8.0 and found["ssl-random"].make_s is None
    assert found["full"].pretrain_s == 70.0


def test_what_starts_from_random_images_needs_no_difficulty() -> None:
    inputs = {
        **INPUTS,
        "mkdt-seed0": ["images", "targets", "experts", "random-seed0"],
        "mkdt-seed1": ["images", "targets", "experts", "random-seed1"],
    }
    found = {cost.method: cost for cost in costs(Scores((), FACTS), SECONDS, inputs)}
    assert found["mkdt"].shared_s == 30.0
    assert found["high-loss"].shared_s == 34.0


def test_without_inputs_nothing_is_said_to_be_shared() -> None:
    """An old run.json has none."""
    found = costs(Scores((), FACTS), SECONDS)
    assert {cost.shared_s for cost in found} == {None}
    assert [cost.make_s for cost in found if cost.method == "mkdt"] == [120.0]


def test_a_runs_own_inputs_say_what_is_shared(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """From the stages of a real run, through its run.json: as `report` and `results` read it."""
    recipe = tiny_recipe.having(
        compare=replace(tiny_recipe.compare, methods=("random", "high-loss", "mkdt", "views"))
    )
    run = Run(recipe, tmp_path / "run")
    scores = compare(run)
    run.save_manifest()
    found = storage.load_json(tmp_path / "run/run.json", kind="run")
    seconds = dict.fromkeys(found["seconds"], 0.0)
    seconds |= {"targets": 1000.0, "experts": 30.0, "difficulty": 4.0, "assistant": 0.5}
    shared = {c.method: c.shared_s for c in costs(scores, seconds, found["inputs"])}
    assert recipe.mkdt.init == "high-loss"
    assert shared == {"random": None, "high-loss": 34.0, "mkdt": 34.0, "views": 0.5}


def test_costs_are_said_as_text() -> None:
    rows = cost_rows(costs(Scores((), FACTS), SECONDS, INPUTS))
    assert rows[0] == [
        "method",
        "images",
        "size",
        "steps",
        "shared, s",
        "to make, s",
        "to pre-train, s",
    ]
    assert rows[3] == ["mkdt", "9", "6.0 MB", "20", "34", "120", "4.0"]
    assert rows[5] == ["full", "18,880", "3.0 GB", "41,960", "", "", "70"]
    assert {len(row) for row in rows} == {7}
    assert cost_rows([]) == rows[:1]


# Tables on equal terms


EVERY = {
    "random": [40.0, 42.0],
    "mkdt": [43.0, 46.0],
    "full": [50.0, 52.0],
    "full-steps": [44.0, 46.0],
    "ssl-full": [30.0, 31.0],
    "ssl-full-steps": [20.0, 22.0],
}


def test_terms_are_all_scores_where_steps_were_not_made_equal() -> None:
    scores = scores_of({m: EVERY[m] for m in ("random", "mkdt", "full", "ssl-full")})
    assert scores.terms() == [("", scores)]


def test_on_equal_terms_the_full_data_is_what_it_says() -> None:
    scores = scores_of(EVERY)
    (steps_name, steps), (epochs_name, epochs) = scores.terms()
    assert (steps_name, epochs_name) == ("equal steps", "equal epochs")
    names = ["random", "mkdt", "full", "ssl-full"]
    assert list(dict.fromkeys(s.method for s in steps.scores)) == names
    assert list(dict.fromkeys(s.method for s in epochs.scores)) == names
    assert steps.by_seed("full", "5%") == {0: 44.0, 1: 46.0}
    assert steps.by_seed("ssl-full", "5%") == {0: 20.0, 1: 22.0}
    assert epochs.by_seed("full", "5%") == {0: 50.0, 1: 52.0}
    for part in (steps, epochs):
        assert part.by_seed("mkdt", "5%") == scores.by_seed("mkdt", "5%")
    # (44.5 - 41) of the way from random to the full data: to 45, or to 51.
    gaps = [{r.method: r.gap_recovered for r in p.table()}["mkdt"].mean for p in (steps, epochs)]
    assert gaps == pytest.approx([3.5 / 4, 3.5 / 10])


@pytest.mark.parametrize("epochs, name", [(20, "equal epochs"), (6, "own epochs")])
def test_epochs_are_called_equal_where_they_are(epochs: int, name: str) -> None:
    scores = scores_of(EVERY)
    facts = scores.facts | {"random": {"epochs": 20}, "full": {"epochs": epochs}}
    assert [found for found, _ in Scores(scores.scores, facts).terms()] == ["equal steps", name]


def test_facts_go_with_their_scores() -> None:
    scores = scores_of(EVERY)
    shorter = {"steps": 1200, "images": 18_880} | same_steps("full-steps")
    facts = {**scores.facts, "full-steps": shorter}
    steps, epochs = (part for _, part in Scores(scores.scores, facts).terms())
    assert steps.facts["full"] == {"steps": 1200, "images": 18_880}
    assert epochs.facts["full"] == FACTS["full"]
    assert "full-steps" not in {**steps.facts, **epochs.facts}


def test_margins_are_paired_by_seed() -> None:
    header, *lines, size = margin_rows(scores_of(EVERY), "mkdt")
    assert header == ["mkdt over", "5%"]
    by_method = dict(lines)
    assert "mkdt" not in by_method and size[0] == "smallest detectable"
    # 3 and 4 over random, so 3.5 and half an interval of t(0.975, 1) * 0.5 = 6.35: within noise
    assert by_method["random"] == "+3.5 ± 6.4~"
    # 23 and 24 over ssl-full-steps: the same noise, but far from none
    assert by_method["ssl-full-steps"] == "+23.5 ± 6.4"


def test_a_runs_own_method_is_set_against_the_others() -> None:
    scores = scores_of({m: EVERY[m] for m in ("random", "ssl-full", "mkdt")})
    title = "mkdt over the others, mean over tasks (~ within noise)"
    assert f"{title}\n{columns(margin_rows(scores, 'mkdt'))}\n" in text_table(scores, "mkdt")
    # against random alone it has been said; a method that was not compared has nothing to say
    alone = scores_of({m: EVERY[m] for m in ("random", "mkdt")})
    for found, method in ((scores, "random"), (scores, "carried"), (alone, "mkdt")):
        assert "over the others" not in text_table(found, method)


def test_without_a_longer_method_there_are_no_terms_of_epochs() -> None:
    scores = scores_of({m: EVERY[m] for m in ("random", "full-steps")})
    ((name, steps),) = scores.terms()
    assert name == "equal steps"
    assert steps.by_seed("full", "5%") == {0: 44.0, 1: 46.0}


def test_the_summary_is_each_methods_difference_by_labels() -> None:
    scores = Scores(
        scores_of({"random": [40.0, 40.0, 40.0], "mkdt": [42.0, 42.1, 41.9]}).scores
        + scores_of({"random": [50.0, 50.0, 50.0], "mkdt": [51.0, 48.0, 53.0]}, ("20%",)).scores
    )
    header, mkdt, size = summary_rows(scores)
    assert header == ["over random", "5%", "20%", "mean"]
    assert mkdt[3].startswith("+1.3")  # (2 + 2/3) / 2, paired by seed
    assert mkdt[0] == "mkdt"
    assert mkdt[1].startswith("+2.0") and not mkdt[1].endswith(("~", "?"))
    assert mkdt[2].startswith("+0.7") and mkdt[2].endswith("~")  # the interval includes 0
    # Differences of 2.0, 2.1 and 1.9 have an error of 0.1 / sqrt(3).
    quantiles = scipy.stats.t.ppf([0.975, 0.8], 2).sum()
    assert size[:2] == ["smallest detectable", f"{quantiles * 0.1 / 3**0.5:.1f}"]
    (_, alone) = summary_rows(scores_of({"random": [40.0], "mkdt": [39.0]}))
    assert alone[1].startswith("-1.0") and alone[1].endswith("?")


def test_without_random_there_is_nothing_to_sum_up() -> None:
    assert summary_rows(scores_of({"mkdt": [42.0], "full": [44.0]})) == [["over random", "5%"]]


def test_the_text_has_both_terms_and_both_summaries() -> None:
    text = text_table(scores_of(EVERY, ("5%", "10 a class")))
    for title in (
        "5% of the labels, equal steps",
        "10 labels a class, equal steps",
        "5% of the labels, equal epochs",
        "10 labels a class, equal epochs",
        "difference to random, mean over tasks, equal steps (~ within noise)",
        "difference to random, mean over tasks, equal epochs (~ within noise)",
    ):
        assert text.count(title) == 1, title
    assert text.count("smallest detectable difference to random: ") == 4  # below each table
    assert text.count("smallest detectable  ") == 2
    assert "full-steps" not in text  # by the name of what it is equal to
    plain = text_table(scores_of({m: EVERY[m] for m in ("random", "mkdt")}))
    assert "equal" not in plain and "difference to random, mean" not in plain


def test_columns_line_up() -> None:
    lines = columns([["method", "a", "b"], ["x", "10,000", ""], ["longest-of-all", "1", "2"]])
    first, second, third = lines.split("\n")
    assert first.index("a") == second.index("10,000") == third.index("1")
    assert first.index("b") == third.index("2")
    assert not second.endswith(" ")


def test_markdown_has_as_many_bars_in_every_line() -> None:
    lines = markdown(cost_rows(costs(Scores((), FACTS), SECONDS))).split("\n")
    assert {line.count("|") for line in lines} == {8}
    assert lines[1] == "| " + " | ".join(["---"] * 7) + " |"
    assert len(lines) == 7
