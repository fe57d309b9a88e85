"""The network with its values and gradients: outputs in the circles, weights on the lines, gradients below each."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import ArrayLike
from bpengine.errors import ConfigError
from bpengine.explain.figures import canvas
from bpengine.explain.figures.label_placement import RADIUS
from bpengine.explain.figures.network_artists import draw_lines, draw_marks
from bpengine.explain.figures.network_layout import Diagram, diagram
from bpengine.explain.lookup import check_row, find_layer, find_unit
from bpengine.explain.result import translator_for
from bpengine.explain.terms.sums import Terms
from bpengine.explain.trace.trace import Trace
from bpengine.explain.units.explain import explain_trace
from bpengine.explain.units.text import family_of
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import Translate
from bpengine.trained import TrainedNetwork, input_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, RIGHT, HEAD, FOOT = 0.8, 2.1, 1.2, 0.7  # room around the middles of the circles, in inches
CHARACTERS = 8.6  # characters of the largest text per inch


def network(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sample: int = 0,
    layer: int | str | None = None,
    unit: int | None = None,
    lang: str | None = None,
) -> Figure:
    """Return a matplotlib Figure of a small network in a training step on x, y, with the numbers of row `sample`.

    layer, unit: a unit whose gradient is written out below as a sum, gradient x weight + gradient x weight + ... over the
    next layer's units; everything else is drawn faded. The inputs of a model with Features have their names.
    Raises ConfigError for a network too large to be read (more than 5 layers, 8 units or 24 parameters in one), a row, layer
    or unit that does not exist, an unknown language, or without matplotlib.

    >>> from bpengine.explain import figures
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> figure = figures.network(model, xor.x, xor.y, sample=1, layer=0, unit=2)
    >>> len(figure.axes)
    1
    """
    translate = translator_for(lang, FIGURES)
    if (layer is None) != (unit is None):
        raise ConfigError(f"the network figure requires layer and unit together, got layer={layer!r}, unit={unit!r}.")
    traced: Trace = model.trace(x, y)
    row = check_row(traced.rows, sample)
    drawn = diagram(traced, row)
    chosen = None
    if layer is not None and unit is not None:
        layer_trace = find_layer(traced, layer)
        chosen = (layer_trace.place, find_unit(layer_trace, unit))
    width = max(drawn.width + LEFT + RIGHT, 9.0)
    lines = [] if chosen is None else _wrapped(sum_lines(traced, *chosen, row, translate), width)
    below = canvas.broken(_below(traced, row, translate), width, canvas.TEXT)
    figure, axes = _paper(drawn, width, HEAD + canvas.LINE * max(0, below.count("\n") - 1), FOOT + 0.3 * len(lines))
    draw_lines(axes, drawn, chosen)
    draw_marks(axes, drawn, chosen, translate, input_names(model, ()))
    _heads(axes, drawn, traced, row, translate)
    canvas.title(figure, translate("network"), below)
    _texts(figure, lines, translate)
    return figure


def _wrapped(lines: list[str], width: float) -> list[tuple[str, bool]]:
    """Return lines that fit a figure of a width in inches, and for each whether it is part of the last one, the result."""
    fitting = [textwrap.wrap(line, int(CHARACTERS * width), subsequent_indent="    ") for line in lines]
    return [(part, i == len(lines) - 1) for i, parts in enumerate(fitting) for part in parts]


def _paper(drawn: Diagram, width: float, head: float, foot: float) -> tuple[Figure, Axes]:
    """Return a figure whose data are inches, with room for texts above and below."""
    height = drawn.height + head + foot
    figure = canvas.sheet(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    left = LEFT + (width - drawn.width - LEFT - RIGHT) / 2
    axes.set_xlim(-left, width - left)
    axes.set_ylim(-foot, height - foot)
    return figure, axes


def _heads(axes: Axes, drawn: Diagram, traced: Trace, row: int, translate: Translate) -> None:
    """Write the names of the columns and the target of each output."""
    top = drawn.height + 0.12
    canvas.write(axes, 0.0, top, translate("inputs"), fontweight="bold")
    for column, marks in zip(drawn.columns[1:], drawn.marks[1:], strict=True):
        head = translate("layer_head", place=column.place, kind=column.kind)
        canvas.write(axes, marks[0].x, top, head, fontweight="bold")
    target = traced.target[row]
    outputs = [spot for spot in drawn.marks[-1] if spot.unit is not None]
    for spot in outputs:
        value = float(int(target) == spot.unit if np.ndim(target) == 0 else target[spot.unit])
        text = translate("target", value=canvas.number(value))
        canvas.write(axes, spot.x + RADIUS + 0.12, spot.y, text, ha="left", color=canvas.GREEN)


def _below(traced: Trace, row: int, translate: Translate) -> str:
    """Return the lines below the title."""
    loss = canvas.number(traced.loss)
    below = translate("network_one", loss=loss)
    if traced.rows > 1:
        below = translate("network_below", row=row, rows=traced.rows, loss=loss)
    return below + ("\n" + translate("bad", cause=traced.first_bad.translated(translate)) if traced.first_bad else "")


def _texts(figure: Figure, lines: list[tuple[str, bool]], translate: Translate) -> None:
    """Write a unit's sum and the key below the network."""
    height = figure.get_figheight()
    style: canvas.Style = {"ha": "left", "va": "top", "parse_math": False}
    left = canvas.EDGE / figure.get_figwidth()
    for i, (line, result) in enumerate(lines):
        figure.text(
            left, (0.52 + 0.3 * (len(lines) - i)) / height, line, fontsize=canvas.LABEL, color=canvas.INK,
            fontweight="bold" if result else "normal", **style,
        )  # fmt: skip
    figure.text(left, 0.45 / height, translate("key"), fontsize=canvas.SMALL, color=canvas.GREY, **style)


TERMS = 4  # terms of a sum that are written out; the rest is one number
TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"  # a line ends between terms


def sum_lines(traced: Trace, place: str, unit: int, row: int, translate: Translate) -> list[str]:
    """Return the lines: the kind of sum, dL/da as the sum of its terms, dL/dz as dL/da times the slope."""
    explanation = explain_trace(traced, place, unit, row)
    if explanation.incoming is None:
        lines = [translate("outside"), f"dL/da = {canvas.number(float(explanation.da[0]))}"]
    else:
        dense = all(family_of(kernel) == "linear" for kernel in explanation.incoming.kernel)
        lines = [translate("sum_of_unit" if dense else "sum_other", unit=unit, place=place)]
        lines.append(f"dL/da = {_written(explanation.incoming.terms(0, TERMS), translate)}")
    if explanation.through is not None:
        lines.append(f"dL/dz = dL/da{TIMES}f'(z) = {_written(explanation.through.terms(0, TERMS), translate)}")
    return lines


def _written(terms: Terms, translate: Translate) -> str:
    parts = [f"{_bracketed(term.left)}{TIMES}{_bracketed(term.right)}" for term in terms]
    if terms.left_out:
        parts.append(f"{_bracketed(terms.rest)} ({translate('rest', count=terms.left_out)})")
    return f"{' + '.join(parts)} = {canvas.number(terms.value)}"


def _bracketed(value: float) -> str:
    text = canvas.number(value)
    return f"({text})" if value < 0 else text
