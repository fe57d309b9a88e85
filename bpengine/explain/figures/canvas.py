"""Canvas: what all figures share: size, axes, colours, number format; matplotlib is imported when a figure is drawn.

Only matplotlib's objects are used, never pyplot: no window, no current figure, no change to `matplotlib.rcParams`.
Colours are those of Okabe, Ito, "Color universal design", 2008, which colour-blind people can distinguish; a marker, a line
style or a word always gives the same information as a colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.figures.save import DPI
from bpengine.extras import cure
from bpengine.i18n.translate import format_number
from bpengine.output.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.text import Text

BLUE, VERMILION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#007A5A", "#AA4499", "#E69F00"
Layout = Literal["constrained", "compressed", "tight"] | None
Style = dict[str, Any]  # how something is drawn

INK, GREY, PALE = "#1a1a1a", "#5f6670", "#dde0e5"
SERIES = ((BLUE, "o", "-"), (VERMILION, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"))
TITLE, LABEL, TEXT, SMALL = 15.0, 13.0, 11.5, 10.0  # points, on paper 8 inches wide
EDGE = 0.15  # inches left of a title
LINE = 0.24  # inches from one line below a title to the next
FEW_POINTS = 15  # points of a line up to which each gets a marker
BAD = "x"  # the marker of a number that is not finite


def package() -> ModuleType:
    """Return matplotlib; raise ConfigError that says what to install.

    >>> from bpengine.explain import figures
    >>> figures.require_matplotlib().__name__
    'matplotlib'
    """
    try:
        return import_module("matplotlib")
    except ImportError as error:
        raise ConfigError(f"figures require matplotlib, which is not installed. {cure('plot')}") from error


def library(name: str) -> ModuleType:
    """Return a module of matplotlib."""
    package()
    return import_module(f"matplotlib.{name}")


def sheet(width: float = 8.0, height: float = 5.0, *, layout: Layout = "constrained") -> Figure:
    """Return an empty figure, its size in inches."""
    package()
    from bpengine.explain.figures.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")


def frame(axes: Axes, x: str, y: str, *, grid: bool = True) -> Axes:
    """Set the labels, the frame and readable text sizes of axes."""
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=GREY, linewidth=1.0)
    axes.tick_params(which="both", colors=INK, labelsize=TEXT, color=GREY)
    axes.set_xlabel(visible(x), fontsize=LABEL, color=INK, parse_math=False)
    axes.set_ylabel(visible(y), fontsize=LABEL, color=INK, parse_math=False)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, color=PALE, linewidth=0.8, linestyle="-")
    axes.set_axisbelow(True)
    return axes


def title(figure: Figure, text: str, below: str = "") -> None:
    """Write the title, and lines below it in smaller letters, at the upper left, above all axes.

    Lines that are wider than the figure are broken.
    """
    width, height = figure.get_size_inches()
    style: Style = {"ha": "left", "va": "top", "parse_math": False}
    head, below = broken(visible(text), width, TITLE, "bold"), broken(visible(below), width, TEXT)
    top = 0.46 + 0.28 * head.count("\n")
    figure.text(EDGE / width, 1 - 0.12 / height, head, fontsize=TITLE, fontweight="bold", color=INK, **style)
    figure.text(EDGE / width, 1 - top / height, below, fontsize=TEXT, color=GREY, **style)
    figure.set_label(visible(text))
    engine: Any = figure.get_layout_engine()
    if engine is not None:
        lines = below.count("\n") + 1 if below else 0
        engine.set(w_pad=0.12, h_pad=0.08, rect=(0, 0, 1, 1 - (top + 0.02 + LINE * lines) / height))


def broken(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Return text with lines broken at blanks where they are wider than the figure, `width` in inches."""
    font = library("font_manager").FontProperties(weight=weight)
    measure = library("textpath").TextToPath().get_text_width_height_descent

    def fits(line: str) -> bool:
        return bool(measure(line, font, False)[0] * size / font.get_size() <= 72 * (width - 2 * EDGE))

    lines = []
    for whole in text.split("\n"):
        line, *rest = whole.split(" ")
        for word in rest:
            if fits(f"{line} {word}"):
                line += f" {word}"
            else:
                lines.append(line)
                line = word
        lines.append(line)
    return "\n".join(lines)


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> Text:
    """Write plain text at a point of the data; dollar signs do not begin mathematics."""
    chosen = {"fontsize": TEXT, "color": INK, "ha": "center", "va": "center", "parse_math": False, **style}
    return axes.text(x, y, visible(text), **chosen)


def legend(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """Put the legend below the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    legend_box = figure.legend(
        handles, labels, loc="outside lower left", ncols=columns, fontsize=TEXT, frameon=False, labelcolor=INK
    )
    for text in legend_box.get_texts():
        text.set_parse_math(False)
        text.set_text(visible(text.get_text()))


def number(value: float, digits: int = 4) -> str:
    """Return a number for a figure, with a minus sign as wide as a plus; one that is not finite is marked."""
    return format_number(value, digits).replace("-", "\N{MINUS SIGN}")


def digits_between(low: float, high: float) -> int:
    """Return how many digits numbers from low to high need so that those of a scale differ.

    >>> from bpengine.explain.figures.canvas import digits_between
    >>> digits_between(0.1, 0.9), digits_between(0.4987, 0.5012)
    (3, 5)
    """
    largest = max(abs(low), abs(high))
    return 3 if not 0 < high - low < largest else min(12, 3 + int(math.log10(largest / (high - low))))


def colour_bar(figure: Figure, axes: Axes, shaded: ScalarMappable, label: str, ends: tuple[float, float]) -> Colorbar:
    """Draw the scale of the colours beside the axes, its numbers from one end to the other all different."""
    digits = digits_between(*ends)
    bar = figure.colorbar(shaded, ax=axes, format=lambda value, _: number(value, digits))
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TEXT, colors=INK)
    return bar


def spans_decades(values: HostArray) -> bool:
    """Say whether numbers are all positive and the largest is at least a hundred times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() >= 100 * finite.min())


def mark_bad(axes: Axes, places: Iterable[float], label: str) -> None:
    """Mark, at the upper edge, where values are not finite; nothing where all are."""
    positions = list(places)
    if positions:
        axes.plot(
            positions, np.full(len(positions), 0.97), linestyle="", marker=BAD, markersize=9, markeredgewidth=2.2, color=INK,
            transform=axes.get_xaxis_transform(), label=label, clip_on=False, zorder=6,
        )  # fmt: skip


def margin(low: float, high: float, share: float) -> tuple[float, float]:
    """Return an interval widened on both sides by a share of its length, or around its only point."""
    extra = share * (high - low) or share * (abs(low) or 1.0)
    return low - extra, high + extra
