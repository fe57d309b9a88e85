"""The sweep: the loss as a function of one parameter or two, with the points of a descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.figures import canvas
from bpengine.explain.figures.loss_contours import surface
from bpengine.explain.result import translator_for
from bpengine.explain.sweeps.sweep import Sweep
from bpengine.explain.sweeps.trajectory import Descent
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import Translate, translated_rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


NEAR = 0.045  # as a share of the axes: two points this near have no room for two numbers


def sweep(swept: Sweep, *, lang: str | None = None) -> Figure:
    """Return a matplotlib Figure of a `bpengine.explain.Sweep`: a curve for one parameter, contour lines for two.

    A descent in it is drawn point by point, numbered, with the slope at its start; the title names the rule that ended it.
    Raises ConfigError for anything but a sweep, two parameters with a single value, an unknown language, or without
    matplotlib.

    >>> from bpengine.explain import figures
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> figures.sweep(bp.sweep(model, xor.x, xor.y, "1.bias", [0.0, 1.0, 2.0])).axes[0].get_xlabel()
    '1.bias[0]'
    """
    translate = translator_for(lang, FIGURES)
    if not isinstance(swept, Sweep):
        raise ConfigError(f"the sweep figure requires a Sweep, as bp.sweep returns it, got {swept!r}.")
    figure = canvas.sheet(8.0, 5.4)
    axes = figure.subplots()
    draw = _curve if len(swept.names) == 1 else surface
    draw(figure, axes, swept, translate)
    below = ""
    if swept.descent is not None and swept.descent.stopped_by:
        below = translate(
            "stopped_at", count=len(swept.descent.points), rule=translated_rule(swept.descent.stopped_by, translate)
        )
    canvas.title(figure, translate("sweep", names=", ".join(swept.names)), below)
    canvas.legend(figure, axes, columns=1)
    return figure


def _curve(figure: Figure, axes: Axes, swept: Sweep, translate: Translate) -> None:
    canvas.frame(axes, swept.names[0], translate("loss_axis"))
    order = np.argsort(swept.values[0], kind="stable")
    values, loss = swept.values[0][order], swept.loss[order]
    marker: canvas.Style = {"marker": "o", "markersize": 5} if len(values) <= canvas.FEW_POINTS else {}
    axes.plot(values, loss, color=canvas.BLUE, linewidth=2.4, label=translate("curve"), **marker)
    if swept.descent is not None and swept.descent.points:
        _descent(axes, swept.descent, translate)
    else:
        _here(axes, swept, translate)
    bad = values[~np.isfinite(loss)]
    where = canvas.number(float(bad[0])) if bad.size else ""
    canvas.mark_bad(axes, bad, translate("not_finite", count=len(bad), where=where))


def _descent(axes: Axes, descent: Descent, translate: Translate) -> None:
    """Draw the points of a descent in one parameter: the loss before each step."""
    at = np.array([p.value[0] for p in descent.points])
    loss, slope = np.array([p.loss for p in descent.points]), descent.points[0].slope[0]
    low, high = canvas.margin(*axes.get_ylim(), 0.08)  # room for the numbers
    style: canvas.Style = {"linewidth": 1.2, "marker": "o", "markersize": 9, "markeredgecolor": "white", "zorder": 4}
    plain = all(_plain(p.value[0], p.slope[0], p.learning_rate, p.new[0]) for p in descent.points)
    label = translate("descent_steps" if plain else "descent_any", count=len(at))
    axes.plot(at, loss, color=canvas.VERMILION, linestyle="--", label=label, **style)
    reach = 0.12 * (axes.get_xlim()[1] - axes.get_xlim()[0])
    line = at[0] + reach * np.array([-1.0, 1.0])
    axes.plot(
        line, loss[0] + slope * (line - at[0]), color=canvas.INK, linewidth=2, linestyle=":",
        label=translate("tangent", slope=canvas.number(slope)), zorder=3,
    )  # fmt: skip
    axes.set_ylim(low, high)
    side = "left" if slope <= 0 else "right"  # on the side away from the curve
    _name(axes, (at[0], loss[0]), translate("start", value=canvas.number(at[0])), side)
    label = translate("descent_end", value=canvas.number(descent.points[-1].new[0]))
    axes.axvline(descent.points[-1].new[0], color=canvas.GREEN, linestyle="-.", label=label, zorder=1)
    _numbers(axes, at, loss)


def _plain(old: float, slope: float, rate: float | None, new: float) -> bool:
    """Say whether a step is that of plain descent."""
    return rate is not None and bool(np.isclose(old - rate * slope, new, rtol=1e-4, atol=1e-7))


def _numbers(axes: Axes, at: HostArray, loss: HostArray) -> None:
    """Write the steps' numbers; steps too near each other for separate numbers share a range of numbers."""
    box = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())])
    points = np.column_stack([at, loss])
    groups: list[list[int]] = [[0]]
    for i in range(1, len(points)):
        if np.linalg.norm((points[i] - points[groups[-1][-1]]) / box) > NEAR:
            groups.append([])
        groups[-1].append(i)
    for group in groups:
        first, last = group[0] + 1, group[-1] + 1
        axes.annotate(
            str(first) if first == last else f"{first}\N{EN DASH}{last}", points[group].mean(axis=0), (0, -17),
            textcoords="offset points", ha="center", va="center", fontsize=canvas.SMALL, color=canvas.VERMILION,
            fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip


def _here(axes: Axes, swept: Sweep, translate: Translate) -> None:
    """Mark the model's own value, if the curve includes it."""
    at, values = swept.at[0], swept.values[0]
    if values.min() <= at <= values.max():
        axes.axvline(at, color=canvas.GREEN, linestyle="-.", label=translate("here", value=canvas.number(at)))


def _name(axes: Axes, point: tuple[float, float], text: str, side: str) -> None:
    """Write beside a point of the descent; `side` is that of the text which touches it."""
    away = (12, 6) if side == "left" else (-12, 6)
    axes.annotate(
        text, point, away, textcoords="offset points", ha=side, fontsize=canvas.TEXT, color=canvas.INK,
        fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}, zorder=5,
        parse_math=False,
    )  # fmt: skip
