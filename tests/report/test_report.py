"""Tests of the report: what is on the page, and how a browser renders it."""

import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decoct.artefacts.distilled import DistilledSet, TrainingRule
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import Score, Scores
from decoct.report.contents import read_contents
from decoct.report.page import render, write_report
from decoct.report.plots import Whisker, curves, intervals
from decoct.report.table import text_table
from decoct.run.recipe import Recipe

EVIL = '<script>alert(1)</script> & "co" $x^2$ 猫'
RECIPE = """\
name: {name}
method: {method}
teacher: {{source: embedded, train: false}}
targets: {{source: ''}}
"""
METHODS = {"none": 40.0, "random": 42.0, "high-loss": 42.1, "mkdt": 45.0, "full": 47.0}


def distilled_set(
    seed: int, *, source: str, count: int, iterations: int, method: str = "mkdt"
) -> DistilledSet:
    draws = torch.Generator().manual_seed(seed)
    initial = torch.rand(count, 3, 8, 8, generator=draws)
    return DistilledSet(
        images=initial + 0.1,
        targets=torch.zeros(count, 2),
        mean=torch.zeros(3),
        std=torch.ones(3),
        rule=TrainingRule(lr=0.1, momentum=0.0, weight_decay=0.0, batch=4),
        method=method,
        initial=initial,
        history={
            "loss": torch.linspace(1, 0.8, iterations),
            "lr": torch.linspace(0.1, 0.2, iterations),
        },
        provenance={"images": source, "seed": seed},
    )


def make_scores(*, seeds: int, task: str = "animals") -> Scores:
    """mkdt is well above random; high-loss goes up and down around it."""
    scores = [
        Score(method, seed, task, labels, 0, value + 0.1 * seed + wobble)
        for labels in ("5%", "10 a class")
        for seed in range(seeds)
        for method, value in METHODS.items()
        for wobble in [(-1) ** seed if method == "high-loss" else 0.0]
    ]
    facts = {"mkdt": {"images": 60, "bytes": 48_000, "steps": 1200}}
    return Scores(tuple(scores), facts)


def make_run(
    folder: Path,
    *,
    seeds: int = 3,
    name: str = "small",
    task: str = "animals",
    sets: bool = True,
    method: str = "mkdt",
) -> Path:
    stages, seconds, sorts = {"images": "images-0"}, {"images": 0.5}, {"images": "images"}
    for seed in range(seeds):
        label = f"{method}-seed{seed}"
        seconds[f"encoder-{label}"], sorts[f"encoder-{label}"] = 30.0, "pre-training"
        if sets:
            stages[label], seconds[label] = f"{label}-0", 61.0
            sorts[label] = f"distilling ({method})"
            found = distilled_set(seed, source=name, count=60, iterations=80, method=method)
            found.save(folder / stages[label] / "distilled.safetensors")
    content = {"stages": stages, "seconds": seconds, "sorts": sorts}
    content |= {"decoct": "0.1.0", "torch": "2.0-of-run"}
    storage.save_json(folder / "run.json", content, kind="run")
    make_scores(seeds=seeds, task=task).save(folder / "scores.json")
    (folder / "recipe.yaml").write_text(
        RECIPE.format(name=repr(name), method=method), encoding="utf-8"
    )
    return folder


