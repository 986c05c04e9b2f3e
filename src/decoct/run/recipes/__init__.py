"""The shipped recipes: YAML files in this folder."""

import importlib.resources


def recipe_names() -> list[str]:
    """The names of the shipped recipes.

    >>> "demo" in recipe_names()
    True
    """
    folder = importlib.resources.files(__package__)
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def recipe_text(name: str) -> str:
    """The content of a shipped recipe's file."""
    return (importlib.resources.files(__package__) / f"{name}.yaml").read_text("utf-8")
