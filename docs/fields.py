"""A griffe extension: a dataclass is shown with its fields, and with what a setting takes."""

import ast
import importlib
from typing import Any

import griffe

from decoct.core.settings import Settings, hints, in_words


class Fields(griffe.Extension):
    """Adds a table of the fields to the docstring of each dataclass."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called with each class, when all is loaded and doctests.py has been there."""
        taken = _taken(cls)
        fields = [_row(field, taken) for field in cls.attributes.values() if _is_field(field)]
        if "dataclass" in cls.labels and cls.docstring and fields:
            table = griffe.DocstringSectionParameters(fields, title="Fields:")
            cls.docstring.parsed.append(table)


def _is_field(attribute: griffe.Attribute) -> bool:
    public = not attribute.name.startswith("_") and attribute.annotation is not None
    return public and "instance-attribute" in attribute.labels  # not a ClassVar or a property


def _taken(cls: griffe.Class) -> dict[str, str]:
    """What the fields of a section of a recipe take, in words; anything else is refused."""
    if not cls.path.startswith("decoct."):
        return {}
    kind: Any = getattr(importlib.import_module(cls.module.path), cls.name, None)
    if not (isinstance(kind, type) and issubclass(kind, Settings)):
        return {}
    return {name: in_words(hint) for name, hint in hints(kind).items()}


def _row(field: griffe.Attribute, taken: dict[str, str]) -> griffe.DocstringParameter:
    words = taken.get(field.name, "a section")
    limits = "" if words.endswith("a section") else f"[{words}]"
    return griffe.DocstringParameter(
        field.name,
        annotation=field.annotation,
        description=" ".join(filter(None, (_comment(field), limits))),
        value=_default(field),
    )


def _default(field: griffe.Attribute) -> str | None:
    """What the code says, without `field(default_factory=...)` around it."""
    if field.value is None:
        return None
    call = ast.parse(str(field.value), mode="eval").body
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != "field":
        return str(field.value)
    values = {word.arg: word.value for word in call.keywords}
    if "default" in values:
        return ast.unparse(values["default"])
    factory = values.get("default_factory")
    if isinstance(factory, ast.Lambda):
        return ast.unparse(factory.body)
    return f"{ast.unparse(factory)}()" if factory else None


def _comment(field: griffe.Attribute) -> str:
    """The docstring beneath a field, or the comment behind it, or those on the lines above."""
    if field.docstring:
        return str(field.docstring.value)
    lines = field.source.splitlines()
    behind = lines[-1].rpartition("  # ")[2] if "  # " in lines[-1] else ""
    above: list[str] = []
    before = (field.lineno or 1) - 2
    text = field.lines_collection[field.filepath]
    while before >= 0 and text[before].strip().startswith("# "):
        above.insert(0, text[before].strip().removeprefix("# "))
        before -= 1
    return behind or " ".join(above)
