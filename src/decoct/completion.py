"""`decoct completion SHELL`: a script that completes verbs, recipes, stages, sections and flags.

The script holds all words, so that the shell never waits for Python.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from decoct.commands import STAGES, VERBS
from decoct.core.errors import DecoctError
from decoct.methods.method import Method, own_fields
from decoct.methods.registry import sections
from decoct.run.recipe import Recipe
from decoct.run.recipes import recipe_names

_BASH = r"""
_decoct() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local verb=${COMP_WORDS[1]} place=$COMP_CWORD words= recipe=
    case $verb in stage | diagnose) place=$((place - 1)) ;; esac
    case " @OF_RECIPES@ " in *" $verb "*) [ $place = 2 ] && recipe=yes ;; esac
    if [ $COMP_CWORD = 1 ] || [ "$before" = help ]; then words="@VERBS@"
    elif [ "$before" = stage ]; then words="@STAGES@"
    elif [ "$before" = diagnose ]; then words=variance
    elif [ "$before" = completion ]; then words="bash zsh fish"
    elif [ "$before" = recipe ]; then words="@RECIPES@"
    elif [ "$before" = --help ]; then words="@SECTIONS@ all"
    elif [[ $word == -* ]]; then words="@FLAGS@"
    elif [ $recipe ]; then words="@RECIPES@"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    local IFS=$'\n'
    if [ $recipe ]; then COMPREPLY+=($(compgen -f -X '!*.y*ml' -- "$word"; compgen -d -- "$word"))
    elif [ -z "$words" ]; then COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -o filenames -F _decoct decoct
"""
_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit"
_FISH = """\
complete -c decoct -n __fish_use_subcommand -f -a "@VERBS@"
complete -c decoct -n "__fish_seen_subcommand_from @OF_RECIPES@" -a "@RECIPES@"
complete -c decoct -n "__fish_seen_subcommand_from stage" -a "@STAGES@"
complete -c decoct -n "__fish_seen_subcommand_from completion" -f -a "bash zsh fish"
complete -c decoct -n "__fish_prev_arg_in --help" -f -a "@SECTIONS@ all"
complete -c decoct -n "__fish_seen_subcommand_from @OF_RECIPES@" -a "@FLAGS@"
"""


def completion_script(shell: str) -> str:
    """The script for bash, zsh (which reads bash's) or fish; raises `DecoctError` for another."""
    if shell not in ("bash", "zsh", "fish"):
        raise DecoctError(f"there is no completion for {shell}; choose bash, zsh or fish")
    text = {"bash": _BASH, "zsh": f"{_ZSH}\n{_BASH}", "fish": _FISH}[shell]
    for name, words in _words().items():
        text = text.replace(f"@{name}@", " ".join(words))
    return text.strip()


def _words() -> dict[str, list[str]]:
    recipe = Recipe()
    shared = [f.name for f in fields(recipe) if is_dataclass(getattr(recipe, f.name))]
    flags = {*_flags(recipe, "")} | {"--out", "--wait", "--help"}
    for name, settings in recipe.methods.items():
        flags |= {*_flags(settings, f"{name}.")}
    of_verbs = [flag for verb in VERBS.values() for flag, _ in verb.flags]
    flags |= {flag.split()[0] for flag in of_verbs if flag.startswith("--")}
    return {
        "VERBS": [*VERBS],
        "STAGES": [*STAGES],
        "SECTIONS": [*shared, *sections()],
        "FLAGS": sorted(flags),
        "OF_RECIPES": [name for name, verb in VERBS.items() if verb.of_a_recipe],
        "RECIPES": recipe_names(),
    }


def _flags(settings: Any, path: str) -> Iterator[str]:
    """Every setting as a flag, in sections of sections too."""
    names = [f.name for f in fields(settings) if f.name != "methods"]
    for name in own_fields(type(settings)) if isinstance(settings, Method) else names:
        value = getattr(settings, name)
        if is_dataclass(value):
            yield from _flags(value, f"{path}{name}.")
        else:
            yield f"--{path}{name}".replace("_", "-")
