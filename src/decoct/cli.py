"""The command line: instant help, and the verbs, which import torch only when they run."""

import errno
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from decoct import __version__
from decoct.core.errors import DecoctError, Terminated
from decoct.core.spelling import suggest
from decoct.run.recipes import recipe_names

_USAGE = """\
decoct VERB ...: boil a large set of unlabelled images down to a small one that
pre-trains good encoders

Everything, except what is done already:
  demo                    run the embedded recipe: emoji, minutes on a CPU
  run RECIPE              every stage, the comparison and the report
  compare RECIPE          every stage and the comparison
  ablate RECIPE           measure what each part of a method contributes
  tune RECIPE             choose learning rates and epochs without labels
  fit RECIPE              choose what of a set fits in --budget
  frontier RECIPE         measure accuracy over gradient steps and over bytes
  diagnose variance RECIPE
                          measure how much gradients and trajectories vary

One stage, with everything that it needs:
  load-images, train-teacher, compute-targets, train-experts, difficulty,
  select, distill, train-assistant, pretrain, probe RECIPE

Results:
  report RUN              write an HTML page about a run's folder
  show FILE               describe any artefact; write its images as a PNG
  export FILE --out DIR   save a distilled set as PNG images, or bytes (--uint8)
  export ENCODER --to FORMAT --out DIR
                          save an encoder for timm, torch, onnx or safetensors
  embed ENCODER FOLDER --out FILE
                          features of every picture: .npy, .csv or .parquet
  finetune ENCODER TASK   train all of it on few labels, beside a linear probe
  doctor [RECIPE]         versions, devices, extras; what a recipe would take

{recipes}
decoct VERB --help shows the flags of a verb.
"""

_SETTINGS = """
Flags
  --out FOLDER            where to keep the run; default: runs/NAME
  --method NAME           the method of the run: views, mkdt, ...
  --device NAME           cpu, cuda, mps or auto (default)
  --seed N, --fraction F  the first seed; the set's size as a share of the pool
  --budget 1MB, --steps N the set's bytes instead; gradient steps of pre-training
  --images.source SOURCE  a folder, .npz, .npy, IDX, emoji, torchvision:NAME or
                          hf:NAME
  --compare.methods ...   the methods to compare
  --compare.tasks ...     the labelled sets for the probes
{own}
Every setting of a recipe is a flag, --SECTION.SETTING VALUE. Flags override the
recipe.
Sections: images, teacher, targets, experts, assistant, rule, matching, labeller,
coding, ssl, pretrain, probe, compare; of single methods: sas, views, carried, noise,
mkdt, mtt_ssl, krr_st, boost_ssdd.
decoct {verb} RECIPE --help lists all settings and
their values in the recipe.
{recipes}
"""

