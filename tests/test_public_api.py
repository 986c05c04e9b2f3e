"""The public names, against a committed list; and what the README shows, run as it stands."""

import ast
import importlib
import inspect
import os
import re
from pathlib import Path

import pytest
import torch

import decoct

NAMES = Path(__file__).with_name("public_names.txt")
README = Path(__file__).parents[1] / "README.md"


def test_the_public_names_are_the_committed_ones():
    assert sorted(decoct.__all__) == NAMES.read_text().split()
    assert all(hasattr(decoct, name) for name in decoct.__all__)


def test_the_stub_says_where_each_name_comes_from():
    """It is what the names are loaded by, and what type checkers read."""
    tree = ast.parse(Path(decoct.__file__).with_suffix(".pyi").read_text("utf-8"))
    sources = {
        alias.name: f"decoct.{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (listed,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert sorted(sources) == sorted(listed) == sorted(decoct.__all__)
    for name, module in sources.items():
        found = getattr(decoct, name)
        assert found is getattr(importlib.import_module(module), name)
        assert getattr(found, "__module__", module) == module, name  # where it is defined
    assert set(sources) <= set(dir(decoct))


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = decoct.no_such_name


def test_every_public_name_is_documented():
    assert [name for name in decoct.__all__ if not inspect.getdoc(getattr(decoct, name))] == []


def test_functions_of_more_than_two_arguments_take_them_by_keyword():
    wrong = []
    for name in decoct.__all__:
        function = getattr(decoct, name)
        if inspect.isfunction(function):
            kinds = [p.kind for p in inspect.signature(function).parameters.values()]
            if len(kinds) > 2 and kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) > 1:
                wrong.append(name)
    assert wrong == []


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_the_readme_pretrains_ones_own_network(tmp_path):
    rule = decoct.TrainingRule(lr=0.1, momentum=0.0, weight_decay=0.0, batch=4)
    decoct.DistilledSet(
        images=torch.randn(8, 3, 8, 8),
        targets=torch.randn(8, 2),
        mean=torch.zeros(3),
        std=torch.ones(3),
        rule=rule,
        method="mkdt",
    ).save(tmp_path / "distilled.safetensors")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    names = {"my_body": torch.nn.Conv2d(3, 4, 3)}
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(code, names)
    finally:
        os.chdir(before)
    assert names["loss"].isfinite()
