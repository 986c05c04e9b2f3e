"""A recipe's file: YAML of plain values, and no more of it than anybody writes by hand."""

from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from decoct.core.errors import DecoctError
from decoct.core.printable import brief
from decoct.core.readable import open_regular
from decoct.core.settings import shown
from decoct.core.spelling import suggest
from decoct.run.recipes import recipe_names, recipe_text

_SAID = 300  # characters of a text from outside
_BYTES = 100_000  # of a file; one with every setting has 7,000
_TOKENS = 8000  # likewise 1,500
_DEPTH = 20  # likewise 4
_VALUES = 5000  # likewise 300; with those that aliases repeat
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {"map", "seq", "str", "int", "float", "bool", "null", "merge"}


def read_recipe(name: str | Path) -> dict[Any, Any]:
    """The settings that a shipped recipe or a file names; raises `DecoctError` for other content.

    >>> read_recipe("demo")["images"]["source"]
    'emoji'
    """
    where = f"recipe {brief(name, _SAID)}"
    if str(name) in recipe_names():
        return _settings(recipe_text(str(name)).encode(), where)
    path = Path(name)
    try:
        with open_regular(path) as file:
            text = file.read(_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DecoctError(
            f"there is no {where}: neither a file nor a shipped one;"
            f"{suggest(str(name), recipe_names())}"
        ) from error
    except (OSError, ValueError) as error:  # too long a name, one with NUL, no permission, ...
        reason = getattr(error, "strerror", None) or error
        raise DecoctError(f"{where} cannot be read ({reason}); name another file") from error
    if len(text) > _BYTES:
        raise DecoctError(f"{where} is larger than {_BYTES:,} bytes, so it is some other file")
    return _settings(text, where)


def _settings(text: bytes, where: str) -> dict[Any, Any]:
    content = _parsed(text, where)
    if not isinstance(content, dict):
        raise DecoctError(f"{where} must be a mapping of settings")
    return content


def _parsed(text: bytes, where: str) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        problem = brief(problem, _SAID)
        raise DecoctError(f"{where} is not valid YAML{line}: {problem}") from error
    except RecursionError as error:
        raise DecoctError(f"{where} is nested too deeply: settings are at most 4 deep") from error


class _Loader(yaml.SafeLoader):
    """Makes numbers, words, lists and mappings only, and refuses what PyYAML takes silently."""

    def fetch_more_tokens(self) -> None:
        if max(self.flow_level, len(self.indents)) > _DEPTH:
            raise _error("it is nested too deeply", self.get_mark())
        if self.tokens_taken > _TOKENS:
            raise _error("it is too long for a recipe", self.get_mark())
        super().fetch_more_tokens()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.removeprefix(_PREFIX)
        if kind not in _PLAIN:
            raise _error(f"a recipe holds plain values, no {node.tag}", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError) as error:
            raise _error(f"{shown(node.value)} is no {kind}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that is given twice, of which PyYAML would quietly take the last."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise _error("the name of a setting is a word", key.start_mark)
            if key.value in seen:
                raise _error(f"{shown(key.value)[1:-1]} is given twice", key.start_mark)
            if key.tag != f"{_PREFIX}merge":
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {  # without dates: 2020-01-01 is a word
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _error(problem: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark)


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """How many values a node holds, each as often as aliases name it; refuses too many."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counted:
        if counted[id(node)] == 0:
            raise _error("an alias within what it names", node.start_mark)
        return counted[id(node)]
    counted[id(node)] = 0  # until it is done
    parts = node.value if isinstance(node, yaml.SequenceNode) else chain.from_iterable(node.value)
    counted[id(node)] = total = 1 + sum(_count(part, counted) for part in parts)
    if total > _VALUES:
        raise _error(f"more than {_VALUES:,} values", node.start_mark)
    return total
