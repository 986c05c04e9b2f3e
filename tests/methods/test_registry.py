"""A method is one class and one line; no other module knows it, or any other, by its name."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import ClassVar, TypeGuard

import pytest
import torch
import yaml
from torch import Tensor

import decoct
from decoct.cli import help_text, main
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.core.settings import CountOrNone
from decoct.evaluation.scores import REFERENCE, UPPER, Scores
from decoct.methods.axis import Axis, one_of
from decoct.methods.inputs import Inputs, chooser
from decoct.methods.method import shared_fields
from decoct.methods.real_images import RealImages, choosing
from decoct.methods.registry import METHODS, method_kind, register, sections
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.ablation import Ablation
from decoct.studies.tune import Tuning, tuned

# A new method: this class and one call of `register`, and nothing else anywhere.


@dataclass(frozen=True)
class EveryNth(RealImages):
    """Images at equal distances."""

    name: ClassVar[str] = "every-nth"
    summary: ClassVar[str] = "real images at equal distances in the pool"
    section: ClassVar[str] = "every_nth"

    first: CountOrNone = 0  # how many images are passed over before the first

    def choose(self, inputs: Inputs, place: Place) -> Tensor:
        """By their place alone."""
        total = len(inputs.targets)
        places = torch.arange(inputs.count) * total // inputs.count
        return ((places + self.first) % total).sort().values

    def work(self, sizes: Sizes) -> Mapping[Unit, float]:
        """One subset of the pool."""
        return {choosing(self): sizes.images**2}

    def axes(self) -> tuple[Axis, ...]:
        """Its own setting."""
        return (Axis("first", "how many are passed over", "every_nth.first", one_of(0, 1, 2)),)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register(EveryNth)
    yield
    del METHODS[EveryNth.name]


@pytest.fixture
def mine(tiny_recipe: Recipe, tiny_folder: Path) -> Path:
    """The tiny recipe, about this method: 9 of 30 images, the first of which is passed over."""
    path = tiny_folder / "mine.yaml"
    content = yaml.safe_load(path.read_text())
    content |= {"method": "every-nth", "every_nth": {"first": 1}}
    content["compare"]["methods"] = ["random", "every-nth", "full"]
    path.write_text(yaml.safe_dump(content))
    return path


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


NOTES = ("gap recovered is", "differences come")  # below a table


def table_under(said: str, title: str) -> dict[str, list[str]]:
    """The words of each line of the table below a title, by the first word."""
    (found,) = [part for part in said.split("\n\n") if part.strip().startswith(title)]
    lines = [line for line in found.strip().split("\n")[1:] if not line.startswith(NOTES)]
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_it_is_run_compared_priced_and_reported(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    said = say(capsys, "run", mine, "--out", out)
    for labels in ("30% of the labels", "60% of the labels"):
        table = table_under(said, labels)
        assert list(table) == ["method", "random", "every-nth", "full"]
        assert table["every-nth"][:2] == table["random"][:2] == ["9", "4"]  # images, steps
    costs = table_under(said, "what each method costs")
    assert costs["every-nth"][0] == "9" and len(costs["every-nth"]) == len(costs["random"])

    scores = Scores.load(out / "scores.json")
    assert scores.facts["every-nth"] == scores.facts["random"]
    made = set(storage.load_json(out / "run.json", kind="run")["stages"])
    assert {"every-nth-seed0", "encoder-every-nth-seed0", "probe-every-nth-seed0"} <= made
    run = Run(load_recipe(mine), out)
    expected = run.split[0][torch.arange(9) * 30 // 9 + 1]
    assert torch.equal(run.distilled("every-nth", 0).index, expected)  # type: ignore[arg-type]

    assert say(capsys, "compare", mine, "--out", out) in said  # reuses everything, same result
    (file,) = out.glob("every-nth-seed0-*/distilled.safetensors")
    for what in (file, file.parent):
        assert "distilled set by every-nth, 9 images (real images)" in say(capsys, "show", what)
    assert "every-nth" in say(capsys, "show", out / "scores.json")
    (out / "report.html").unlink()
    say(capsys, "report", out)
    page = (out / "report.html").read_text("utf-8")
    assert "<b>every-nth</b>" in page  # its verdict
    assert page.count('<th scope="row">every-nth</th>') >= 3  # at both choices of labels; its costs


def test_the_doctor_estimates_it(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = say(capsys, "doctor", mine).split("recipe mine")[1].splitlines()
    assert [line.split()[1:] for line in lines if line.split()[:1] == ["every-nth"]] == [["1", "s"]]


def test_it_is_tuned(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["--tune.lr-factors", 0.5, 1, "--tune.epochs", 1]
    said = say(capsys, "tune", mine, "--out", tmp_path / "run", *grid)
    assert {line.split()[0] for line in said.splitlines() if line} >= {"random", "every-nth"}
    trials = Tuning.load(tmp_path / "run/tuning.json").trials
    factors = [(t.lr_factor, t.epochs) for t in trials if t.method == "every-nth"]
    assert factors == [(0.5, 1), (1.0, 1)]
    assert "every-nth" in tuned()


def test_its_own_axis_is_varied(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    said = say(capsys, "ablate", mine, "--out", out, "--axes", "first")
    assert "first: how many are passed over; 30% of the labels" in said
    assert said.strip() in say(capsys, "show", out / "ablation.json")
    ablation = Ablation.load(out / "ablation.json")
    assert ablation.method == "every-nth" and ablation.axes() == ["first"]
    assert [(o.value, o.base) for o in ablation.outcomes] == [
        ("0", False),
        ("1", True),
        ("2", False),
    ]
    assert len(list(out.glob("every-nth-seed0-*"))) == 3
    assert len(list(out.glob("random-seed0-*"))) == 1  # which does not depend on the setting


def test_it_is_a_stage_by_itself(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (mine, "--out", tmp_path / "run")
    made = "distilled set by every-nth, 9 images"
    assert made in say(capsys, "stage", "select", *common)
    assert made in say(capsys, "stage", "distill", *common)
    assert "encoder" in say(capsys, "stage", "pretrain", *common)
    assert "stripes, 30% of the labels: " in say(capsys, "stage", "probe", *common)


def test_other_methods_begin_with_what_it_chooses(mine: Path, tmp_path: Path) -> None:
    run = Run(load_recipe(mine).set("views.select", "every-nth"), tmp_path / "run")
    own, views = run.distilled("every-nth", 0), run.distilled("views", 0)
    assert own.index is not None and torch.equal(own.index, views.index)  # type: ignore[arg-type]


# Its section of a recipe


def test_a_recipe_has_its_section(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Recipe().every_nth == EveryNth()
    recipe = load_recipe(mine)
    assert recipe.get("every_nth.first") == 1
    assert yaml.safe_load(recipe.to_yaml())["every_nth"] == {"first": 1}
    with pytest.raises(DecoctError, match=r"every_nth\.first is -1; it must be at least 0"):
        recipe.set("every_nth.first", -1)
    with pytest.raises(SystemExit):
        main(["run", str(mine), "--every-nth.first", "many"])
    assert "--every-nth.first" in "".join(capsys.readouterr())


def test_a_misspelt_setting_of_it_is_refused(mine: Path) -> None:
    mine.write_text("every_nth: {frist: 1}")
    with pytest.raises(DecoctError, match=r"no setting every_nth\.frist; perhaps you meant first"):
        load_recipe(mine)


def test_without_its_line_it_is_unknown(mine: Path) -> None:
    del METHODS[EveryNth.name]
    try:
        with pytest.raises(DecoctError, match="there is no setting every_nth"):
            load_recipe(mine)
        with pytest.raises(DecoctError, match="method 'every-nth' is unknown"):
            Recipe(method="every-nth")
    finally:
        register(EveryNth)


def test_a_section_that_a_file_gives_in_part_is_saved_whole(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text("sas: {classes: 2}\nmatching: {batch: 3}")
    recipe = load_recipe(tmp_path / "part.yaml")
    saved = yaml.safe_load(recipe.to_yaml())
    assert saved["sas"] == {"classes": 2, "penalty": True}
    assert saved["matching"].keys() == {f.name for f in fields(recipe.matching)}
    (tmp_path / "part.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "part.yaml") == recipe


# What is registered


def test_methods_are_known_by_their_names() -> None:
    assert all(kind.name == name for name, kind in METHODS.items())
    assert all(kind.summary for kind in METHODS.values())
    with pytest.raises(DecoctError, match=r"'mkd' is unknown; perhaps you meant mkdt\?"):
        method_kind("mkd")


def test_methods_name_others_that_are_there() -> None:
    recipe = Recipe()
    assert {REFERENCE, UPPER} < set(METHODS)
    for name, kind in METHODS.items():
        assert kind.as_many_steps_as in ("", *METHODS)
        assert {chooser(need) for need in recipe.configured(name).needs()} <= {"", *METHODS}
        assert set(shared_fields(kind)) <= {f.name for f in fields(Recipe)}


def test_sections_have_names_of_their_own() -> None:
    assert not sections().keys() & {f.name for f in fields(Recipe)}
    assert all(kind.section == name for name, kind in sections().items())


def test_the_short_help_names_every_section_that_is_shipped() -> None:
    text = help_text(["run", "--help"])
    assert text is not None
    said = text.split("Sections: ")[1].split(".")[0].replace(";", ",").replace("\n", " ")
    named = {part.split()[-1] for part in said.split(",")}
    recipe = Recipe()
    of_stages = {f.name for f in fields(recipe) if is_dataclass(getattr(recipe, f.name))}
    assert named == of_stages | sections().keys() - {"every_nth"}


# No other module knows methods by name

SOURCE = Path(decoct.__file__).parent
OUTSIDE = sorted(
    file for file in SOURCE.rglob("*.py") if not file.is_relative_to(SOURCE / "methods")
)
# Words that are methods' names, and have another meaning where they are compared with.
OTHER_MEANINGS = {
    ("artefacts/targets.py", "none"),  # no scaling
    ("run/plan.py", "none"),  # no labels
    ("run/graph.py", "teacher"),  # the stage
    ("run/preflight.py", "teacher"),  # the stage
    ("run/recipe.py", "teacher"),  # the stage
}
# Names that mean nothing but a method: two in one place are a list of methods.
UNAMBIGUOUS = set(METHODS) - {"none", "random", "full", "teacher", "views"}
REFERENCES = ("evaluation/scores.py", {REFERENCE, UPPER})  # where these two are defined
CUTS = ("startswith", "endswith", "removeprefix", "removesuffix")


def strings(nodes: Iterable[ast.expr | None]) -> set[str]:
    """The string constants among some expressions, those within a tuple, list or set too."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            found |= strings(node.elts)
    return found