# Verbs that take a recipe, and what each does.
OF_A_RECIPE = {
    "run": "Run every stage of a recipe, compare the methods and write the report.",
    "compare": "Run every stage of a recipe and print the table of its methods.",
    "ablate": "Run the recipe's method with one thing changed at a time.",
    "tune": "Choose learning rates and epochs on held-out pool images, without labels.",
    "fit": "Choose what of a set fits in --budget: labeller, codes and number of images.",
    "frontier": "Measure the accuracy of every method over gradient steps and over bytes.",
    "diagnose variance": "Measure how much gradients and trajectories of each loss vary.",
    "load-images": "Read the pool.",
    "train-teacher": "Train the teacher, if the recipe says so.",
    "compute-targets": "Compute the teacher's representation of every image.",
    "train-experts": "Train the students whose trajectories are matched.",
    "difficulty": "Measure how hard each image is for the experts.",
    "train-assistant": "Train the small network that labels views.",
    "select": "Choose the real images of every subset method that is compared.",
    "distill": "Make the set of one method.",
    "pretrain": "Pre-train an encoder by one method.",
    "probe": "Probe one method's encoder.",
}
_DEMO = """\
decoct demo [flags]

The same as decoct run demo: every stage of the embedded recipe, the comparison
and the report, in minutes on a CPU. decoct run --help lists the flags."""
_JOBS = "  --jobs 2                processes that share the work\n"
_OWN_FLAGS = {
    "run": _JOBS,
    "compare": _JOBS,
    "ablate": "  --axes init experts=1,5 what to vary; default: all axes of the method\n"
    "  --markdown              print Markdown tables\n",
    "tune": "  --tune.lr-factors ...   factors on a method's learning rate\n"
    "  --tune.epochs ...       numbers of epochs for pre-training\n",
    "fit": "  --fit.widths ...        widths of the labeller; --fit.weights, --fit.qualities\n"
    f"{_JOBS}",
    "frontier": "  --frontier.steps 120 480   numbers of gradient steps\n"
    "  --frontier.bytes 1MB 4MB   sizes of the sets; --frontier.methods, likewise\n"
    f"{_JOBS}"
    "  --markdown              print Markdown tables\n",
    "diagnose variance": "  --diagnose.objectives ...  which losses; other settings likewise\n",
}
# Verbs that take a file or a folder.
OF_A_FILE = {
    "report": "decoct report RUN [--out FILE]\n\nWrite a self-contained HTML page about the run in "
    "a folder.",
    "show": "decoct show FILE [--out PNG]\n\nDescribe any artefact: a file, a stage's folder or a "
    "run's. Images and sets are\ndrawn as a PNG next to it.",
    "export": "decoct export SET --out FOLDER [--uint8]\n"
    "decoct export ENCODER --to timm|torch|onnx|safetensors --out FOLDER\n\n"
    "Write a distilled set as PNG images, targets.npy and how to train on them; with\n--uint8 as "
    "one file of bytes that decoct reads. Or write an encoder's weights with a\nprogram, load.py, "
    "that loads them without decoct.",
    "embed": "decoct embed ENCODER FOLDER --out FILE [--device auto] [--batch 256]\n\nWrite the "
    "features of every picture, with its name, to a .npy, .csv or .parquet file.\nENCODER is an "
    "encoder's file, or the folder of a run or stage with one in it. FOLDER\ncan be any source of "
    "images. The same command continues after an interruption.",
    "finetune": "decoct finetune ENCODER TASK [--labels 0.05 ...] [--per-class 10 ...]\n"
    "                [--draws 5] [--seeds 1] [--epochs 50] [--lr 0.001] [--batch 64]\n"
    "                [--out FOLDER] [--device auto]\n\n"
    "Train the whole network with a linear head on shares of a task's labels, or on so\nmany a "
    "class, and print its accuracy beside the linear probe's on the same labels.\nThe same command "
    "continues after an interruption.",
    "doctor": "decoct doctor [RECIPE] [--data FOLDER] [--out FOLDER]\n\nShow versions, devices and "
    "extras. For a recipe also show the disk, memory and\ntime that a run of it in FOLDER would "
    "take.",
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
        with _terminable():
            _run(arguments)
    except DecoctError as error:
        print(f"decoct: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("decoct: no space left on the device; free some space and run again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("decoct: interrupted; the same command continues from here", file=sys.stderr)
        return 130
    except Terminated:
        print("decoct: terminated; the same command continues from here", file=sys.stderr)
        return 143
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside the block SIGTERM is an exception, so that files and processes are put in order."""

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def help_text(arguments: Sequence[str]) -> str | None:
    """The requested help if it can be printed without torch, otherwise None.

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
    """A verb's help, short enough for one screen."""
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
    """What a recipe can be, in lines for a screen."""
    text = f"RECIPE is a YAML file of yours, or one of: {', '.join(recipe_names())}."
    return textwrap.fill(text, 80, break_on_hyphens=False)


def _run(arguments: list[str]) -> None:
    verb = arguments[0]
    if verb not in VERBS:
        raise DecoctError(f"there is no verb {verb};{suggest(verb, VERBS)}")
    from decoct.verbs import dispatch  # loads torch

    dispatch(verb, arguments[1:])
