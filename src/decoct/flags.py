"""The flags of a verb that takes a recipe: the recipe's own settings, and a few of the verb's."""

import re
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from decoct.core import ranks
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.settings import Few, Jobs, Settings
from decoct.methods.registry import sections
from decoct.report.logs.logger import LoggerName
from decoct.run.budget import within_budget
from decoct.run.division import make_together
from decoct.run.old_recipes import upgraded_flags
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.run.recipes import recipe_names
from decoct.studies.fit import FitConfig
from decoct.studies.frontier.study import FrontierConfig
from decoct.studies.tune import TuneConfig
from decoct.studies.variance.study import VarianceConfig


@dataclass(frozen=True)
class Call:
    """A request to a verb that takes a recipe."""

    recipe: Recipe
    flags: Any  # with the verb's own
    help: str | None = None  # the section whose help is asked for; "": which sections there are

    def run(self) -> Run:
        """The requested run; its recipe is saved once it is known to work."""
        data = self.recipe.data
        if data and not Path(data).expanduser().is_dir():
            raise DecoctError(f"data is {data}, but there is no such folder; correct --data")
        run = Run(self.recipe, self.flags.out)
        run.check_folder()
        return run

    def fitted(self) -> "Call":
        """The same request with a budget, if there is one, made a size."""
        if not self.recipe.budget:
            return self
        run = Run(replace(self.recipe, budget=""), self.flags.out)
        make_together(run, ["images"])
        recipe, said = within_budget(self.recipe, run.pool)
        if ranks.is_first():
            note(said)
        return replace(self, recipe=recipe)


def parse(verb: str, arguments: list[str]) -> Call:
    """Parse `RECIPE [flags]`; flags override the recipe."""
    if not arguments or arguments[0].startswith("-"):
        raise DecoctError(f"decoct {verb} needs a recipe: one of {', '.join(recipe_names())}")
    return with_flags(load_recipe(arguments[0]), verb, arguments[1:], of=arguments[0])


def with_flags(recipe: Recipe, verb: str, arguments: list[str], *, of: str) -> Call:
    """A recipe with flags that override it; `of` is what it was made from, for messages."""
    words, section = _help_apart(arguments)
    flags = [_SHORT.get(word, word) for word in upgraded_flags(words)]
    found = tyro.cli(_flags_of(recipe, verb), prog=f"decoct {verb} {of}", args=flags)
    own = {name: getattr(found, name) for name in sections()}
    resolved = _named(found.recipe.having(**own), recipe)
    found = replace(found, recipe=resolved, out=found.out or Path("runs") / resolved.name)
    return Call(resolved, found, section)


def _help_apart(arguments: list[str]) -> tuple[list[str], str | None]:
    """The flags, and the section whose help is asked for, if any; "" asks which there are."""
    for i, word in enumerate(arguments):
        if word in ("-h", "--help"):
            return arguments[:i], "".join(arguments[i + 1 : i + 2])
    return arguments, None


def _named(recipe: Recipe, given: Recipe) -> Recipe:
    """Named after its pictures too, if flags say which, so that its run has a folder of its own."""
    if recipe.images.source == given.images.source or recipe.name != given.name:
        return recipe
    return replace(recipe, name=f"{recipe.name}-{source_name(recipe.images.source)}")


def settings_said(flags: list[str]) -> frozenset[str]:
    """The settings that flags name.

    >>> sorted(settings_said(["--images.size=64", "--compare.lr-factors", "mkdt", "2"]))
    ['compare.lr_factors', 'images.size']
    """
    named = (word.partition("=")[0] for word in upgraded_flags(flags) if word.startswith("--"))
    return frozenset(_SHORT.get(name, name)[2:].replace("-", "_") for name in named)


def source_name(source: str) -> str:
    """A source's name, as a part of a folder's.

    >>> source_name("~/my photos/"), source_name("hf:me/birds"), source_name("data/pool.npz")
    ('my-photos', 'birds', 'pool')
    """
    path = Path(source.rpartition(":")[2]).expanduser().absolute()
    name = path.stem if path.suffix and not path.is_dir() else path.resolve().name
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "images"


_SHORT = {"--steps": "--pretrain.steps"}


def default(value: Any) -> Any:
    """The field of a dataclass with a default value."""
    return field(default_factory=lambda: value)


def _flags_of(recipe: Recipe, verb: str) -> Any:
    """A dataclass of all flags: the recipe's, its methods' sections, and the verb's own."""
    unnamed = Annotated[Recipe, tyro.conf.arg(name="")]
    parts: list[tuple[str, Any, Any]] = [("recipe", unnamed, default(recipe))]
    parts += [(name, kind, default(recipe.methods[name])) for name, kind in sections().items()]
    parts += [("out", _OUT, default(None)), ("wait", _WAIT, default(False))]
    for name, kind, value in _OWN_FLAGS.get(verb.split()[0], ()):
        parts.append((name, kind, default(value)))
    return make_dataclass("Flags", parts, bases=(Settings,), frozen=True)


_OUT = Annotated[Path | None, tyro.conf.arg(help="where to keep the run; None: runs/NAME")]
_WAIT = Annotated[bool, tyro.conf.arg(help="if another process has the folder, wait for it")]
_SHARE = (
    "share",
    Annotated[bool, tyro.conf.arg(help="share the folder, and the work, with others that say so")],
    False,
)
_JOBS = ("jobs", Annotated[Jobs, tyro.conf.arg(help="processes that share the work")], 1)
_DEVICES = ("devices", Annotated[Few, tyro.conf.arg(help="devices that share the work")], 1)
_MARKDOWN = ("markdown", Annotated[bool, tyro.conf.arg(help="print Markdown tables")], False)
_AXES = Annotated[tuple[str, ...], tyro.conf.arg(help="what to vary; none: all of the method's")]
_LOGGERS = Annotated[
    tuple[LoggerName, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(help="also write losses, sets and scores for a logger; may be repeated"),
]
_LOG = ("log", _LOGGERS, ())
_OWN_FLAGS: dict[str, tuple[tuple[str, Any, Any], ...]] = {
    "run": (_DEVICES, _JOBS, _SHARE, _LOG),
    "compare": (_DEVICES, _JOBS, _SHARE, _LOG),
    "stage": (_DEVICES, _SHARE, _LOG),
    "doctor": (_DEVICES,),
    "tune": (("tune", TuneConfig, TuneConfig()), _JOBS),
    "fit": (("fit", FitConfig, FitConfig()), _JOBS),
    "ablate": (("axes", _AXES, ()), _JOBS, _MARKDOWN),
    "frontier": (
        ("frontier", FrontierConfig, FrontierConfig()),
        _JOBS,
        _MARKDOWN,
    ),
    "diagnose": (("diagnose", VarianceConfig, VarianceConfig()),),
}