class Reader(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_html(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def read(folder: Path) -> Reader:
    return Reader(read_html(folder))


def test_the_page_says_what_the_run_found(tmp_path: Path) -> None:
    page = read(make_run(tmp_path))
    for words in (
        "distilled a set of 60 synthetic ones",
        "all 60 pairs, seed 0",
        "With 5% of the labels",
        "With 10 labels a class",
        "mkdt 3.0 ± 0.0 points above random.",
        "high-loss +0.4 ± 2.9 points to random, within noise.",
        "gap recovered: (method - random) / (full - random)",
        "48.0 kB",
        "distilling (mkdt)3",
        "4 min 34 s in all",
        "name: 'small'",
        "2.0-of-run",
    ):
        squeezed = words.replace(" ", "")
        assert squeezed in page.text.replace(" ", ""), words


def test_there_are_pairs_and_plots(tmp_path: Path) -> None:
    page = read(make_run(tmp_path))
    assert page.tags.count("img") == 2 * 60
    # loss and learning rate; accuracy and difference for two choices of labels
    assert page.tags.count("svg") == 2 + 2 * 2
    assert all(f"seed {seed}" in page.text for seed in range(3))


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = read(make_run(tmp_path))
    links = [v for k, v in page.attributes if k in ("src", "href", "xlink:href", "data", "action")]
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert page.tags.count("script") == 1  # its own
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "@import" not in html
    assert "url(http" not in html


def test_references_within_plots_lead_somewhere(tmp_path: Path) -> None:
    page = read(make_run(tmp_path))
    known = {value for name, value in page.attributes if name == "id"}
    used = {v[1:] for k, v in page.attributes if k == "xlink:href"}
    used |= {v[5:-1] for k, v in page.attributes if k == "clip-path"}
    assert used
    assert used <= known


def test_text_from_data_is_escaped(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, name=EVIL, task=EVIL))
    assert page.tags.count("script") == 1
    assert page.text.count("<script>alert(1)</script>") >= 4  # title, heading, lede, tables, recipe


def test_text_in_plots_is_escaped() -> None:
    whisker = Whisker(EVIL, Interval.of([1.0, 2.0]))
    for plot in (
        intervals([whisker], title=EVIL, x=EVIL),
        curves({EVIL: [1.0, 2.0], "b": [2.0]}, title=EVIL, x=EVIL, y=EVIL),
    ):
        page = Reader(str(plot))
        assert "script" not in page.tags
        assert EVIL in page.text


def test_many_series_leave_their_plot_room() -> None:
    """A legend of 29 lines left none, which matplotlib said in a warning, an error here."""
    few, many = ({f"seed {i}": [2.0, 1.0] for i in range(count)} for count in (3, 29))
    drawn = str(curves(many, title="loss", x="iteration", y="loss"))
    assert "seed 28" not in drawn
    assert "seed 2" in str(curves(few, title="loss", x="iteration", y="loss"))


def test_the_teacher_is_among_the_differences(tmp_path: Path) -> None:
    make_run(tmp_path)
    found = make_scores(seeds=3)
    teacher = [replace(s, method="teacher") for s in found.scores if s.method == "mkdt"]
    Scores((*found.scores, *teacher), found.facts).save(tmp_path / "scores.json")
    plots = re.findall(r'aria-label="Paired difference.*?</svg>', read_html(tmp_path), re.DOTALL)
    assert len(plots) == 2 and all(">teacher<" in plot for plot in plots)


def test_a_blank_gap_says_why_once(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert "ap recovered is blank" not in read(tmp_path).text
    found = make_scores(seeds=3)
    few = tuple(s for s in found.scores if s.method != "full" and s.labels == "5%")
    Scores(few, found.facts).save(tmp_path / "scores.json")
    assert read(tmp_path).text.count("ap recovered is blank, because full was not run.") == 1
    low = tuple(replace(s, accuracy=40.0) if s.method == "full" else s for s in found.scores)
    said = text_table(Scores(tuple(s for s in low if s.labels == "5%"), found.facts))
    assert said.count("blank, because full is not surely above random, so there is no gap") == 1


def test_one_seed_has_no_intervals_and_says_so(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, seeds=1))
    assert "mkdt +3.0 points to random." in page.text
    assert page.text.count("ifferences come from one seed: they may be noise.") == 2  # per table
    assert "this may be noise" not in page.text
    assert "nan" not in page.text
    assert "±" not in page.text.replace("mean over 1 seed ± half", "")


def test_pieces_that_are_missing_are_said_to_be(tmp_path: Path) -> None:
    make_run(tmp_path, sets=False)
    (tmp_path / "scores.json").unlink()
    (tmp_path / "recipe.yaml").unlink()
    page = read(tmp_path)
    assert "There is no distilled set in this run" in page.text
    assert "no learning curves" in page.text
    assert "This run contains no comparison" in page.text
    assert tmp_path.name in page.text


def test_a_bare_run_has_a_page(tmp_path: Path) -> None:
    storage.save_json(tmp_path / "run.json", {"stages": {}, "seconds": {}}, kind="run")
    Scores(()).save(tmp_path / "scores.json")
    assert "recorded no times" in read(tmp_path).text


def test_a_comparison_without_random_has_no_differences(tmp_path: Path) -> None:
    make_run(tmp_path)
    scores = make_scores(seeds=2)
    kept = tuple(s for s in scores.scores if s.method == "mkdt")
    Scores(kept, scores.facts).save(tmp_path / "scores.json")
    page = read(tmp_path)
    assert "points to random" not in page.text
    assert page.tags.count("svg") == 2 + 2


def test_what_is_damaged_is_named_and_the_rest_shown(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=2)
    damaged = tmp_path / "mkdt-seed0-0/distilled.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    page = read(tmp_path)
    assert f"Skipped: {damaged} is damaged" in page.text
    assert "all 60 pairs, seed 1" in page.text


def test_a_set_without_initial_images_is_shown_alone(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=1)
    small = distilled_set(0, source="x", count=3, iterations=2)
    replace(small, initial=None).save(tmp_path / "mkdt-seed0-0/distilled.safetensors")
    page = read(tmp_path)
    assert page.tags.count("img") == 3
    assert "The synthetic images: all 3, seed 0" in page.text


def test_stages_of_an_old_run_are_added_up_by_their_names(tmp_path: Path) -> None:
    """Its run.json does not say of what sort they are."""
    make_run(tmp_path)
    content = storage.load_json(tmp_path / "run.json", kind="run")
    del content["sorts"]
    storage.save_json(tmp_path / "run.json", content, kind="run")
    text = read(tmp_path).text.replace(" ", "")
    assert "mkdt33min03s" in text and "encoder-mkdt31min30s" in text


# What stands out is the recipe's own method, whichever it is.


def ours(html: str) -> list[str]:
    """The methods whose lines are highlighted, in the verdicts and in the tables."""
    found = re.findall(r'class="ours">\s*<(?:b|th scope="row")>([^<]+)<', html)
    assert found
    return found


def coloured(html: str) -> list[str]:
    """The methods whose names have a colour of their own in the plots."""
    return re.findall(r"<text [^>]*fill: var\(--accent\)[^>]*>([^<]+)<", html)


@pytest.mark.parametrize("method", ["mkdt", "views", "krr-st"])
def test_the_recipes_own_method_stands_out(tmp_path: Path, method: str) -> None:
    make_run(tmp_path, method=method)
    scores = make_scores(seeds=3)
    more = [
        replace(s, method=m)
        for m in ("views", "krr-st")
        for s in scores.scores
        if s.method == "mkdt"
    ]
    facts = {m: scores.facts["mkdt"] for m in ("mkdt", "views", "krr-st")}
    Scores((*scores.scores, *more), facts).save(tmp_path / "scores.json")
    contents = read_contents(tmp_path)
    assert contents.hero == method
    html = render(contents)
    assert set(ours(html)) == {method}
    # Verdicts and lines for two choices of labels; what it is; its cost.
    assert len(ours(html)) == 2 + 2 + 1 + 1
    assert coloured(html) == [method] * 4
    page = Reader(html)
    # The number to see first is its own.
    assert re.findall(r"([a-z-]+) over random, 5% of the labels", page.text) == [method]


def test_a_recipe_that_names_no_method_has_the_default_one(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text("name: small\n")
    assert read_contents(tmp_path).hero == Recipe().method


def test_the_sets_that_are_shown_are_the_recipes_own(tmp_path: Path) -> None:
    make_run(tmp_path, method="krr-st")
    found = read_contents(tmp_path).sets
    assert list(found) == ["krr-st"] and list(found["krr-st"]) == [0, 1, 2]
    page = read(tmp_path)
    assert page.tags.count("img") == 2 * 60 and "distilled a set of 60 synthetic ones" in page.text


def test_a_folder_of_no_run_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="not the folder of a run"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DecoctError, match="damaged"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=1)
    with pytest.raises(DecoctError, match="cannot be written"):
        write_report(tmp_path, out=tmp_path / "run.json" / "page.html")


def test_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=1)
    first, second = (write_report(tmp_path, out=tmp_path / n) for n in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def chromium(page: Path, *flags: str, profile: Path, width: int = 1280) -> bytes:
    """What a headless browser prints for a page."""
    binary = shutil.which("chromium")
    assert binary is not None
    quiet = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    )
    command = [
        binary,
        *quiet,
        f"--user-data-dir={profile}",
        f"--window-size={width},1600",
        *flags,
        page.as_uri(),
    ]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout


