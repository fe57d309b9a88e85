"""Draw the lines and circles of a network, with their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpengine.explain.figures import canvas
from bpengine.explain.figures.label_placement import RADIUS, places
from bpengine.explain.figures.network_layout import Diagram, Line, UnitMark, Weighted
from bpengine.i18n.translate import Translate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTIAL = "\N{PARTIAL DIFFERENTIAL} "
FADED = 0.25
LONGEST = 20  # characters of a name above a circle
WIDE = 72.0  # size in points times characters of a text that fills a circle
Chosen = tuple[str, int] | None  # place and unit of the highlighted circle


def draw_lines(axes: Axes, drawn: Diagram, chosen: Chosen) -> None:
    """Draw every connection, each weight above its line and its gradient below."""
    for line in drawn.lines:
        _line(axes, line, _fade(line, chosen))
    _weights(axes, drawn, chosen)


def draw_marks(axes: Axes, drawn: Diagram, chosen: Chosen, translate: Translate, inputs: Sequence[str] = ()) -> None:
    """Draw every circle with its unit's name, output and gradient; the chosen one in bold. inputs: names of the inputs."""
    for spot in drawn.spots:
        _spot(axes, spot, chosen, _name(spot, translate, inputs))


def _name(spot: UnitMark, translate: Translate, inputs: Sequence[str]) -> str:
    if spot.unit is None:
        return translate("ones")
    if spot.place:
        return translate("unit_name", unit=spot.unit)
    return shortened(inputs[spot.unit]) if inputs else translate("input_name", unit=spot.unit)


def shortened(name: str) -> str:
    """Return a name that fits above a circle: for a long one its two ends.

    >>> shortened("bill length = (missing)")
    'bill leng… (missing)'
    """
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2 - 1]}\N{HORIZONTAL ELLIPSIS}{name[-LONGEST // 2 :]}"


def _fade(line: Line, chosen: Chosen) -> float:
    """Return the opacity of a line: those that leave the chosen unit are fully opaque."""
    return 1.0 if chosen is None or (line.start.place, line.start.unit) == chosen else FADED


def _line(axes: Axes, line: Line, alpha: float) -> None:
    style: canvas.Style = {"color": canvas.GREY, "linestyle": ":", "linewidth": 1.4}
    if isinstance(line, Weighted):
        style = {
            "color": canvas.BLUE,
            "linestyle": "-",
            "linewidth": 0.9 + 2.2 * math.tanh(abs(line.weight)),
        }
        if not math.isfinite(line.weight):
            style = {"color": canvas.INK, "linestyle": "-.", "linewidth": 2.0}
        elif line.weight < 0:
            style |= {"color": canvas.VERMILION, "linestyle": (0, (5, 2.5))}
    axes.plot([line.start.x, line.end.x], [line.start.y, line.end.y], alpha=alpha, zorder=1 + alpha, **style)


def _weights(axes: Axes, drawn: Diagram, chosen: Chosen) -> None:
    """Write each weight above its line and its gradient below, where there is room."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.3}
    for line, (x, y) in places(drawn.lines):
        style: canvas.Style = {
            "rotation": math.degrees(line.angle),
            "rotation_mode": "anchor",
            "zorder": 1.5 + _fade(line, chosen),
        }
        right, up = -0.095 * math.sin(line.angle), 0.095 * math.cos(line.angle)
        weight, gradient = canvas.number(line.weight), PARTIAL + canvas.number(line.gradient, 3)
        # A number beside a faded line is grey and not faded, so that it stays readable.
        ink = canvas.INK if _fade(line, chosen) == 1.0 else canvas.GREY
        canvas.write(axes, x + right, y + up, weight, fontsize=canvas.SMALL, color=ink, bbox=box, **style)
        canvas.write(axes, x - right, y - up, gradient, fontsize=canvas.SMALL, color=canvas.PURPLE, bbox=box, **style)


def _spot(axes: Axes, spot: UnitMark, chosen: Chosen, name: str) -> None:
    patches = canvas.library("patches")
    bold = chosen is not None and (spot.place, spot.unit) == chosen
    style: canvas.Style = {
        "facecolor": "white",
        "edgecolor": canvas.INK,
        "linewidth": 3.2 if bold else 1.6,
        "zorder": 3,
    }
    if spot.unit is None:
        style |= {"facecolor": canvas.PALE, "linewidth": 1.0}
        half = 0.62 * RADIUS
        axes.add_patch(patches.Rectangle((spot.x - half, spot.y - half), 2 * half, 2 * half, **style))
    else:
        axes.add_patch(patches.Circle((spot.x, spot.y), RADIUS, **style))
    value = canvas.number(spot.value)
    canvas.write(axes, spot.x, spot.y, value, fontsize=min(canvas.TEXT, WIDE / len(value)), fontweight="bold", zorder=4)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
    above = spot.y + (RADIUS if spot.unit is not None else 0.62 * RADIUS) + 0.13
    canvas.write(axes, spot.x, above, name, fontsize=canvas.SMALL, color=canvas.GREY, bbox=box, zorder=4)
    if spot.gradient is not None:
        text = PARTIAL + canvas.number(spot.gradient)
        canvas.write(
            axes, spot.x, spot.y - RADIUS - 0.15, text, color=canvas.PURPLE, fontweight="bold", bbox=box, zorder=4
        )
