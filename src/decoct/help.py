"""What the command line says about itself, at once: nothing here loads torch."""

import re
import textwrap
from collections.abc import Iterable

from decoct.commands import GROUPS, STAGES, VERBS, Verb
from decoct.run.recipes import recipe_names

_RECIPE = """\
Flags
{own}  --out FOLDER            where to keep the run; default: runs/NAME
  --wait                  if another process has that folder, wait for it
  --method NAME           the method of the run: carried, views, mkdt, ...
  --device NAME           cpu, cuda, mps or auto (default)
  --seed N, --fraction F  the first seed; the set's size as a share of the pool
  --budget 1MB            the set's bytes, in place of its size
  --steps N               gradient steps of pre-training
  --images.source SOURCE  a folder, .npz, .npy, IDX, emoji, torchvision:, hf:...
  --compare.methods ...   the methods to compare
  --compare.tasks ...     the labelled sets for the probes

Every setting of a recipe is a flag that overrides it: --SECTION.SETTING VALUE.
Sections: images, teacher, targets, experts, assistant, rule, matching,
labeller, coding, ssl, pretrain, probe, compare; of single methods: sas, views,
carried, noise, mkdt, mtt_ssl, krr_st, boost_ssdd.
decoct {verb} RECIPE --help SECTION
lists a section's settings and their values; --help all lists every section's.
"""


def usage() -> str:
    """The general help: every verb, by what a user wants."""
    parts = ["decoct VERB ...: boil a large set of unlabelled images down to a small one that"]
    parts.append("pre-trains good encoders")
    for title, verbs in GROUPS.items():
        lines = ((f"{name} {_briefly(verb.takes)}", verb.summary) for name, verb in verbs.items())
        parts += ["", title, *rows(lines, width=24)]
    return "\n".join([*parts, "", _recipes(), "decoct VERB --help shows the flags of a verb."])


def _briefly(takes: str) -> str:
    """What follows a verb, without flags."""
    return re.split(r" --| \[|\[@|\[flags", takes)[0]


def verb_help(words: list[str]) -> str | None:
    """The help of a verb, short enough for one screen; None if there is no such verb."""
    name, *more = words
    verb = VERBS.get(name)
    known = {"stage": list(STAGES), "diagnose": ["variance"]}.get(name, [])
    if verb is None or not (not more or (len(more) == 1 and more[0] in known)):
        return None
    return _text(name, verb, more[0] if more else "")


def _text(name: str, verb: Verb, word: str) -> str:
    head = f"decoct {name} {verb.takes}{' [flags]' * verb.of_a_recipe}"
    summary = f"{verb.summary[0].upper()}{verb.summary[1:]}."
    parts = [head, "", summary]
    if name == "stage":
        parts += ["", *rows(STAGES.items())]
    elif verb.about:
        parts += ["", verb.about]
    if verb.of_a_recipe:
        own = "".join(f"{line}\n" for line in rows(verb.flags))
        command = f"{name} {word or verb.takes.split()[0]}" if " " in verb.takes else name
        parts += ["", _RECIPE.format(own=own, verb=command), _recipes()]
    elif verb.flags:
        parts += ["", "Flags", *rows(verb.flags)]
    return "\n".join(parts)


def rows(pairs: Iterable[tuple[str, str]], width: int = 23) -> list[str]:
    """Lines of two columns; a first one above `width` has a line of its own."""
    found = []
    for first, second in pairs:
        wide = len(first) > width
        indented = [f"  {first}", f"{'':{width + 3}}{second}"]
        found += indented if wide else [f"  {first:<{width}} {second}"]
    return found


def _recipes() -> str:
    """What a recipe can be, in lines for a screen."""
    text = f"RECIPE is a YAML file of yours, or one of: {', '.join(recipe_names())}."
    return textwrap.fill(text, 80, break_on_hyphens=False)
