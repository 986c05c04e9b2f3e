"""The package's folders form layers: each may import only from those below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import decoct

SOURCE = Path(decoct.__file__).parent
# From the top; modules directly in the package are at the top.
LAYERS = (
    "the command line",
    "report",
    "studies",
    "run",
    "methods",
    "evaluation",
    "training",
    "matching",
    "artefacts",
    "data",
    "models",
    "core",
)
FILES = sorted(SOURCE.rglob("*.py")) + sorted(SOURCE.rglob("*.pyi"))


def layer_of(module: str) -> str:
    """The layer of `decoct.NAME...`."""
    name = module.partition(".")[2].partition(".")[0]
    return name if name in LAYERS else LAYERS[0]


def module_of(file: Path) -> str:
    return ".".join(("decoct", *file.relative_to(SOURCE).with_suffix("").parts))


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """The line and module of each import from the package, including those within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join((*above, node.module or "")).strip(".") if node.level else node.module
            if base == "decoct":
                for alias in node.names:
                    if alias.name != "__version__":  # a constant of the package itself
                        yield node.lineno, f"decoct.{alias.name}"
            elif base and _ours(base):
                yield node.lineno, base


def _ours(module: str) -> bool:
    return module.split(".")[0] == "decoct"


def against_the_order(text: str, module: str) -> list[str]:
    """What `module`, of this text, imports from above its own layer."""
    own = LAYERS.index(layer_of(module))
    package = module.rpartition(".")[0]
    return [
        f"{module}, line {line}: {name}"
        for line, name in imported(ast.parse(text), package)
        if LAYERS.index(layer_of(name)) < own
    ]


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == set(LAYERS[1:])


def test_imports_run_down_the_list() -> None:
    found = [
        wrong
        for file in FILES
        for wrong in against_the_order(file.read_text("utf-8"), module_of(file))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("from decoct.run.recipe import Recipe", True),
        ("import decoct.report.page", True),
        ("def f():\n    from decoct.studies import axes", True),
        ("from ..cli import main", True),
        ("from decoct import cli", True),
        ("import decoct", True),
        ("from decoct import __version__", False),
        ("from . import registry", False),
        ("from ..core import seeding", False),
        ("from decoct.methods.mkdt import MKDT", False),
        ("from decoct.training.loop import train\nimport torch", False),
    ],
)
def test_this_test_sees_what_goes_up(text: str, wrong: bool) -> None:
    assert bool(against_the_order(text, "decoct.methods.views")) == wrong
