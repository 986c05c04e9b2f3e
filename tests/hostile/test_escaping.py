"""Text from outside is text: on the page about a run, in cards and tables, in exported programs."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from decoct.artefacts.distilled import load_distilled
from decoct.artefacts.encoder import Encoder
from decoct.core.errors import DecoctError
from decoct.evaluation.interval import Interval
from decoct.evaluation.probe import ProbeScore
from decoct.evaluation.scores import Score, Scores
from decoct.models.registry import NetworkConfig, create_network
from decoct.report.card import Measured, card
from decoct.report.contents import Contents
from decoct.report.export_encoder import export_encoder
from decoct.report.page import render
from decoct.report.plain_encoder import architecture
from decoct.report.plots import Whisker, curves, intervals
from decoct.report.push import push
from decoct.report.table import markdown
from decoct.studies.ablation import Ablation, Outcome
from decoct.studies.frontier.cells import Cell, Frontier
from tests.report.test_report import Reader, chromium, distilled_set, needs_browser

EVIL = "<script>hit()</script>\"'><img src=x onerror=hit()>"
LONG = f"{EVIL}<svg onload=hit()></svg><a href='javascript:hit()'>x</a></title></style>-->{{{{7*7}}}}\n"
CARD = "x](javascript:alert(1)) ![](http://a/b.png) <b>&copy; `code` | cell\n---\ntags: [evil]\n# title"
LINES = (
    "a\n---\nb",
    "a\r---\rb",
    "a\u2028---\u2028b",
    "a\x85---\x85b",
    "'\"",
    "!!python/name:os.x",
)


def evil_contents() -> Contents:
    """Everything on the page that comes from a file says so."""
    methods = ("random", f"mkdt{EVIL}", "full")
    scores = [
        Score(m, seed, f"task{EVIL}", f"5%{EVIL}", 0, 40.0 + i + seed)
        for i, m in enumerate(methods)
        for seed in range(3)
    ]
    probes = [
        ProbeScore(f"task{EVIL}", f"5%{EVIL}", 0, 40.0 + i, {f"class{EVIL}": 40.0, "cat": 50.0 + i})
        for i in range(3)
    ]
    ablation = [
        Outcome(f"axis{EVIL}", f"{value}{EVIL}", value == "a", tuple(scores), (1.0, 0.9), 6.0)
        for value in "ab"
    ]
    cells = [
        Cell(
            method=method,
            network=f"convnet{EVIL}",
            axis="steps",
            budget=budget,
            optimiser=f"muon{EVIL}",
            lr_factor=1.0,
            bytes=10**6,
            steps=480,
            error=0.5,
            best=True,
            scores=tuple(Score("", s, f"task{EVIL}", "5%", 0, 40.0 + s) for s in range(2)),
        )
        for method in ("random", "carried")
        for budget in ("240", "480")
    ]
    return Contents(
        name=LONG,
        recipe=LONG,
        scores=Scores(tuple(scores), {m: {"images": 9, "bytes": 99, "steps": 4} for m in methods}),
        hero=f"mkdt{EVIL}",
        probes={m: probes for m in methods},
        sets={f"mkdt{EVIL}": {0: distilled_set(0, source=EVIL, count=9, iterations=8)}},
        ablation=Ablation(f"mine{EVIL}", tuple(ablation), {f"axis{EVIL}": f"what{EVIL}"}),
        frontier=Frontier(f"front{EVIL}", tuple(cells)),
        files={"distilled": Path(f"runs/{LONG}"), "encoder": Path(f"runs/{LONG}")},
        seconds={f"stage{EVIL}": 3.0, f"encoder-mkdt{EVIL}-seed0": 2.0},
        sorts={f"stage{EVIL}": f"sort{LONG}"},
        versions={f"torch{LONG}": f"2{LONG}"},
        notes=(f"{LONG} is damaged",),
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render(evil_contents())


def test_no_text_becomes_a_part_of_the_page(page: str) -> None:
    """Parsed without any policy: what stands there is ours."""
    found = Reader(page)
    assert found.tags.count("script") == 1 and found.tags.count("style") == 1
    assert found.tags.count("title") == 1 and "a" not in set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    links = [v for n, v in found.attributes if n in ("src", "href", "xlink:href", "srcset")]
    assert links and all(link.startswith(("data:image/png", "#")) for link in links)
    assert page.count("hit()") > 100  # it was there, as text
    assert "{{7*7}}" in page


def test_only_the_pages_own_script_may_run(page: str) -> None:
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert re.fullmatch(r"'sha256-[\w+/=]+'", rules["script-src"])
    assert rules["img-src"] == "data:"


HIT = "<head><script>function hit() { document.documentElement.dataset.hit = 1 }</script>"
CLICK = """<script>
for (const each of document.querySelectorAll("button, img, summary, text, b, td, th")) {
  each.dispatchEvent(new MouseEvent("click", {bubbles: true}));
}
document.documentElement.dataset.clicked = 1;
</script></body>"""


@needs_browser
def test_nothing_of_it_runs_in_a_browser(page: str, tmp_path: Path) -> None:
    """Escaping is enough by itself: the policy is taken away, and all that can be clicked is."""
    bare = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", CLICK)
    bare = bare.replace("<head>", HIT)
    (tmp_path / "page.html").write_text(bare, encoding="utf-8")
    printed = chromium(tmp_path / "page.html", "--dump-dom", profile=tmp_path / "profile")
    root = re.search(r"<html[^>]*>", printed.decode("utf-8"))
    assert root is not None and "data-clicked" in root[0] and "data-hit" not in root[0]


def test_text_in_plots_stays_text() -> None:
    for svg in (
        intervals([Whisker(EVIL, Interval.of([1.0, 2.0]))], title=EVIL, x=EVIL),
        curves({EVIL: [1.0, 2.0], "b": [2.0]}, title=EVIL, x=EVIL, y=EVIL),
    ):
        found = Reader(svg)
        assert not {"script", "img", "a", "style"} & set(found.tags)
        assert not [name for name, _ in found.attributes if name.startswith("on")]


# Cards and tables in Markdown


def front_matter(text: str) -> tuple[dict[str, object], str]:
    """As the hub reads it."""
    hub = pytest.importorskip("huggingface_hub")
    found = hub.DatasetCard(text)
    return yaml.safe_load(re.split(r"^---$", text, flags=re.MULTILINE)[1]), found.text


@pytest.mark.parametrize("words", [CARD, *LINES, LONG])
def test_a_licence_is_one_value_of_the_card(words: str) -> None:
    distilled = distilled_set(0, source=CARD, count=4, iterations=3)
    text = card(distilled, name="a/b", caption="c", licence=words, measured=Measured())
    head, body = front_matter(text)
    assert set(head) == {
        *("license", "license_name", "license_details", "pretty_name", "tags"),
        *("task_categories", "size_categories", "configs"),
    }
    assert head["license_details"] == " ".join(words.split()) and head["license"] == "other"
    assert "evil" not in head["tags"]  # type: ignore[operator]
    assert not re.search(
        r"(?<!\\)[<>]|(?<!\\)\]\(|^# title|^---", body.replace("(pictures.png)", "")
    )


def test_names_stay_in_their_cell() -> None:
    table = markdown([[CARD, "b"], ["c | d", "<i>\x1b[31m"]])
    assert len(table.splitlines()) == 3
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in table.splitlines())
    assert not re.search(r"(?<!\\)<|(?<!\\)\]\(|\x1b", table)


def test_the_names_in_a_strangers_set_are_escaped_in_its_card(tmp_path: Path) -> None:
    made = distilled_set(0, source="photos", count=4, iterations=3)
    story = {"images": CARD, "config": {CARD: CARD}, "decoct": CARD, CARD: CARD}
    replace(made, provenance=story).save(tmp_path / "set.safetensors")
    assert load_distilled(tmp_path / "set.safetensors").provenance["images"] == CARD
    out = Path(push(tmp_path / "set.safetensors", name="a/b", dry_run=tmp_path / "out"))
    head, body = front_matter((out / "README.md").read_text("utf-8"))
    assert "evil" not in head["tags"]  # type: ignore[operator]
    assert "<b>" not in body.replace("\\<b\\>", "") and "](java" not in body.replace("\\](", "")


# Programs


def test_programs_hold_no_text_of_a_strangers_encoder(tmp_path: Path) -> None:
    config = NetworkConfig(width=4, depth=2)
    network = create_network(config, channels=3, size=16, outputs=1)
    network.remove_head()
    evil = {"method": '"""\nimport os', "config": {"algorithm": '"""\nimport os'}, "source": "'''"}
    encoder = Encoder(network, config, 16, torch.zeros(3), torch.ones(3), provenance=evil)
    encoder.save(tmp_path / "e.safetensors")
    export_encoder(tmp_path / "e.safetensors", to="torch", out=tmp_path / "out")
    for file in (tmp_path / "out").glob("*.py"):
        source = file.read_text("utf-8")
        ast.parse(source)
        assert "import os" not in source and "'''" not in source


def test_a_configuration_that_names_no_network_is_not_written_into_a_program() -> None:
    network = create_network(NetworkConfig(width=4, depth=2), channels=3, size=16, outputs=1)
    network.body.pretrained_cfg = {"architecture": 'x"""\nimport os'}  # type: ignore[assignment]
    config = NetworkConfig(name="timm:local-dir:theirs")
    encoder = Encoder(network, config, 16, torch.zeros(3), torch.ones(3))
    with pytest.raises(DecoctError, match="not the name of a network"):
        architecture(encoder)
