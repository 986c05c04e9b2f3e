"""Recipes with the setting names of earlier versions."""

from typing import Any

from decoct.core.console import note

# old path: new paths; a value may go to several places
_RENAMED: dict[str, tuple[str, ...]] = {
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
    "distill": ("matching",),  # what is left of it
}


def upgraded(content: dict[Any, Any], name: str) -> dict[Any, Any]:
    """The same recipe under today's names; says so where any was another.

    >>> upgraded({"distill": {"start": "random", "batch": 8, "iterations": 9}}, "mine")
    {'mkdt': {'init': 'random'}, 'matching': {'batch': 8, 'iterations': 9}, 'rule': {'batch': 8}}
    """
    found: dict[Any, Any] = {}
    old: list[str] = []
    _copy(content, found, "", old)
    if old:
        news = ", ".join(f"{path} is now {' and '.join(_RENAMED[path])}" for path in old)
        note(f"recipe {name} has names of an earlier version: {news}")
    return found


def _copy(content: dict[Any, Any], found: dict[Any, Any], path: str, old: list[str]) -> None:
    for key, value in content.items():
        here = f"{path}{key}"
        if isinstance(value, dict) and any(p.startswith(f"{here}.") for p in _RENAMED):
            _copy(value, found, f"{here}.", old)
            continue
        if here in _RENAMED:
            old.append(here)
        for new in _RENAMED.get(here, (_moved(here),)):
            _put(found, new.split("."), value)


def _moved(path: str) -> str:
    """The path in the section that took the place of an old one."""
    section, dot, rest = path.partition(".")
    return _RENAMED[section][0] + dot + rest if section in _RENAMED and dot else path


def _put(found: dict[Any, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        found = found.setdefault(name, {})
    found[path[-1]] = value
