"""The command line: help at once, and the verbs, which load torch only when one of them runs."""

import errno
import sys
import textwrap
from collections.abc import Sequence

from decoct import __version__
from decoct.core.errors import DecoctError
from decoct.core.spelling import suggest
from decoct.run.recipes import recipe_names

_USAGE = """\
decoct VERB ...: boil an unlabelled image data set down to a few images that pre-train encoders

The whole way; what is done already is not done again:
  demo                    run the embedded recipe: emoji, minutes on a CPU
  run RECIPE              every stage, the comparison and the report
  compare RECIPE          every stage, and the table
  ablate RECIPE           change one thing of a method at a time: what does each contribute?
  tune RECIPE             how fast and how long to pre-train, judged by pool images left out
  diagnose variance RECIPE
                          do gradients and trajectories of SSL losses vary more than distillation's?

One stage, with whatever it needs:
  load-images, train-teacher, compute-targets, train-experts, difficulty, select, distill,
  train-assistant, pretrain, probe RECIPE

What came out:
  report RUN              one HTML page about a run's folder
  show FILE               what any artefact is; its images as a PNG
  export FILE --out DIR   a distilled set as PNG images and targets, or as bytes (--uint8)
  doctor [RECIPE]         versions, devices, extras; what a recipe would take

{recipes}
decoct VERB --help says more.
"""

_SETTINGS = """
Flags
  --out FOLDER            where the run is kept; runs/NAME unless given
  --method NAME           the method of the run: views, mkdt, ...
  --device NAME           cpu, cuda or mps; auto unless given
  --seed N, --fraction F  the first seed; the set's size as a share of the pool
  --images.source SOURCE  a folder, .npz, .npy, IDX, emoji, torchvision:NAME or hf:NAME
  --compare.methods ...   which methods are compared
  --compare.tasks ...     the labelled sets that judge them
{own}
Every setting of a recipe is a flag, --SECTION.SETTING VALUE, and flags win over the recipe.
Sections: images, teacher, targets, experts, assistant, rule, matching, ssl, pretrain, probe,
compare; of single methods: sas, views, mkdt, mtt_ssl, krr_st.
decoct {verb} RECIPE --help lists all settings, with the recipe's values.
{recipes}
"""

# Verbs that take a recipe, and what each does.
OF_A_RECIPE = {
    "run": "Every stage of a recipe, the comparison and the report.",
    "compare": "Every stage of a recipe, and the table of its methods.",
    "ablate": "The recipe's method with one thing changed at a time.",
    "tune": "Try learning rates and lengths of pre-training, judged by pool images left out.",
    "diagnose variance": "Measure how much gradients and trajectories of each loss vary.",
    "load-images": "Read the pool.",
    "train-teacher": "Train the teacher, where the recipe has one trained.",
    "compute-targets": "The teacher's representation of every image.",
    "train-experts": "Train the students whose trajectories are matched.",
    "difficulty": "How hard experts find each image.",
    "train-assistant": "Train the small network that labels views.",
    "select": "Choose the real images of every subset method that is compared.",
    "distill": "Make the set of one method.",
    "pretrain": "Pre-train an encoder by one method.",
    "probe": "Judge one method's encoder by linear probes.",
}
_DEMO = """\
decoct demo [flags]

The same as decoct run demo: every stage of the embedded recipe, the comparison and
the report, in minutes on a CPU. decoct run --help says what flags there are."""
_OWN_FLAGS = {
    "ablate": "  --axes init experts=1,5 what is varied; all axes of the method unless given\n"
    "  --markdown              print Markdown tables\n",
    "tune": "  --tune.lr-factors ...   factors on a method's learning rate\n"
    "  --tune.epochs ...       lengths of pre-training\n",
    "diagnose variance": "  --diagnose.objectives ...  which losses; other settings likewise\n",
}
# Verbs that take a file or a folder.
OF_A_FILE = {
    "report": "decoct report RUN [--out FILE]\n\nOne self-contained HTML page about the run in a "
    "folder.",
    "show": "decoct show FILE [--out PNG]\n\nWhat any artefact is: a file, a stage's folder or a "
    "run's. Images and sets are\ndrawn as a PNG beside it.",
    "export": "decoct export FILE --out FOLDER [--uint8]\n\nA distilled set as PNG images, "
    "targets.npy and how to train on them; with --uint8\nas one file of bytes that decoct reads.",
    "doctor": "decoct doctor [RECIPE] [--data FOLDER] [--out FOLDER]\n\nVersions, devices and "
    "extras; for a recipe also the disk, memory and time that its run\nwould take in FOLDER.",
}
VERBS = ("demo", *(verb for verb in OF_A_RECIPE if " " not in verb), "diagnose", *OF_A_FILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    text = help_text(arguments)
    if text is not None:
        print(text)
        return 0
    try:
        _run(arguments)
    except DecoctError as error:
        print(f"decoct: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("decoct: no space left on the device; free some, and run again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("decoct: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def help_text(arguments: Sequence[str]) -> str | None:
    """The help that is asked for, as far as torch is not needed to print it; else None.

    >>> help_text(["--version"])
    'decoct 0.1.0'
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        verb = " ".join(arguments[1:])
        return _verb_help(verb) or _USAGE.format(recipes=_recipes())
    if arguments[0] == "--version":
        return f"decoct {__version__}"
    verb = " ".join(arguments[:-1])
    return _verb_help(verb) if arguments[-1] in ("-h", "--help") else None


def _verb_help(verb: str) -> str | None:
    """What a verb does and takes, on a screen."""
    if verb in OF_A_FILE:
        return OF_A_FILE[verb]
    if verb == "demo":
        return _DEMO
    if verb == "diagnose":
        verb = "diagnose variance"
    if verb not in OF_A_RECIPE:
        return None
    flags = _SETTINGS.format(
        own=_OWN_FLAGS.get(verb, ""),
        verb=verb,
        recipes=_recipes(),
    )
    return f"decoct {verb} RECIPE [flags]\n\n{OF_A_RECIPE[verb]}\n{flags}"


def _recipes() -> str:
    """What a recipe is, in lines for a screen."""
    text = f"RECIPE is a YAML file of yours, or one of: {', '.join(recipe_names())}."
    return textwrap.fill(text, 80, break_on_hyphens=False)


def _run(arguments: list[str]) -> None:
    verb = arguments[0]
    if verb not in VERBS:
        raise DecoctError(f"there is no verb {verb};{suggest(verb, VERBS)}")
    from decoct.verbs import dispatch  # loads torch

    dispatch(verb, arguments[1:])
