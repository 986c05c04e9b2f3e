"""Tuning tries one grid for every method on held-out pool images, and runs each trial once."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from decoct.cli import main
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.evaluation.target_probe import target_probe_error
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.tune import Trial, TuneConfig, Tuning, tune, tuned, tuning_rows

HUGE = 1e30  # a factor with which nothing converges
CONFIG = TuneConfig(lr_factors=(0.5, HUGE), epochs=(1, 2), methods=("random", "ssl-random"))


def trials(**errors: dict[tuple[float, int], float]) -> Tuning:
    """By method; by rate and epochs."""
    return Tuning(
        tuple(Trial(m, rate, n, e) for m, own in errors.items() for (rate, n), e in own.items())
    )


def files(folder: Path) -> dict[Path, int]:
    """The modification time of each file that a second call should reuse."""
    return {f: f.stat().st_mtime_ns for f in folder.glob("*/*") if f.is_file()}


def test_every_trial_is_the_pool_error_of_what_it_pre_trains(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    tuning = tune(recipe=tiny_recipe, folder=tmp_path / "run", config=CONFIG)
    cells = [(t.method, t.lr_factor, t.epochs) for t in tuning.trials]
    expected = {(m, r, e) for m in CONFIG.methods for r in CONFIG.lr_factors for e in CONFIG.epochs}
    assert set(cells) == expected and len(cells) == 8
    for trial in tuning.trials:
        if trial.lr_factor == HUGE:
            assert trial.error == math.inf or trial.error > 0.9  # diverged, or says nothing
            continue
        pretraining = replace(tiny_recipe.pretrain, lr_factor=trial.lr_factor, epochs=trial.epochs)
        run = Run(replace(tiny_recipe, pretrain=pretraining), tmp_path / "other")
        known, left_out = run.split
        assert trial.error == target_probe_error(
            encoder=run.pretrained(trial.method, 0),
            images=run.pool,
            targets=run.pool_targets,
            known=known,
            left_out=left_out,
        )
    diverged = [t for t in tuning.trials if t.method == "random" and t.lr_factor == HUGE]
    assert all(t.error == math.inf for t in diverged)
    assert tuning.best("random").lr_factor == 0.5
    assert Tuning.load(tmp_path / "run/tuning.json") == tuning


def test_every_trial_is_found_again(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, methods=("random",))
    first = tune(recipe=tiny_recipe, folder=tmp_path / "run", config=config)
    written = files(tmp_path / "run")
    trained: list[float] = []
    real: Callable[..., Any] = Run.pretrained

    def count(run: Run, method: str, seed: int, **more: Any) -> Any:
        trained.append(run.recipe.pretrain.lr_factor)
        return real(run, method, seed, **more)

    monkeypatch.setattr(Run, "pretrained", count)
    assert tune(recipe=tiny_recipe, folder=tmp_path / "run", config=config) == first
    assert files(tmp_path / "run") == written and not trained
    # A wider grid makes what is new in it, and no more.
    wider = replace(config, lr_factors=(*config.lr_factors, 2.0))
    found = tune(recipe=tiny_recipe, folder=tmp_path / "run", config=wider)
    assert trained == [2.0, 2.0]
    assert set(first.trials) < set(found.trials)
    assert written.items() <= files(tmp_path / "run").items()


def test_a_trial_depends_on_the_targets_that_it_is_judged_by(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """This holds even if the encoder is trained without a teacher."""
    config = TuneConfig(lr_factors=(1.0,), epochs=(1,), methods=("ssl-random",))
    fewer = replace(tiny_recipe, targets=replace(tiny_recipe.targets, components=1))
    one, other = (
        tune(recipe=r, folder=tmp_path / "run", config=config) for r in (tiny_recipe, fewer)
    )
    assert one.trials[0].error != other.trials[0].error
    assert other == tune(recipe=fewer, folder=tmp_path / "alone", config=config)


def test_the_error_is_the_mean_over_seeds(tiny_recipe: Recipe, tmp_path: Path) -> None:
    def error(seed: int, seeds: int) -> float:
        config = TuneConfig(lr_factors=(1.0,), epochs=(1,), seeds=seeds, methods=("random",))
        # A trial's seed is its encoder's; the recipe's seed decides which images are held out.
        recipe = replace(tiny_recipe, seed=seed)
        return tune(recipe=recipe, folder=tmp_path / "run", config=config).trials[0].error

    alone = error(0, 1)
    run = Run(replace(tiny_recipe, pretrain=replace(tiny_recipe.pretrain, epochs=1)), tmp_path)
    second = target_probe_error(
        encoder=run.pretrained("random", 1),
        images=run.pool,
        targets=run.pool_targets,
        known=run.split[0],
        left_out=run.split[1],
    )
    assert error(0, 2) == pytest.approx((alone + second) / 2, rel=1e-12)


def test_processes_side_by_side_find_the_same(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TuneConfig(lr_factors=(0.5, 1.0), epochs=(1,), seeds=2, methods=("random",))
    alone = tune(recipe=tiny_recipe, folder=tmp_path / "alone", config=config)

    def refuse(*arguments: object) -> None:
        raise AssertionError("a worker has done this")

    monkeypatch.setattr(Run, "pretrained", refuse)
    shared = tune(recipe=tiny_recipe, folder=tmp_path / "shared", config=config, jobs=2)
    assert [replace(t, error=0) for t in shared.trials] == [
        replace(t, error=0) for t in alone.trials
    ]
    assert [t.error for t in shared.trials] == pytest.approx(
        [t.error for t in alone.trials], rel=1e-3
    )


def test_the_recipes_own_factors_do_not_count(tiny_recipe: Recipe, tmp_path: Path) -> None:
    config = TuneConfig(lr_factors=(1.0,), epochs=(1,), methods=("random",))
    own = replace(
        tiny_recipe,
        pretrain=replace(tiny_recipe.pretrain, lr_factor=3.0),
        compare=replace(tiny_recipe.compare, lr_factors={"random": 4.0}),
    )
    found = [tune(recipe=r, folder=tmp_path / "run", config=config) for r in (tiny_recipe, own)]
    assert found[0] == found[1]


def test_without_names_it_tunes_what_is_compared_on_a_small_budget(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    methods = ("none", "random", "full", "full-steps", "teacher")
    recipe = replace(tiny_recipe, compare=replace(tiny_recipe.compare, methods=methods))
    config = TuneConfig(lr_factors=(1.0,), epochs=(1,))
    found = tune(recipe=recipe, folder=tmp_path / "run", config=config)
    assert found.methods() == ["random", "full-steps"]
    nothing = replace(recipe, compare=replace(recipe.compare, methods=("none", "full")))
    with pytest.raises(DecoctError, match="names nothing that is tuned"):
        tune(recipe=nothing, folder=tmp_path / "run", config=config)


# What is refused


@pytest.mark.parametrize("holdout", [0.0, 0.01, 0.03])  # of 40: none, none, one
def test_it_needs_images_left_out(
    holdout: float, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "pretrained", lambda *arguments: pytest.fail("trained in vain"))
    recipe = replace(tiny_recipe, images=replace(tiny_recipe.images, holdout=holdout))
    with pytest.raises(DecoctError, match=r"are held out.*raise images\.holdout"):
        tune(recipe=recipe, folder=tmp_path / "run", config=CONFIG)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"methods": ("rnadom",)}, "'rnadom' is unknown; perhaps you meant random?"),
        ({"methods": ("full",)}, "method 'full' is unknown"),  # trained as long as one says
        ({"methods": ("none",)}, "method 'none' is unknown"),
        ({"lr_factors": ()}, "tune.lr_factors is (); it must be a list of at least 1"),
        ({"epochs": ()}, "tune.epochs is (); it must be a list of at least 1"),
        ({"seeds": 0}, "tune.seeds is 0; it must be at least 1"),
        ({"lr_factors": (1.0, 0.0)}, "tune.lr_factors is 0; it must be above 0"),
        ({"epochs": (0, 5)}, "tune.epochs is 0; it must be at least 1"),
    ],
)
def test_bad_grids_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DecoctError) as caught:
        TuneConfig(**settings)
    assert sentence in str(caught.value)


def test_what_is_tuned_is_what_pre_trains_as_the_small_sets_do() -> None:
    assert set(tuned()).isdisjoint({"none", "full", "ssl-full", "teacher"})
    assert {"random", "mkdt", "mtt-ssl", "krr-st", "ssl-random", "full-steps"} < set(tuned())


# What it says


def test_the_baseline_chooses_the_length() -> None:
    tuning = trials(
        mkdt={(1, 10): 0.1, (1, 20): 0.3}, random={(1, 10): 0.5, (2, 10): 0.6, (2, 20): 0.4}
    )
    assert tuning.epochs() == 20
    assert tuning.best("mkdt").epochs == 10
    assert tuning.lr_factors(20) == {"mkdt": 1, "random": 2}


def test_without_it_the_least_mean_does() -> None:
    tuning = trials(a={(1, 10): 0.5, (2, 10): 0.1, (1, 20): 0.3}, b={(1, 10): 0.5, (1, 20): 0.4})
    assert tuning.epochs() == 10  # means of the best rates: 0.3 and 0.35
    diverged = trials(a={(1, 10): math.inf, (1, 20): 0.9}, b={(1, 10): 0.1, (1, 20): 0.9})
    assert diverged.epochs() == 20


def test_of_equal_trials_the_first_is_taken() -> None:
    """Shorter before longer, in the order of the grid: a run costs no more than it must."""
    tuning = trials(random={(2, 10): 0.5, (1, 10): 0.5, (1, 20): 0.5})
    assert tuning.best("random") == Trial("random", 2, 10, 0.5)
    assert tuning.epochs() == 10
    nothing = trials(random={(1, 10): math.inf, (2, 20): math.inf})
    assert nothing.epochs() == 10 and nothing.lr_factors(10) == {"random": 1}


def test_it_is_kept_as_json_that_others_can_read(tmp_path: Path) -> None:
    tuning = trials(random={(1, 10): math.inf, (2, 10): 0.5})
    tuning.save(tmp_path / "tuning.json")
    text = (tmp_path / "tuning.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(text, parse_constant=refuse)
    assert Tuning.load(tmp_path / "tuning.json") == tuning
    (tmp_path / "tuning.json").write_text(text.replace("0.5", "0.1"))
    with pytest.raises(DecoctError, match="damaged"):
        Tuning.load(tmp_path / "tuning.json")


def test_rows_by_hand() -> None:
    tuning = trials(
        random={(1, 10): 0.5, (2, 10): 0.25, (1, 20): 0.125, (2, 20): math.inf},
        mkdt={(1, 10): 0.2, (2, 10): 0.3, (1, 20): 0.5, (2, 20): 0.4},
    )
    assert tuning_rows(tuning) == [
        ["method", "10 epochs", "20 epochs", "best", "lr at 20 epochs"],
        ["random", "0.250 (x 2)", "0.125 (x 1)", "20 epochs, x 1", "x 1"],
        ["mkdt", "0.200 (x 1)", "0.400 (x 2)", "10 epochs, x 1", "x 2"],
    ]


# The verb


def test_the_verb_prints_what_a_recipe_takes(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "mine.yaml", tmp_path / "run"
    flags = ["--tune.lr-factors", "1", "2", "--tune.epochs", "1", "2", "--out", str(out)]
    methods = ["--tune.methods", "random", "ssl-random"]
    assert main(["tune", str(path), *flags, *methods]) == 0
    said = capsys.readouterr().out
    tuning = Tuning.load(out / "tuning.json")
    for line in tuning_rows(tuning):
        assert all(cell in said for cell in line)
    advice = yaml.safe_load(said.split("for the recipe:\n")[1])
    content = yaml.safe_load(path.read_text())
    for section, settings in advice.items():
        content[section] |= settings
    path.write_text(yaml.safe_dump(content))
    recipe = load_recipe(path)
    assert recipe.pretrain.epochs == tuning.epochs()
    for method in ("random", "ssl-random"):
        assert (
            recipe.pretraining(method).lr_factor == tuning.best(method, tuning.epochs()).lr_factor
        )
        # Pre-training as it says is what was tried.
        run = Run(recipe, tmp_path / "other")
        error = target_probe_error(
            encoder=run.pretrained(method, 0),
            images=run.pool,
            targets=run.pool_targets,
            known=run.split[0],
            left_out=run.split[1],
        )
        assert error == tuning.best(method, tuning.epochs()).error


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--images.holdout", "0"], "0 pool images are held out"),
        (["--tune.methods", "mdkt"], "perhaps you meant mkdt?"),
        (["--tune.lr-factors", "-1"], "tune.lr_factors is -1; it must be above 0"),
    ],
)
def test_the_verb_says_what_is_wrong(
    flags: list[str],
    sentence: str,
    tiny_recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = ["tune", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run")]
    try:
        status: Any = main([*common, *flags])
    except SystemExit as stop:  # by the flags' parser
        status = stop.code
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said
    assert sentence in " ".join(said.split())


def test_divergence_in_the_last_step_is_divergence(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """The loss of the only step is that of the network as initialised, and finite."""
    recipe = tiny_recipe.set("rule.batch", 9)
    config = TuneConfig(lr_factors=(1.0, 1e38), epochs=(1,), methods=("random",))
    tuning = tune(recipe=recipe, folder=tmp_path / "run", config=config)
    assert tuning.trials[0].error < math.inf
    assert tuning.trials[1].error == math.inf
    assert torch.tensor(tuning.trials[0].error).isfinite()


def test_a_file_of_version_1_is_still_read(tmp_path: Path) -> None:
    trials = [{"method": "random", "rate": 2.0, "epochs": 10, "error": None}]
    storage.save_json(tmp_path / "tuning.json", {"trials": trials}, kind="tuning")
    (trial,) = Tuning.load(tmp_path / "tuning.json").trials
    assert trial.lr_factor == 2.0 and trial.error == math.inf
