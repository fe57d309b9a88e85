"""The fitted curve: the predictions of a network with one input over that input, with the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine.backend import ArrayLike, HostArray
from bpengine.data import Encoded
from bpengine.errors import ConfigError, ShapeError
from bpengine.explain.figures import canvas
from bpengine.explain.result import translator_for
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import Translate
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork, input_names
from bpengine.training.rows import model_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 401  # points of the curve
SEEN = 0.01  # the smallest residual, as a share of the axis, that is drawn as a line
FEW = 30  # rows whose residuals are drawn
OTHERS = ((canvas.BLUE, (0, (6, 2))), (canvas.VERMILION, (0, (6, 2, 1, 2))), (canvas.PURPLE, (0, (3, 1, 1, 1, 1, 1))))


def fitted_curve(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    also: Mapping[str, Mapping[str, Any]] | None = None,
    feature: str | None = None,
    lang: str | None = None,
) -> Figure:
    """Return a matplotlib Figure of a model's predictions over its input, with the data and their residuals.

    x (rows, 1), y (rows, outputs) values. also: other values of some parameters, by the label of their curve, such as
    {"bias 0": {"1.bias": [0.0]}}, which show how the fit changed the curve. feature: the name of the input.
    Raises ShapeError for a network with more than one input, ConfigError for more than four curves, for class numbers as
    targets, an unknown language, or without matplotlib.

    >>> from bpengine.explain import figures
    >>> x, y = [[0.0], [0.5], [1.0]], [[0.0], [1.0], [0.0]]
    >>> model = bp.Model(bp.Network(1, [bp.Dense(2, "softplus"), bp.Dense(1)], "sum_squared_residuals"))
    >>> figures.fitted_curve(model, x, y, feature="dose").axes[0].get_xlabel()
    'dose'
    """
    translate, also = translator_for(lang, FIGURES), also or {}
    network = model.network
    if network.inputs != 1:
        hint = " Use decision_boundary." if network.inputs == 2 else " Sweep a parameter instead, or explain a unit."
        raise ShapeError(f"fitted_curve requires a network with 1 input, got {network.inputs}.{hint}")
    if network.loss.target == "classes":
        raise ConfigError("fitted_curve requires targets that are values, got a loss on class numbers.")
    if max(network.outputs, 1 + len(also)) > len(canvas.SERIES) or (also and network.outputs > 1):
        raise ConfigError(
            f"fitted_curve draws at most {len(canvas.SERIES)} curves, of one network or of one output, got "
            f"{network.outputs} outputs and {len(also)} other values of the parameters."
        )
    rows = model_rows(model, x, y)
    figure = canvas.sheet(8.0, 5.4)
    axes = canvas.frame(
        figure.subplots(), feature or input_names(model, [translate("feature", unit=0)])[0], translate("output_axis")
    )
    data, target = np.asarray(rows.x, dtype=float)[:, 0], _targets(model, rows.target)
    grid = np.linspace(*canvas.margin(data.min(), data.max(), 0.06), POINTS)
    _others(axes, model, grid, also, translate)
    _curves(axes, grid, _finite_predict(model, grid), translate)
    below = _data(axes, data, target, _finite_predict(model, data), translate)
    canvas.title(figure, translate("fitted"), below)
    canvas.legend(figure, axes)
    return figure


def _targets(model: TrainedNetwork, target: HostArray) -> HostArray:
    """Return targets (rows, outputs) in the unit of the predictions."""
    wide = np.asarray(target, dtype=float).reshape(len(target), -1)
    return wide if model.features is None else model.features.decode(wide)


def _finite_predict(model: TrainedNetwork, values: HostArray) -> HostArray:
    """Return the predictions for values (n,), without a warning where they overflow."""
    with Quiet():
        return np.asarray(model.predict(Encoded(values[:, np.newaxis])), dtype=float)


def _others(
    axes: Axes, model: TrainedNetwork, grid: HostArray, also: Mapping[str, Mapping[str, Any]], translate: Translate
) -> None:
    """Draw the curves of other parameters, thinner."""
    if not also:
        return
    other, kept = model.to(model.backend), model.parameters
    for (name, values), (colour, line) in zip(also.items(), OTHERS, strict=False):
        other.parameters = {**kept, **values}
        label = translate("predicted_with", name=name)
        axes.plot(grid, _finite_predict(other, grid), color=colour, linestyle=line, linewidth=2.0, label=label)


def _curves(axes: Axes, grid: HostArray, predicted: HostArray, translate: Translate) -> None:
    several = predicted.shape[1] > 1
    styles = canvas.SERIES if several else ((canvas.GREEN, "o", "-"),)
    for unit, (colour, _, line) in zip(range(predicted.shape[1]), styles, strict=False):
        label = translate("predicted_of", unit=unit) if several else translate("predicted")
        axes.plot(grid, predicted[:, unit], color=colour, linestyle=line, linewidth=2.8, label=label, zorder=3)
    bad = grid[~np.isfinite(predicted).all(axis=1)]
    where = canvas.number(float(bad[0])) if bad.size else ""
    canvas.mark_bad(axes, bad, translate("not_finite", count=len(bad), where=where))


def _apart(axes: Axes, residuals: HostArray) -> bool:
    """Tell whether a residual is long enough to be visible."""
    low, high = axes.get_ylim()
    return bool(np.any(np.abs(residuals) > SEEN * (high - low)))


def _data(axes: Axes, x: HostArray, target: HostArray, predicted: HostArray, translate: Translate) -> str:
    """Draw the rows and their visible residuals; return the sum of squared residuals as text."""
    several = target.shape[1] > 1
    if len(x) <= FEW and _apart(axes, target - predicted):
        places, observed = np.repeat(x, target.shape[1]), target.ravel()
        axes.vlines(
            places,
            observed,
            predicted.ravel(),
            color=canvas.INK,
            linestyle=":",
            linewidth=1.6,
            label=translate("residuals"),
        )
    for unit, (colour, marker, _) in zip(range(target.shape[1]), canvas.SERIES, strict=False):
        label = translate("observed_of", unit=unit) if several else translate("observed")
        style: canvas.Style = {
            "color": colour if several else canvas.INK,
            "marker": marker,
            "markersize": 10 if len(x) <= FEW else 4,
        }
        axes.plot(x, target[:, unit], linestyle="", markeredgecolor="white", label=label, zorder=4, **style)
    return translate("sum_squares", value=canvas.number(float(np.sum((target - predicted) ** 2))))
