"""The loss over two parameters as contour lines, with the path of a descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.figures import canvas
from bpengine.explain.sweeps.sweep import Sweep
from bpengine.i18n.translate import Translate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure


def surface(figure: Figure, axes: Axes, swept: Sweep, translate: Translate) -> None:
    """Draw the losses of two parameters, with the path of a descent or the model's own values.

    Raises ConfigError for a single value of a parameter.
    """
    if min(swept.loss.shape) < 2:
        raise ConfigError(
            f"a surface requires at least 2 values of each parameter, got {' x '.join(map(str, swept.loss.shape))}."
        )
    canvas.frame(axes, *swept.names, grid=False)
    first, second = (np.argsort(v, kind="stable") for v in swept.values)
    x, y, loss = swept.values[0][first], swept.values[1][second], swept.loss[np.ix_(first, second)].T
    shown = np.ma.masked_invalid(loss)
    levels = _levels(loss)
    if levels is not None:
        filled = axes.contourf(x, y, shown, levels=levels, cmap="cividis", norm=_norm(loss))
        axes.contour(x, y, shown, levels=levels, colors="white", linewidths=0.6, norm=_norm(loss))
        canvas.colour_bar(figure, axes, filled, translate("loss_axis"), (levels[0], levels[-1]))
    bad = np.argwhere(~np.isfinite(loss))
    if bad.size:
        where = ", ".join(canvas.number(float(v)) for v in (x[bad[0, 1]], y[bad[0, 0]]))
        label = translate("not_finite", count=len(bad), where=where)
        axes.plot(x[bad[:, 1]], y[bad[:, 0]], canvas.BAD, color=canvas.INK, markersize=6, label=label)
    _walk(axes, swept, translate)


def _levels(loss: HostArray) -> HostArray | None:
    """Return the losses of the contour lines, in equal ratios where the losses span decades; None without two losses."""
    finite = loss[np.isfinite(loss)]
    if not finite.size or finite.min() == finite.max():
        return None
    space = np.geomspace if canvas.spans_decades(finite) else np.linspace
    levels: HostArray = space(finite.min(), finite.max(), 14)
    levels[0], levels[-1] = finite.min(), finite.max()  # exact ends: the last interval includes its upper end
    return levels


def _norm(loss: HostArray) -> LogNorm | None:
    norm: LogNorm | None = canvas.library("colors").LogNorm() if canvas.spans_decades(loss) else None
    return norm


def _walk(axes: Axes, swept: Sweep, translate: Translate) -> None:
    """Draw the path of two parameters, or the point of the model's own values."""
    descent = swept.descent
    style: canvas.Style = {"color": canvas.VERMILION, "markeredgecolor": "white", "zorder": 4, "clip_on": False}
    if descent is None or not descent.points:
        value = ", ".join(map(canvas.number, swept.at))
        axes.plot(
            *([v] for v in swept.at),
            marker="*",
            markersize=17,
            linestyle="",
            label=translate("here", value=value),
            **style,
        )
        return
    way = np.array([*(p.value for p in descent.points), descent.points[-1].new])
    label = translate("descent_any", count=len(descent.points))
    few = len(way) <= canvas.FEW_POINTS
    axes.plot(*way.T, color="white", linewidth=6, zorder=3)
    dots: canvas.Style = {"markersize": 8} if few else {"markersize": 4, "markeredgewidth": 0}
    axes.plot(*way.T, marker="o", linewidth=1.8, label=label, **{**style, **dots})
    for name, point, marker in (("start", way[0], "s"), ("end", way[-1], "*")):
        text = translate(name, value=", ".join(map(canvas.number, point)))
        axes.plot(
            *point[:, None], marker=marker, markersize=13 if marker == "s" else 19, linestyle="", label=text, **style
        )
