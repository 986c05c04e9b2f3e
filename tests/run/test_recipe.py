"""Recipes: shipped ones, round trips, and what is wrong with those of others."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.methods.registry import sections
from decoct.run.old_recipes import RENAMED, upgraded_flags
from decoct.run.recipe import Recipe, load_recipe
from decoct.run.recipes import recipe_names

SHIPPED = (
    "demo",
    "fashion-mnist",
    "cifar10-2pct",
    "cifar10-5pct",
    "cifar100-2pct",
    "cifar100-5pct",
    "tinyimagenet-2pct",
    "tinyimagenet-5pct",
)


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_recipes_are_shipped() -> None:
    assert set(SHIPPED) <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert load_recipe(_write(tmp_path, recipe.to_yaml())) == recipe


def test_defaults_survive_a_round_trip(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path, Recipe().to_yaml())) == Recipe()


@pytest.mark.parametrize("name", [n for n in recipe_names() if n.startswith(("cifar", "tiny"))])
def test_published_settings(name: str) -> None:
    recipe = load_recipe(name)
    tiny, five = name.startswith("tiny"), name.endswith("5pct")
    assert recipe.fraction == (0.05 if five else 0.02)
    assert recipe.experts.count == 100
    assert recipe.experts.network.depth == (4 if recipe.images.size == 64 else 3)
    assert recipe.method == "mkdt" and recipe.mkdt.init == "high-loss"
    matching = recipe.matching
    assert matching.optimiser == "sgd" and matching.momentum == 0.5
    assert matching.expert_epochs == 2
    assert matching.max_start_epoch == (5 if five and not tiny else 2)
    assert matching.iterations == (10_000 if tiny else 5_000)
    assert matching.inner_steps == (10 if tiny else 40)
    assert matching.lr_images == (1e5 if tiny else 1e4 if five else 1e3)
    assert matching.batch == recipe.rule.batch == 256 and matching.inner_lr == recipe.rule.lr == 0.1


def test_a_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path, "seed: 3")).name == "mine"


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("itterations: 3", "there is no setting itterations"),
        ("frction: 0.1", "there is no setting frction; perhaps you meant fraction?"),
        (
            "matching: {itterations: 3}",
            "there is no setting matching.itterations; perhaps you meant iterations?",
        ),
        (
            "experts: {network: {widht: 3}}",
            "there is no setting experts.network.widht; perhaps you meant width?",
        ),
        ("3: 4", "there is no setting 3"),
        ("fraction: much", "fraction is 'much'; it must be a number, above 0"),
        (
            "matching: {iterations: 2.5}",
            "matching.iterations is 2.5; it must be a whole number",
        ),
        ("views: {count: many}", "views.count is 'many'; it must be a whole number"),
        ("matching: 7", "matching is 7; it must be a section"),
        ("views: 7", "views is 7; it must be a section"),
        ("methods: {mkdt: {}}", "there is no setting methods"),
        ("mkdt: {matching: {}}", "there is no setting mkdt.matching"),
        ("compare: {methods: [none, magic]}", "method 'magic' is unknown"),
        ("mkdt: {init: hardest}", "method 'hardest' is unknown"),
        ("mkdt: {init: krr-st}", "mkdt: krr-st chooses no real images"),
        ("views: {select: full}", "views: full chooses no real images"),
        ("matching: {optimiser: lion}", "matching.optimiser is 'lion'; it must be sgd or adam"),
        ("experts: {network: {name: alexnet}}", "network 'alexnet' is unknown"),
        ("fraction: 0", "fraction is 0; it must be above 0 and at most 1"),
        ("fraction: 1.5", "fraction is 1.5; it must be above 0 and at most 1"),
        ("size: -1", "size is -1; it must be at least 0"),
        ("matching: {max_start_epoch: 3, expert_epochs: 2}", "read epoch 4 .* experts.epochs is 3"),
        ("probe: {fractions: [0]}", r"probe.fractions is 0; it must be above 0 and at most 1"),
        ("rule: {lr: 1e-3}", "rule.lr is '1e-3'; .*; in YAML write 1.0e-3$"),
        ("a: [1", "is not valid YAML"),
        ("- a\n- b", "must be a mapping of settings"),
        ("", "must be a mapping of settings"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence) as caught:
        load_recipe(_write(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


def test_yaml_makes_no_python_objects(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = f"name: !!python/object/apply:os.system ['touch {trace}']"
    with pytest.raises(DecoctError, match="is not valid YAML"):
        load_recipe(_write(tmp_path, text))
    assert not trace.exists()
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)


@pytest.mark.parametrize(
    "name, sentence", [("demoo", "perhaps you meant demo?"), ("no/such.yaml", "no recipe")]
)
def test_a_recipe_that_does_not_exist(name: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        load_recipe(name)


def test_sources_are_looked_for_in_the_data_folder_first(tmp_path: Path) -> None:
    (tmp_path / "pool.npz").touch()
    recipe = Recipe(data=str(tmp_path))
    assert recipe.source("pool.npz") == str(tmp_path / "pool.npz")
    assert recipe.source("emoji") == "emoji"
    assert recipe.source("") == ""


def test_the_users_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    photos, recipe = str(tmp_path / "photos"), Recipe(data="~/data")
    assert recipe.source("~/photos") == photos
    assert recipe.source("hf:~/photos") == f"hf:{photos}"
    assert recipe.source("timm:local-dir:~/photos") == f"timm:local-dir:{photos}"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pool.npz").touch()
    assert recipe.source("pool.npz") == str(tmp_path / "data" / "pool.npz")


def test_a_written_recipe_says_everything(tmp_path: Path) -> None:
    """The defaults too: they may be others in the next version."""
    sparse = load_recipe(_write(tmp_path, "experts: {count: 3}\nviews: {count: 5}"))
    assert list(yaml.safe_load(sparse.to_yaml())["experts"]) == [
        f.name for f in fields(sparse.experts)
    ]
    assert yaml.safe_load(sparse.to_yaml())["views"]["select"] == "k-means"


# Setting by setting


def test_a_setting_is_found_and_changed_by_its_path() -> None:
    recipe = Recipe()
    for setting, value in (("seed", 3), ("views.count", 5), ("matching.batch", 7)):
        changed = recipe.set(setting, value)
        assert changed.get(setting) == value != recipe.get(setting)
        assert changed.set(setting, recipe.get(setting)) == recipe
    assert recipe.set("teacher.ssl.network.width", 8).teacher.ssl.network.width == 8


def test_a_method_has_the_sections_that_it_shares() -> None:
    recipe = Recipe().set("rule.batch", 7).set("matching.batch", 9)
    assert recipe.configured("mkdt").training_batch() == 9
    assert recipe.configured("mtt-ssl").training_batch() == 9
    others = ("random", "sas", "views", "krr-st", "full", "full-steps", "ssl-random")
    assert {recipe.configured(method).training_batch() for method in others} == {7}


# Names of earlier versions


def _nested(paths: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in paths.items():
        *sections, name = path.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return found


VALUES: dict[str, Any] = {
    "distill.start": "random",
    "distill.batch": 31,
    "distill.max_start": 1,
    "distill.lr_log_rate": 0.3,
    "distill.rate": 0.4,
    "distill.graphs": True,
    "compare.lr": 0.7,
    "compare.rates": {"mkdt": 2.0},
    "pretrain.rate": 3.0,
    "views.start": "random",
    "ssl.views": {"jitter": 0.1},
    "teacher.ssl.views": {"jitter": 0.2},
    "mtt_ssl.objective.views": {"jitter": 0.3},
    "krr_st.pool": 3,
    "krr_st.pool_steps": 17,
    "krr_st.pool_lr": 0.02,
    "krr_st.pool_momentum": 0.3,
    "krr_st.pool_weight_decay": 0.01,
}


def test_what_took_an_old_names_place_is_a_setting() -> None:
    assert {*VALUES, "distill"} == set(RENAMED)
    recipe = Recipe()
    for old, new in RENAMED.items():
        with pytest.raises(AttributeError):
            recipe.get(old)
        for path in new:
            assert recipe.get(path) is not None


@pytest.mark.parametrize("old", VALUES)
def test_an_old_name_is_read_and_said_to_be_old(
    old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = dict.fromkeys(RENAMED[old], VALUES[old])
    one = load_recipe(_write(tmp_path, yaml.safe_dump(_nested({old: VALUES[old]}))))
    said = " ".join(capsys.readouterr().err.split())
    assert f"{old} is now {' and '.join(RENAMED[old])}" in said and "mine.yaml" in said
    other = load_recipe(_write(tmp_path, yaml.safe_dump(_nested(new))))
    assert one == other != Recipe(name="mine")
    assert capsys.readouterr().err == ""


def test_a_recipe_all_in_old_names_is_the_one_in_new_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"experts.count": 3, "ssl.batch": 8, "pretrain.epochs": 2, "compare.seeds": 1}
    old = VALUES | {"distill.iterations": 9} | more
    new = {path: VALUES[o] for o in VALUES for path in RENAMED[o]} | {"matching.iterations": 9}
    one = load_recipe(_write(tmp_path, yaml.safe_dump(_nested(old))))
    assert "distill is now matching" in " ".join(capsys.readouterr().err.split())
    assert one == load_recipe(_write(tmp_path, yaml.safe_dump(_nested(new | more))))
    assert load_recipe(_write(tmp_path, one.to_yaml())) == one


@pytest.mark.parametrize(
    "text",
    [
        "distill: {batch: 8, start: random}\nrule: {lr: 3}\nmkdt: {}\nmatching: {iterations: 9}",
        "matching: {iterations: 9}\nmkdt: {}\nrule: {lr: 3}\ndistill: {batch: 8, start: random}",
        "distill: {batch: 5, start: random}\nrule: {lr: 3, batch: 8}\n"
        "matching: {iterations: 9, batch: 8}",
    ],
)
def test_a_recipe_in_both_keeps_all_that_it_says(tmp_path: Path, text: str) -> None:
    """If a recipe sets a value under both names, today's name takes priority."""
    recipe = load_recipe(_write(tmp_path, text))
    assert (recipe.matching.iterations, recipe.matching.batch) == (9, 8)
    assert (recipe.rule.lr, recipe.rule.batch) == (3, 8)
    assert recipe.mkdt.init == "random"


