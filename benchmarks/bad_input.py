"""Nonsense for every setting and every verb: is it refused, in one sentence and before any work?

python -m benchmarks.bad_input [--flags 100]

Each field of a recipe, of the studies and of fine-tuning gets what is below and above its bounds,
of another type, not finite, empty, huge or too long: in Python, in YAML and, `--flags` of them, on
the command line. Prints a row for docs/reliability.md, and what was taken or gave a traceback.
"""

import argparse
import contextlib
import io
import math
import random
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import yaml

from benchmarks.common import machine, table
from decoct.cli import main as decoct
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.settings import Bounds, Entries, Settings, hints
from decoct.evaluation.finetune import FinetuneConfig
from decoct.methods.method import own_fields
from decoct.methods.registry import METHODS, sections
from decoct.run.recipe import Recipe, load_recipe
from decoct.studies.fit import FitConfig
from decoct.studies.frontier.study import FrontierConfig
from decoct.studies.tune import TuneConfig
from decoct.studies.variance.study import VarianceConfig

_RECORD = Path(__file__).parent / "reliability" / "bad_input.json"
_NOT_IN_RECIPES = ("tune", "fit", "frontier", "diagnose", "finetune")
_LONG = "a" * 5000
_OTHER_TYPES = (None, [], {}, [[]], {"a": 1}, b"x", "", "1", "1e3", True, 1, 0.5, math.nan, _LONG)
_HUGE = (10**9, 10**19, -(10**19), 10**400, -(10**400), 1e300, math.nan, math.inf, -math.inf)


def every_section() -> dict[str, Settings]:
    """All settings with their defaults, by their path in a recipe or among flags."""
    whole: dict[str, Settings] = {"": Recipe(), **{n: kind() for n, kind in sections().items()}}
    whole |= {"tune": TuneConfig(), "fit": FitConfig(), "frontier": FrontierConfig()}
    whole |= {"diagnose": VarianceConfig(), "finetune": FinetuneConfig()}
    return {path: part for name, each in whole.items() for path, part in _within(name, each)}


def _within(path: str, settings: Settings) -> Iterator[tuple[str, Settings]]:
    yield path, settings
    for name in names_of(settings):
        if isinstance(inner := getattr(settings, name), Settings):
            yield from _within(f"{path}.{name}".strip("."), inner)


def names_of(settings: Settings) -> list[str]:
    """The fields of a section that are its own."""
    kind: Any = type(settings)
    own = own_fields(kind) if kind in METHODS.values() else list(hints(kind))
    return [name for name in own if name != "methods"]


def parts_of(hint: Any) -> tuple[Any, Bounds | None, int]:
    """A type, its bounds, and how many entries it has at least."""
    kind, *more = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    bounds = next((m for m in more if isinstance(m, Bounds)), None)
    return kind, bounds, next((m.at_least for m in more if isinstance(m, Entries)), 0)


def nonsense(hint: Any) -> Iterator[Any]:
    """Values that a field of this type must refuse."""
    kind, bounds, entries = parts_of(hint)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        yield from ((item,) for item in nonsense(inner[0]))
        yield from (None, {}, 1, 0.5, "ab", True)
        good = next(sense(inner[0]), None)
        yield from ((good, good), (good,) * 1001) if good is not None else ()
        yield from ((),) * bool(entries)
    elif origin is dict:
        yield from ({"mkdt": item} for item in nonsense(inner[1]))
        yield from (None, [], 1, "ab", True, {1: next(sense(inner[1]))})
    elif origin is Literal:
        yield from (v for v in (*_OTHER_TYPES, *_HUGE) if not _is_one_of(v, inner))
    elif bounds:
        below = (bounds.at_least, bounds.at_most, bounds.above, bounds.below)
        steps = (-1, 1, 0, 0) if kind is int else (-1e-9, 1e-9, 0.0, 0.0)
        yield from (b + s for b, s in zip(below, steps, strict=True) if math.isfinite(b))
        yield from (v for v in (*_OTHER_TYPES, *_HUGE) if not _is_number(v, kind, bounds))
    else:
        kinds = {bool: bool, str: str}.get(kind)
        yield from (v for v in _OTHER_TYPES if kinds is None or not isinstance(v, kinds))
        yield from ("a\0b", "\udce9", _LONG) if kind is str else ()
        yield from ("", "  ") if entries else ()
        yield 10**400


def _is_one_of(value: Any, words: tuple[Any, ...]) -> bool:
    return any(type(value) is type(word) and value == word for word in words)