def is_cut(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether something is asked of the beginning or the end of a string."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CUTS
    )


def compared_with(tree: ast.AST) -> set[str]:
    """The strings that anything is compared with: by ==, in, match, or as a beginning or end."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found |= strings([node.left, *node.comparators])
        elif isinstance(node, ast.MatchValue):
            found |= strings([node.value])
        elif is_cut(node):
            found |= strings(node.args)
    return found


def collections(tree: ast.AST) -> Iterator[set[str]]:
    """The strings in each tuple, list and set, and among the keys of each dict."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            yield strings(node.elts)
        elif isinstance(node, ast.Dict):
            yield strings(node.keys)


@pytest.mark.parametrize(
    "code",
    [
        "m == 'mkdt'",
        "'sas' != m",
        "m in ('a', 'mkdt')",
        "m not in {'mkdt'}",
        "m.startswith('ssl-full')",
        "match m:\n    case 'none' | 'sas': pass",
    ],
)
def test_a_comparison_would_be_found(code: str) -> None:
    assert compared_with(ast.parse(code)) & set(METHODS)


@pytest.mark.parametrize("code", ["['mkdt', 'sas']", "{'mkdt': 1, 'sas': 2}", "'a', 'sas', 'mkdt'"])
def test_a_list_would_be_found(code: str) -> None:
    assert any(len(found & UNAMBIGUOUS) == 2 for found in collections(ast.parse(code)))


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_other_module_knows_methods_by_name(file: Path) -> None:
    tree, name = ast.parse(file.read_text("utf-8")), file.relative_to(SOURCE).as_posix()
    allowed = {word for where, word in OTHER_MEANINGS if where == name}
    assert compared_with(tree) & set(METHODS) == allowed
    for found in collections(tree):
        several = found & set(METHODS)
        assert len(several) < 2 or (name, several) == REFERENCES
