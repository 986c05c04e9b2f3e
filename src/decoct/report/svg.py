"""Figures as inline SVG with the page's colours and fonts, in light and dark mode."""

import io
import re
import warnings
from typing import Any

from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from decoct.core.printable import printable

SERIES = 5  # number of colours for series; further series reuse them with broken lines
# matplotlib has no CSS: each of these stands for a variable of the page and is replaced later.
_VARIABLES = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--line",
    "#040404": "--accent",
    "#060606": "--paper",
    **{f"#0505{i:02x}": f"--series-{i}" for i in range(SERIES)},
}
COLOURS = {variable: sentinel for sentinel, variable in _VARIABLES.items()}
INK, MUTED, LINE = (COLOURS[f"--{name}"] for name in ("ink", "muted", "line"))
ACCENT, PAPER = (COLOURS[f"--{name}"] for name in ("accent", "paper"))
WIDTH = 4.3  # inches; the page scales it to its column
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "decoct",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def new_figure(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty figure of this size, in inches; draw it with the settings of `STYLE`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def svg_of(figure: Figure, title: str) -> Markup:
    """The figure as an SVG element that fits its column and uses the page's colours."""
    for text in figure.findobj(Text):  # names of a stranger's methods and tasks
        text.set_text(printable(text.get_text()))
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page's font may have the glyph
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would affect the whole page
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", svg)  # keeps ids that are referred to
    for sentinel, variable in _VARIABLES.items():
        svg = svg.replace(sentinel, f"var({variable})")
    label = escape(title)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