def _is_number(value: Any, kind: type, bounds: Bounds) -> bool:
    right = isinstance(value, (int, float) if kind is float else int)
    return right and not isinstance(value, bool) and bounds.admits(value)


def sense(hint: Any) -> Iterator[Any]:
    """The outermost values that a field of this type must take; none where it is hard to say."""
    kind, bounds, _ = parts_of(hint)
    if typing.get_origin(kind) is Literal:
        yield from typing.get_args(kind)
    elif bounds and kind is int:
        yield from (int(bounds.at_least), int(bounds.at_most))
    elif bounds:
        low = bounds.at_least if math.isfinite(bounds.at_least) else math.nextafter(bounds.above, 1)
        high = bounds.at_most if math.isfinite(bounds.at_most) else math.nextafter(bounds.below, 0)
        yield from (low, min(high, 1e300))
    elif kind is bool:
        yield from (False, True)


def fault(name: str, call: Callable[[], object]) -> str:
    """What is wrong with how a call refuses nonsense; "" if it does so in one sentence."""
    try:
        found = call()
    except DecoctError as error:
        said = str(error)
        good = "\n" not in said and len(said) < 500 and name in said
        return "" if good else f"says {said[:500]!r}"
    except Exception as error:
        return f"gives {error!r:.300}"
    return f"is taken: {found!r:.300}"


def in_python(*, every: int = 1) -> Iterator[tuple[str, Any, str]]:
    """Each field with each nonsense value, or one of so many, and the fault, if any."""
    for path, settings in every_section().items():
        for name in names_of(settings):
            for value in list(nonsense(hints(type(settings))[name]))[::every]:
                tried = fault(name, lambda: replace(settings, **{name: value}))  # noqa: B023
                yield f"{path}.{name}".strip("."), value, tried


def of_a_recipe() -> Iterator[tuple[str, Any]]:
    """Paths of a recipe's settings, each with every nonsense value."""
    for path, settings in every_section().items():
        if path.partition(".")[0] not in _NOT_IN_RECIPES:
            for name in names_of(settings):
                for value in nonsense(hints(type(settings))[name]):
                    if not (is_dataclass(getattr(settings, name)) and value == {}):  # its defaults
                        yield f"{path}.{name}".strip("."), value


def in_yaml(folder: Path, *, every: int = 1) -> Iterator[tuple[str, Any, str]]:
    """The same, or one of so many, in recipes' files."""
    file = folder / "mine.yaml"
    for path, value in list(of_a_recipe())[::every]:
        content: Any = value
        for word in reversed(path.split(".")):
            content = {word: content}
        file.write_text(yaml.safe_dump(content), encoding="utf-8", errors="surrogatepass")
        yield path, value, fault("", lambda: load_recipe(file))


def answer(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit status of a command, and all that it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status: Any = decoct(list(arguments))
        except SystemExit as stop:  # by the flags' parser
            status = stop.code
    return status, said.getvalue()


def by_flag(count: int) -> Iterator[tuple[str, Any, str]]:
    """A sample of the same as flags of `decoct doctor demo`, which does no work."""
    numbers = [
        (path, value)
        for path, value in of_a_recipe()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(Recipe().get(path), int | float)
    ]
    for path, value in random.Random(0).sample(numbers, count):
        try:
            status, said = answer(["doctor", "demo", f"--{path.replace('_', '-')}={value}"])
        except Exception as error:
            yield path, value, f"gives {error!r:.300}"
            continue
        good = status == 2 and "Traceback" not in said
        yield path, value, "" if good else f"status {status}: {said[-300:]}"


def main() -> None:
    """Try everything and print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flags", type=int, default=100)
    options = parser.parse_args()
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        tried = [*in_python(), *in_yaml(Path(folder)), *by_flag(options.flags)]
    seconds = time.perf_counter() - start
    faults = [f"{path} = {value!r:.60} {why}" for path, value, why in tried if why]
    print("\n".join(faults))
    fields = sum(len(names_of(settings)) for settings in every_section().values())
    counts = {"fields": fields, "tried": len(tried), "refused": len(tried) - len(faults)}
    where = machine(torch.device("cpu"))
    row = (f"nonsense for {fields} settings", f"{len(tried):,}", f"{counts['refused']:,}")
    command = "`python -m benchmarks.bad_input`"
    print(table(("what", "tried", "survived", "command"), [(*row, command)]))
    _RECORD.parent.mkdir(exist_ok=True)
    storage.save_json(_RECORD, counts | {"seconds": seconds, "machine": where}, kind="count")


if __name__ == "__main__":
    main()
