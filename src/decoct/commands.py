"""The table of verbs: what each takes and does. Help is made of it; it loads no torch."""

from dataclasses import dataclass
from types import MappingProxyType

# Flags of a verb, each with its text; a line of help for each.
Flags = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Verb:
    """A verb: what follows it, what it does in a line, and what its own help adds."""

    takes: str  # such as "RECIPE" or "SET --out FOLDER"
    summary: str
    about: str = ""
    flags: Flags = ()  # its own; a verb of a recipe has the recipe's too

    @property
    def of_a_recipe(self) -> bool:
        """Whether it takes a recipe, and so every setting of the recipe as a flag."""
        return self.takes in ("RECIPE", "[RECIPE]", "NAME RECIPE", "variance RECIPE")


_JOBS = ("--jobs N", "processes that share the work")
_SHARE = ("--share", "share the folder and the work with others that say so")
_DEVICES = ("--devices N", "GPUs, or CPU cores, that share the work")
_LOG = ("--log LOGGER", "tensorboard, wandb or mlflow; may be repeated")
_MARKDOWN = ("--markdown", "print Markdown tables")

GROUPS: dict[str, dict[str, Verb]] = {
    "Make a set": {
        "distill": Verb(
            "FOLDER [flags]",
            "from a folder of pictures to a set and an encoder",
            "Looks at the folder, says what it found and what it will do, and does it: a\n"
            "distilled set, an encoder, scores and the report in runs/FOLDER. The recipe it\n"
            "saves there repeats it: decoct run runs/FOLDER/recipe.yaml.",
            flags=(
                ("--time 30min", "for everything: sets the teacher's length; else 15min"),
                ("--teacher SOURCE", "timm:NAME, a checkpoint, train; else the best at hand"),
                ("--labels FOLDER", "class folders to judge on, or none; else FOLDER's own"),
                ("--out FOLDER", "where to keep the run; default: runs/FOLDER"),
                ("--wait", "if another process has that folder, wait for it"),
                _DEVICES,
                _JOBS,
                ("--SECTION.SETTING V", "any setting of a recipe, as of decoct run"),
            ),
        ),
        "demo": Verb(
            "[flags]",
            "run the embedded recipe: emoji, minutes on a CPU",
            "The same as decoct run demo: every stage of the embedded recipe, the comparison\n"
            "and the report. decoct run --help lists the flags.",
        ),
        "run": Verb(
            "RECIPE",
            "every stage, the comparison and the report",
            flags=(_DEVICES, _JOBS, _SHARE, _LOG),
        ),
        "recipe": Verb(
            "NAME",
            "print a shipped recipe, to begin from",
            "decoct recipe demo > mine.yaml\n\n"
            "Change what you like in the file, and run it: decoct run mine.yaml",
        ),
        "submit": Verb(
            "RECIPE",
            "run it as a job of SLURM",
            flags=(
                ("--nodes N", "machines; --gpus-per-node N, --cpus-per-task N"),
                ("--tasks-per-node N", "processes; default: one for each GPU, or one"),
                ("--time 12:00:00", "at most; then it is queued again, and goes on"),
                ("--partition NAME", "and --account NAME: where the job goes"),
                ("--array K", "let K tasks of their own share the experts"),
                ("--sbatch KEY=VALUE", "any option of sbatch; may be repeated"),
                ("--local", "on this machine, without SLURM, to try it"),
                _LOG,
            ),
        ),
        "stage": Verb(
            "NAME RECIPE",
            "one stage of a recipe, with everything that it needs",
            flags=(_DEVICES, _SHARE, _LOG),
        ),
    },
    "Measure": {
        "compare": Verb(
            "RECIPE",
            "every stage and the table of methods",
            flags=(_DEVICES, _JOBS, _SHARE, _LOG),
        ),
        "ablate": Verb(
            "RECIPE",
            "measure what each part of a method contributes",
            flags=(
                ("--axes init experts=1,5", "what to vary; default: all axes of the method"),
                _JOBS,
                _MARKDOWN,
            ),
        ),
        "tune": Verb(
            "RECIPE",
            "choose learning rates and epochs without labels",
            flags=(
                ("--tune.lr-factors ...", "factors on a method's learning rate"),
                ("--tune.epochs ...", "numbers of epochs for pre-training"),
                _JOBS,
            ),
        ),
        "fit": Verb(
            "RECIPE",
            "choose what of a set fits in --budget",
            flags=(
                ("--fit.widths ...", "widths of the labeller; --fit.weights, --fit.qualities"),
                _JOBS,
            ),
        ),
        "frontier": Verb(
            "RECIPE",
            "measure accuracy over gradient steps and over bytes",
            flags=(
                ("--frontier.steps 120 480", "numbers of gradient steps"),
                ("--frontier.bytes 1MB 4MB", "sizes of the sets; --frontier.methods, likewise"),
                _JOBS,
                _MARKDOWN,
            ),
        ),
        "diagnose": Verb(
            "variance RECIPE",
            "measure how much gradients and trajectories vary",
            flags=(("--diagnose.objectives ...", "which losses; other settings likewise"),),
        ),
    },
    "Use and share": {
        "embed": Verb(
            "ENCODER FOLDER --out FILE",
            "features of every picture: .npy, .csv or .parquet",
            "Writes them with the pictures' names. ENCODER is an encoder's file, or a folder\n"
            "of a run or stage with one in it. FOLDER can be any source of images. The same\n"
            "command continues after an interruption.",
            flags=(
                ("--device NAME", "cpu, cuda, mps or auto (default)"),
                ("--batch N", "pictures at a time; default: 256"),
            ),
        ),
        "finetune": Verb(
            "ENCODER TASK",
            "train all of it on few labels, beside a linear probe",
            "Trains the whole network with a linear head on shares of a task's labels, or on\n"
            "so many a class, and prints its accuracy beside the linear probe's on the same\n"
            "labels. The same command continues after an interruption.",
            flags=(
                ("--labels 0.05 ...", "shares of the labels; --per-class 10 ...: so many"),
                ("--draws 5, --seeds 1", "draws of labels; seeds of the head and the order"),
                ("--epochs 50, --lr 0.001", "and --batch 64: how long and how fast"),
                ("--out FOLDER", "where to keep the scores"),
                ("--device NAME", "cpu, cuda, mps or auto (default)"),
            ),
        ),
        "export": Verb(
            "SET|ENCODER --out FOLDER",
            "a set as PNG images; an encoder for timm, torch, onnx",
            "A distilled set becomes PNG images, targets.npy and how to train on them. An\n"
            "encoder becomes weights and a program, load.py, that loads them without decoct.",
            flags=(
                ("--to FORMAT", "of an encoder: timm, torch, onnx or safetensors"),
                ("--uint8", "a set as one file of bytes that decoct reads"),
            ),
        ),
        "push": Verb(
            "SET OWNER/NAME",
            "share a distilled set on the Hugging Face hub",
            "Makes a data set repository of it: the file, its images and targets as Parquet,\n"
            "a picture and a card. SET is the file, or the folder of the run that made it.",
            flags=(
                ("--licence TEXT", "of the pictures that it was made from: cc-by-4.0, say"),
                ("--dry-run FOLDER", "write it all to a folder, without login and network"),
                ("--private", "let nobody else see it"),
            ),
        ),
        "pull": Verb(
            "OWNER/NAME[@REVISION]",
            "download a shared set and check it",
            'In Python: decoct.load_distilled("hf:OWNER/NAME").',
            flags=(("--out FILE", "where to keep it; default: NAME.safetensors"),),
        ),
    },
    "Look and keep order": {
        "report": Verb(
            "RUN [--out FILE]",
            "write an HTML page about a run's folder",
            "The page is one self-contained file: RUN/report.html unless --out names it.",
        ),
        "show": Verb(
            "FILE [--out PNG]",
            "describe any artefact; write its images as a PNG",
            "FILE is a file, a stage's folder or a run's. Images and sets are drawn as a PNG\n"
            "next to it.",
        ),
        "replay": Verb(
            "FILE",
            "repeat the step at which training diverged",
            "FILE is failing-step.safetensors, which a stage that diverges leaves in its\n"
            "folder: the state before that step. The step is taken alone, and you read which\n"
            "operation of which layer gives the first number that is not finite.",
        ),
        "runs": Verb(
            "[FOLDER]",
            "the runs in a folder; two of them compared",
            "For each run: its recipe, whether it is finished, stages done, size, the best\n"
            "set with its accuracy, and when it changed. FOLDER is runs unless you name one.\n\n"
            "decoct runs compare A B shows the settings in which two runs differ, and the\n"
            "accuracies of the methods that both have.",
        ),
        "clean": Verb(
            "RUN [--yes]",
            "delete stages that a run's recipe no longer reaches",
            "Lists them with their sizes and asks; --yes deletes without asking. It keeps\n"
            "what the run's recipe.yaml and run.json name, and all that no stage made.",
        ),
        "verify": Verb(
            "RUN|FILE",
            "read every byte, and say what is whole or damaged",
            "Checks digests, kinds, versions and contents of a file, or of all in a run's or\n"
            "any other folder, and changes nothing. It says what makes a damaged file again,\n"
            "and which stages are unfinished. Exit status: 0 if all is whole, 1 if something\n"
            "is damaged or cannot be read.",
        ),
        "doctor": Verb(
            "[RECIPE]",
            "versions, devices, extras; what a recipe would take",
            flags=(("--devices N", "and what it would take N devices like this one"),),
        ),
        "completion": Verb(
            "SHELL",
            "print a script for bash, zsh or fish",
            "In bash, for this shell and for all to come:\n\n"
            "  source <(decoct completion bash)\n"
            "  decoct completion bash > ~/.local/share/bash-completion/completions/decoct\n\n"
            "In zsh the first line does; in fish: decoct completion fish | source",
        ),
    },
}
VERBS = MappingProxyType({name: verb for group in GROUPS.values() for name, verb in group.items()})

# What `decoct stage NAME RECIPE` makes, by name.
STAGES = {
    "load-images": "the pool",
    "train-teacher": "the teacher, if the recipe trains one",
    "compute-targets": "the teacher's representation of every image",
    "train-experts": "the students whose trajectories are matched",
    "difficulty": "how hard each image is for the experts",
    "train-assistant": "the small network that labels views",
    "select": "the images of every subset method in compare.methods",
    "distill": "the set of one method; --method names it",
    "pretrain": "one method's encoder",
    "probe": "one method's scores",
}