def test_a_misspelt_setting_of_an_old_section_is_still_refused(tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match=r"no setting matching\.itterations"):
        load_recipe(_write(tmp_path, "distill: {itterations: 3}"))


OWN = sorted((Path(__file__).parents[2] / "benchmarks").rglob("*.yaml"))


@pytest.mark.parametrize("name", [*recipe_names(), *OWN], ids=lambda name: Path(name).stem)
def test_our_own_recipes_have_todays_names(
    name: str | Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(name)
    assert capsys.readouterr().err == ""
    assert set(recipe.methods) == set(sections())


@pytest.mark.parametrize("name", ["../victim", "/tmp/victim", "a\\b", "..", ".", "", " "])
def test_a_name_is_no_path(name: str) -> None:
    """It is a folder in runs/, and a recipe may come from a stranger."""
    with pytest.raises(DecoctError, match="must be a plain name"):
        Recipe(name=name)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("size: 3\npretrain: {epochs: 1, epochs: 2}\n")
    with pytest.raises(DecoctError, match="not valid YAML, line 2: epochs is given twice"):
        load_recipe(path)


def test_a_recipe_of_the_users_is_not_overwritten(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "recipe.yaml"
    text = (tmp_path / "mine.yaml").read_text() + "# how I made it\n"
    mine.write_text(text)
    assert main(["stage", "load-images", str(mine), "--out", str(tmp_path)]) == 2
    assert "is a recipe of yours; choose another folder" in capsys.readouterr().err
    assert mine.read_text() == text

    saved = tmp_path / "run/recipe.yaml"
    for recipe in (tmp_path / "mine.yaml", saved):  # a run's own is written again
        assert main(["stage", "load-images", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert load_recipe(saved) == tiny_recipe
    saved.write_text(tiny_recipe.to_yaml())  # as earlier versions wrote it
    assert main(["stage", "load-images", str(saved), "--out", str(tmp_path / "run")]) == 0


def test_a_command_that_fails_keeps_the_recipe_of_a_finished_run(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    file, saved = str(tmp_path / "mine.yaml"), tmp_path / "run/recipe.yaml"
    common = (file, "--out", str(tmp_path / "run"))
    assert main(["stage", "distill", *common, "--method", "random"]) == 0
    before = saved.read_text()
    assert main(["run", *common, "--size", "1000"]) == 2
    assert main(["compare", *common, "--compare.tasks", "nowhere.npz"]) == 2
    assert main(["stage", "load-images", *common, "--images.source", "nowhere"]) == 2
    assert saved.read_text() == before


def test_flags_may_be_left_out() -> None:
    assert upgraded_flags([]) == [] and upgraded_flags(["word"]) == ["word"]


def test_other_pictures_have_a_folder_of_their_own(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.npz").rename(tmp_path / "my photos.npz")
    load = ["stage", "load-images", "mine.yaml", "--images.source"]
    assert main([*load, "my photos.npz"]) == 0
    assert load_recipe("runs/mine-my-photos/recipe.yaml").name == "mine-my-photos"
    (tmp_path / "my photos.npz").rename(tmp_path / "pool.npz")
    assert main([*load, "pool.npz"]) == 0  # the recipe's own
    assert load_recipe("runs/mine/recipe.yaml").name == "mine"
