"""The help of a verb with its recipe: sections first, then one section's settings and values."""

import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass, make_dataclass
from typing import Annotated, Any

import tyro

from decoct.commands import VERBS
from decoct.core.errors import DecoctError
from decoct.core.settings import Settings, hints, in_words
from decoct.core.spelling import suggest
from decoct.flags import Call, default
from decoct.help import rows
from decoct.methods.method import Method, own_fields
from decoct.methods.registry import sections


def print_help(call: Call, command: str, section: str) -> None:
    """Print which sections there are, or the settings of one; `all` means all of them.

    `command` is what the user typed before the flags, such as `decoct run demo`.
    """
    if not section:
        print(_overview(call, command))
        return
    flags = call.flags if section == "all" else _one(call, section)
    with suppress(SystemExit):
        tyro.cli(type(flags), default=flags, prog=command, args=["--help"], description="")
    taken = _taken(flags, "" if section == "all" else section)
    print("\n".join(["", "What they take", *rows(taken)]))


def _overview(call: Call, command: str) -> str:
    """A screen that names every section, and has the settings that are in none."""
    recipe, own = call.recipe, sections()
    verb = VERBS[command.split()[1]]
    plain = [f.name for f in fields(recipe) if not is_dataclass(getattr(recipe, f.name))]
    plain.remove("methods")
    shared = [f.name for f in fields(recipe) if is_dataclass(getattr(recipe, f.name))]
    of_verb = [f.name for f in fields(call.flags) if is_dataclass(getattr(call.flags, f.name))]
    of_verb = [name for name in of_verb if name not in own and name != "recipe"]
    values = [f"--{n} {getattr(recipe, n) or repr(getattr(recipe, n))}" for n in plain]
    return "\n".join(
        [
            f"{command} [flags]",
            "",
            *rows((*verb.flags, ("--out FOLDER", f"where to keep the run: {call.flags.out}"))),
            "",
            "Settings of the recipe",
            _filled("  ".join(values)),
            "",
            f"Sections: {command} --help SECTION lists one's settings",
            *rows((name, _about(getattr(recipe, name))) for name in shared),
            *rows((name, _about(getattr(call.flags, name))) for name in of_verb),
            _filled(f"of single methods: {', '.join(own)}"),
            "--help all lists every setting.",
        ]
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, 80, initial_indent="  ", subsequent_indent="  ")


def _about(settings: Settings) -> str:
    """What a section is, in a few words."""
    clause = re.split(r"[.:;]", type(settings).__doc__ or "")[0]
    return textwrap.shorten(clause, 54, placeholder=" ...")


def _one(call: Call, section: str) -> Any:
    """Only the flags of a section, which may be within another: `teacher.ssl`."""
    found: Any = call.flags
    for name in section.replace("-", "_").split("."):
        known = _sections_of(found)
        if name not in known:
            raise DecoctError(
                f"--help {section}: there is no section {name};{suggest(name, known)}"
            )
        found = known[name]
    named: Any = Annotated[type(found), tyro.conf.arg(name=section)]
    return make_dataclass("Flags", [("section", named, default(found))], frozen=True)()


def _taken(settings: Any, path: str) -> Iterator[tuple[str, str]]:
    """The flags that take numbers or lists, with their bounds."""
    for here, hint, value in every_setting(settings, path):
        if isinstance(value, int | float | tuple) and not isinstance(value, bool):
            yield f"--{here}".replace("_", "-"), in_words(hint)


def every_setting(settings: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The settings within some, and within their sections: path, type with bounds, and value."""
    kind: Any = type(settings)
    own = own_fields(kind) if isinstance(settings, Method) else [*hints(kind)]
    for name in own:
        value = getattr(settings, name)
        here = path if name in ("recipe", "section") else f"{path}.{name}".strip(".")
        if is_dataclass(value):
            yield from every_setting(value, here)
        elif name != "methods":
            yield here, hints(kind)[name], value


def _sections_of(settings: Any) -> dict[str, Any]:
    """The sections that are directly within settings; a recipe's are directly among the flags."""
    found = {f.name: getattr(settings, f.name) for f in fields(settings)}
    found = {name: value for name, value in found.items() if is_dataclass(value)}
    recipe = found.pop("recipe", None)
    return found | (_sections_of(recipe) if recipe else {})
