"""Recipes with the setting names of earlier versions."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from decoct.core.console import note
from decoct.core.errors import DecoctError

# old path: new paths; one value may go to several places
RENAMED: dict[str, tuple[str, ...]] = {
    "distill.start": ("mkdt.init",),
    "distill.batch": ("matching.batch", "rule.batch"),
    "distill.max_start": ("matching.max_start_epoch",),
    "distill.lr_log_rate": ("matching.lr_log_lr",),
    "distill.rate": ("matching.inner_lr",),
    "distill.graphs": ("matching.cuda_graphs",),
    "compare.lr": ("rule.lr",),
    "compare.rates": ("compare.lr_factors",),
    "pretrain.rate": ("pretrain.lr_factor",),
    "views.start": ("views.select",),
    "ssl.views": ("ssl.augment",),
    "teacher.ssl.views": ("teacher.ssl.augment",),
    "mtt_ssl.objective.views": ("mtt_ssl.objective.augment",),
    "krr_st.pool": ("krr_st.population",),
    "krr_st.pool_steps": ("krr_st.lifetime",),
    "krr_st.pool_lr": ("krr_st.network_lr",),
    "krr_st.pool_momentum": ("krr_st.network_momentum",),
    "krr_st.pool_weight_decay": ("krr_st.network_weight_decay",),
    "distill": ("matching",),  # the remaining settings
}


def upgraded(content: dict[Any, Any], name: str) -> dict[Any, Any]:
    """The same recipe with today's setting names; prints a note if any were old.

    >>> upgraded({"distill": {"start": "random", "batch": 8, "iterations": 9}}, "mine")
    {'mkdt': {'init': 'random'}, 'matching': {'batch': 8, 'iterations': 9}, 'rule': {'batch': 8}}
    """
    moves = list(_moves(content, ""))
    found: dict[Any, Any] = {}
    for _, new, value in sorted(moves, key=lambda move: not move[0]):  # today's names take priority
        _put(found, new.split("."), value)
    if old := dict.fromkeys(path for path, _, _ in moves if path):
        news = ", ".join(f"{path} is now {' and '.join(RENAMED[path])}" for path in old)
        note(f"recipe {name} has names of an earlier version: {news}")
    return found


def upgraded_flags(arguments: Sequence[str]) -> list[str]:
    """Command-line flags with today's names; prints a note for each flag that was renamed.

    >>> upgraded_flags(["--distill.batch", "8", "--seed", "1"])
    ['--matching.batch', '8', '--rule.batch', '8', '--seed', '1']
    """
    found: list[str] = []
    for flag, values in _flags(arguments):
        name, equals, value = flag.partition("=")
        old, names = _today(name.removeprefix("--").replace("-", "_"))
        new = [f"--{path.replace('_', '-')}" for path in names] if old else [name]
        if old:
            note(f"{name} is now {' and '.join(new)}")
        for path in new:
            found += [path + equals + value, *values]
    return found


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the values that follow it."""
    begins = [i for i, word in enumerate(arguments) if word.startswith("--")]
    yield from ((word, []) for word in arguments[: begins[0] if begins else None])
    for begin, end in pairwise([*begins, len(arguments)]):
        yield arguments[begin], list(arguments[begin + 1 : end])


def _moves(content: dict[Any, Any], path: str) -> Iterator[tuple[str, str, Any]]:
    """For each value: its old name (if it has one), its name today, and the value."""
    for key, value in content.items():
        here = f"{path}{key}"
        if isinstance(value, dict) and any(p.startswith(f"{here}.") for p in RENAMED):
            yield from _moves(value, f"{here}.")
        else:
            old, names = _today(here)
            yield from ((old, new, value) for new in names)


def _today(path: str) -> tuple[str, tuple[str, ...]]:
    """The part of a path that is an old name, and the paths that replaced it."""
    if path in RENAMED:
        return path, RENAMED[path]
    section, dot, rest = path.partition(".")
    if dot and section in RENAMED:
        return section, tuple(new + dot + rest for new in RENAMED[section])
    return "", (path,)


def _put(found: dict[Any, Any], path: list[str], value: Any) -> None:
    """Set a value at a path, keeping what is already there."""
    if isinstance(value, dict) and isinstance(found.get(path[0]), dict) and len(path) == 1:
        for key, inner in value.items():
            _put(found[path[0]], [key], inner)
    elif len(path) == 1:
        found[path[0]] = dict(value) if isinstance(value, dict) else value
    else:
        inner = found.setdefault(path[0], {})
        if not isinstance(inner, dict):
            raise DecoctError(f"{path[0]} is a section, not {inner!r:.30}")
        _put(inner, path[1:], value)
