"""Mutations of what JSON and YAML can say: a tree in which one value is changed at a time."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml

Node = Any
Place = tuple[Any, Any]  # a dict or list, and the key or index in it
Plain = Callable[[bytes, int], bytes]  # the fuzzer's own mutation of bytes, of at most so many

_HOSTILE: tuple[Node, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 255, 65_536, 2**31, 2**63, -(2**63), 10**30),
    *(0.5, -0.5, 1e-300, 1e300, 1e39, float("nan"), float("inf"), -float("inf")),
    *("", " ", "a", "nan", "1", "../../x", "\0", "\ud800", "\x1b[2J", "<script>", "x" * 3000),
    *("float16", "int64", "uint8", "bool", "<U3", "webp", "pq", "pca", "convnet", "resnet10"),
    *("timm:vit_giant_patch14_dinov2", "mkdt", "emoji", "random", "sgd"),
    *([], {}, [None], [[]], {"": None}, {"a": {"a": {}}}),
)


def mutated_json(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """A description with a few changes; now and then, and if it is none, other bytes."""
    draws = random.Random(seed)
    if data[:1] == b"D" and draws.random() < 0.9:
        try:
            tree = json.loads(data[1:])
            return (b"D" + json.dumps(_changed(tree, draws), separators=(",", ":")).encode())[:most]
        except (ValueError, RecursionError):
            pass
    return plain(data, most)


def mutated_yaml(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """A recipe with a few changes, or other bytes."""
    draws = random.Random(seed)
    if draws.random() < 0.5:
        try:
            tree = _changed(yaml.safe_load(data), draws)
            return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace")[:most]
        except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError):
            pass
    return plain(data, most)


def _changed(tree: Node, draws: random.Random) -> Node:
    root = [tree]
    for _ in range(draws.choice((1, 1, 2, 4))):
        places = list(_places(root))
        if not places:
            break
        holder, key = draws.choice(places)
        draws.choice(_CHANGES)(holder, key, draws, places)
    return root[0] if root else {}


def _places(node: Node) -> Iterator[Place]:
    """Every value of a tree."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list) and node[key]:
            yield from _places(node[key])


def _replace(holder: Node, key: Any, draws: random.Random, _: list[Place]) -> None:
    holder[key] = draws.choice(_HOSTILE)


def _remove(holder: Node, key: Any, draws: random.Random, _: list[Place]) -> None:
    del holder[key]


def _copy(holder: Node, key: Any, draws: random.Random, places: list[Place]) -> None:
    """Another value of the tree; as JSON, for a tree that holds itself has no end."""
    other, name = draws.choice(places)
    holder[key] = json.loads(json.dumps(other[name], default=str))


def _rename(holder: Node, key: Any, draws: random.Random, places: list[Place]) -> None:
    if isinstance(holder, dict):
        names = [name for other, name in places if isinstance(other, dict)]
        holder[draws.choice([*names, "", "\0", "x:y", "labeller.mean"])] = holder.pop(key)
    else:
        holder.insert(key, holder[key])


def _scale(holder: Node, key: Any, draws: random.Random, _: list[Place]) -> None:
    value = holder[key]
    if isinstance(value, str):
        at = draws.randrange(len(value) + 1)
        holder[key] = value[:at] + draws.choice(("", "0", "\n", ":", "é", "'")) + value[at + 1 :]
    elif isinstance(value, int | float):
        holder[key] = draws.choice((-value, value + 1, value - 1, value * 1000, float(value)))
    else:
        holder[key] = [value]


_CHANGES = (_replace, _remove, _copy, _rename, _scale, _scale)