needs_browser = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed"
)


@needs_browser
def test_a_browser_reads_the_page(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", name=EVIL))
    printed = chromium(page, "--dump-dom", profile=tmp_path / "profile").decode("utf-8")
    dom = Reader(printed)
    assert dom.tags.count("script") == 1
    assert dom.tags.count("img") == 2 * 60
    assert "points above random" in dom.text


HACKED = "<script>document.title='x'</script><img src=x onerror=document.title='x'>"


@needs_browser
def test_no_script_but_the_pages_own_runs(tmp_path: Path) -> None:
    """Neither from names in the data, nor if a name ever were written out unescaped."""
    page = write_report(make_run(tmp_path / "run", name=HACKED, task=HACKED))
    html = page.read_text(encoding="utf-8")
    assert "onerror" not in dict(Reader(html).attributes) and html.count("<script>") == 1
    page.write_text(html.replace("</main>", f"{HACKED}</main>", 1), encoding="utf-8")
    printed = chromium(page, "--dump-dom", profile=tmp_path / "profile").decode("utf-8")
    assert "<title>x</title>" not in printed and printed.count("<title>") == 1
    assert 'class="script"' in printed  # the page's own has


PLAY = """<script>
document.querySelectorAll("#comparison table th button")[4].click();
document.querySelector("#images img").click();
</script></body>"""


@needs_browser
def test_a_click_sorts_a_table_and_another_enlarges_a_picture(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run"))
    html = page.read_text(encoding="utf-8")
    html = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", PLAY)
    page.write_text(html, encoding="utf-8")
    printed = chromium(page, "--dump-dom", profile=tmp_path / "profile").decode("utf-8")
    table = re.search(r"<table>.*?</table>", printed[printed.index('id="comparison"') :], re.DOTALL)
    assert table is not None
    methods = re.findall(r'<th scope="row">([^<]+)<', table[0])
    assert methods == ["full", "mkdt", "high-loss", "random", "none"]
    assert re.search(r"<dialog open[^>]*><img [^>]*src=.data:image/png", printed)


@needs_browser
@pytest.mark.parametrize(
    ("scheme", "width", "paper"), [(1, 1280, (251, 250, 247)), (0, 600, (21, 23, 26))]
)
def test_a_browser_draws_the_page(
    tmp_path: Path, scheme: int, width: int, paper: tuple[int, int, int]
) -> None:
    """Light on a desk, dark on a narrow screen: the page's colours, and something on it."""
    page = write_report(make_run(tmp_path / "run"))
    shot = tmp_path / "page.png"
    flags = (f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={scheme}")
    chromium(page, *flags, "--hide-scrollbars", profile=tmp_path / "profile", width=width)
    with Image.open(io.BytesIO(shot.read_bytes())) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (1600, width, 3)
    assert tuple(pixels[2, 2]) == paper
    share = (pixels == paper).all(2).mean()
    assert 0.4 < share < 0.97  # neither blank nor covered
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200
