"""The verbs that take a file or a folder, or look at the machine."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from rich.filesize import decimal as size_text

from decoct.artefacts.encoder import load_encoder
from decoct.completion import completion_script
from decoct.core.device import resolve_device
from decoct.core.errors import DecoctError
from decoct.core.settings import Count, Few, check
from decoct.data.tasks import load_task
from decoct.evaluation.finetune import FinetuneConfig, finetune_scores
from decoct.report.embed import embed
from decoct.report.export import export
from decoct.report.export_encoder import Format, export_encoder
from decoct.report.feature_files import names_file
from decoct.report.finetune_table import finetune_text
from decoct.report.page import write_report
from decoct.report.pull import pull
from decoct.report.push import push
from decoct.report.runs import runs_in, runs_rows
from decoct.report.runs_compared import compare_runs
from decoct.report.show import describe, show
from decoct.report.table import columns
from decoct.report.verify import is_whole, verify, verify_text
from decoct.run.clean import remove, studies_in, unreachable
from decoct.run.doctor import doctor
from decoct.run.folder import size_of
from decoct.run.lock import lock_folder
from decoct.run.replay import replay


def _report(run: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """Write one self-contained HTML page about the run in a folder."""
    print(f"report: {write_report(run, out=out)}")


def _show(file: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """Describe any artefact, and write its images as a PNG."""
    print(show(file, out=out))


def _replay(file: tyro.conf.Positional[Path]) -> None:
    """Repeat the step at which training diverged, and say where its numbers are not finite."""
    print(replay(file))


def _export(
    file: tyro.conf.Positional[Path], out: Path, to: Format | None = None, uint8: bool = False
) -> None:
    """Write a distilled set as PNG images and targets, or (--uint8) as a file of bytes.

    With --to, write an encoder's weights with a program that loads them.
    """
    if to is not None and uint8:
        raise DecoctError("--uint8 is for sets and --to for encoders; give one of the two")
    found = export_encoder(file, to=to, out=out) if to else export(file, out=out, uint8=uint8)
    print(f"exported to {found}")


def _push(
    file: tyro.conf.Positional[Path],
    name: tyro.conf.Positional[str],
    dry_run: Path | None = None,
    private: bool = False,
    licence: str = "",
) -> None:
    """Share a distilled set on the Hugging Face hub, or (--dry-run) write what would be shared."""
    where = push(file, name=name, dry_run=dry_run, private=private, licence=licence)
    print(f"written to {where}; nothing was uploaded" if dry_run else f"pushed to {where}")


def _pull(name: tyro.conf.Positional[str], out: Path | None = None) -> None:
    """Download a distilled set from the Hugging Face hub."""
    file = pull(name, out=out)
    print(f"{describe(file)}\nuse it: distilled = decoct.load_distilled({str(file)!r})")


def _embed(
    encoder: tyro.conf.Positional[Path],
    source: tyro.conf.Positional[str],
    out: Path,
    device: str = "auto",
    batch: int = 256,
) -> None:
    """Write the features of every picture of a source, with their names."""
    check("--batch", Count, batch)
    place = resolve_device(device)
    embed(source, encoder=encoder, out=out, device=place, batch=batch)
    print(f"features: {out}" + f"\nnames: {names_file(out)}" * (out.suffix == ".npy"))


def _finetune(
    encoder: tyro.conf.Positional[Path],
    task: tyro.conf.Positional[str],
    finetune: Annotated[FinetuneConfig, tyro.conf.arg(name="")] = FinetuneConfig(),  # noqa: B008
    seeds: int = 1,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Fine-tune the whole network on few labels, beside the linear probe on the same ones."""
    check("--seeds", Few, seeds)
    found = load_encoder(encoder)
    labelled = load_task(task, size=found.size, channels=found.channels)
    folder = out or Path("runs") / f"finetune-{labelled.name}"
    with lock_folder(folder):
        scores = finetune_scores(
            encoder=found,
            task=labelled,
            config=finetune,
            seeds=seeds,
            device=resolve_device(device),
            folder=folder,
        )
        scores.save(folder / "scores.json")
    print(f"{finetune_text(scores)}\n\nall accuracies: {folder / 'scores.json'}")


def _doctor(out: Path = Path("runs")) -> None:
    """Show what is installed, what works, and how much room there is for runs in `out`."""
    print(doctor(folder=out))


def _runs(
    folders: tyro.conf.Positional[tuple[str, ...]] = ("runs",),
) -> None:
    """List the runs in a folder, or `compare A B`: two runs' recipes and scores."""
    if folders[0] == "compare":
        if len(folders) != 3:
            raise DecoctError("decoct runs compare takes two runs: decoct runs compare A B")
        print(compare_runs(folders[1], folders[2]))
        return
    for folder in folders:
        print(columns(runs_rows(runs_in(folder))))


def _clean(run: tyro.conf.Positional[Path], yes: bool = False) -> None:
    """Delete the stages that a run's recipe does not reach; says which, and asks before."""
    folders = unreachable(run)
    if not folders:
        print(f"nothing to delete: the recipe of {run} reaches every stage in it")
        return
    rows = [[folder.name, size_text(size_of(folder))] for folder in folders]
    print(columns([*rows, ["together", size_text(sum(map(size_of, folders)))]]))
    if studies := studies_in(run):
        print(f"{' and '.join(studies)} stay; what they measured would be made again if need be")
    if not yes and not _agrees("delete these folders?"):
        print("nothing is deleted; --yes deletes them without asking")
        return
    with lock_folder(run):
        folders = [folder for folder in folders if folder in unreachable(run)]  # still
        remove(folders)
    print(f"deleted: {len(folders)}")


def _agrees(question: str) -> bool:
    """Whether the user says yes; without a terminal nobody does."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _verify(path: tyro.conf.Positional[Path]) -> None:
    """Read every byte of a run or a file; exit status 1 if something is damaged."""
    found = verify(path)
    print(verify_text(found))
    if not is_whole(found):
        sys.exit(1)


def _completion(shell: tyro.conf.Positional[str]) -> None:
    """Print a script that lets a shell complete verbs, recipes, stages, sections and flags."""
    print(completion_script(shell))


TOOLS: dict[str, Callable[..., None]] = {
    "report": _report,
    "show": _show,
    "replay": _replay,
    "export": _export,
    "push": _push,
    "pull": _pull,
    "embed": _embed,
    "finetune": _finetune,
    "doctor": _doctor,
    "runs": _runs,
    "clean": _clean,
    "verify": _verify,
    "completion": _completion,
}
