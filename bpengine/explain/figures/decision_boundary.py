"""The decision boundary of a network with two inputs: the class that it predicts at every point of the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import ArrayLike, HostArray
from bpengine.data import Encoded
from bpengine.errors import ConfigError, DataError, ShapeError
from bpengine.explain.figures import canvas
from bpengine.explain.result import translator_for
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import Translate
from bpengine.streams import stream
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork, input_names
from bpengine.training.rows import classes_of, model_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 201  # points of the grid along each side
CLASSES = ((canvas.BLUE, "o"), (canvas.VERMILION, "s"), (canvas.GREEN, "^"), (canvas.PURPLE, "D"), (canvas.ORANGE, "v"))


def decision_boundary(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    threshold: float = 0.5,
    features: Sequence[str] | None = None,
    lang: str | None = None,
) -> Figure:
    """Return a matplotlib Figure of a classifier over its two inputs, with the rows; a ring marks misclassified rows.

    x (rows, 2). One output: y (rows, 1) has two values, and the boundary is where the output is `threshold`. Several: y has
    class numbers, and the boundary is where the two largest outputs are equal. features: the two inputs' names. Class names
    are the model's.
    Raises ShapeError for a network that has not 2 inputs, DataError for more than two values of y with one output,
    ConfigError for more than five classes, an unknown language, or without matplotlib.

    >>> from bpengine.explain import figures
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> figures.decision_boundary(model, xor.x, xor.y, features=["a", "b"]).axes[0].get_xlabel()
    'a'
    """
    translate, network = translator_for(lang, FIGURES), model.network
    if network.inputs != 2:
        hint = " Use fitted_curve." if network.inputs == 1 else " Train on two of the features to draw it."
        raise ShapeError(f"decision_boundary requires a network with 2 inputs, got {network.inputs}.{hint}")
    if network.outputs > len(CLASSES):
        raise ConfigError(f"decision_boundary draws at most {len(CLASSES)} classes, got {network.outputs}.")
    if features is not None and len(features) != 2:
        raise ConfigError(f"decision_boundary requires the names of 2 features, got {len(features)}.")
    rows = model_rows(model, x, y)
    data = np.asarray(rows.x, dtype=float)
    labels, names = _labels(model, np.asarray(rows.target), threshold)
    figure = canvas.sheet(7.2, 6.2)
    axes = canvas.frame(
        figure.subplots(), *(features or input_names(model, [translate("feature", unit=i) for i in (0, 1)])), grid=False
    )
    sides = [np.linspace(*canvas.margin(column.min(), column.max(), 0.15), POINTS) for column in data.T]
    plane = np.stack(np.meshgrid(*sides), axis=-1)
    output = _predict(model, plane.reshape(-1, 2)).reshape(POINTS, POINTS, -1)
    (_one_output if network.outputs == 1 else _largest)(figure, axes, sides, output, threshold, translate)
    verdicts = _verdicts(_predict(model, data), threshold)
    _rows(axes, data, labels, verdicts != labels, names, translate)
    _not_finite(axes, plane[~np.isfinite(output).all(axis=2)], translate)
    right = int(np.sum(verdicts == labels))
    canvas.title(figure, translate("boundary"), translate("on_right_side", right=right, rows=len(data)))
    canvas.legend(figure, axes)
    return figure


def _predict(model: TrainedNetwork, x: HostArray) -> HostArray:
    with Quiet():
        return np.asarray(model.predict(Encoded(x)), dtype=float)


def _verdicts(output: HostArray, threshold: float) -> HostArray:
    """Return the class of each row of outputs (n, outputs); -1 for no class, where an output is NaN."""
    chosen = output[:, 0] > threshold if output.shape[1] == 1 else np.argmax(output, axis=1)
    return np.where(np.isnan(output).any(axis=1), -1, chosen)


def _labels(model: TrainedNetwork, target: HostArray, threshold: float) -> tuple[HostArray, list[str]]:
    """Return the rows' class numbers, and the classes' names."""
    class_names = model.class_names if len(model.class_names or ()) == classes_of(model.network) else None
    if model.network.outputs > 1:
        labels = target if target.ndim == 1 else np.argmax(target, axis=1)
        return labels, [str(class_names[i]) if class_names else str(i) for i in range(model.network.outputs)]
    values = np.unique(target)
    if len(values) > 2 or (len(values) == 2 and not values[0] <= threshold < values[1]):
        shown = ", ".join(f"{v:g}" for v in values[:4])
        raise DataError(
            f"decision_boundary requires two values of y, one on each side of the threshold {threshold:g}, got {shown}."
        )
    labels = (target.reshape(-1) > threshold).astype(int)
    plain = [f"{target.reshape(-1)[labels == k][0]:g}" if np.any(labels == k) else str(k) for k in (0, 1)]
    return labels, list(map(str, class_names)) if class_names and len(class_names) == 2 else plain


def _one_output(
    figure: Figure, axes: Axes, sides: list[HostArray], output: HostArray, threshold: float, translate: Translate
) -> None:
    """Shade by the output, and draw the line where it is the threshold."""
    shown = np.ma.masked_invalid(output[:, :, 0])
    if shown.count() == 0:
        return
    shades = canvas.library("colors").LinearSegmentedColormap.from_list("sides", ["#9cc9e6", "#ffffff", "#f3b48a"])
    reach = max(float(np.abs(shown - threshold).max()), 1e-12)
    norm = canvas.library("colors").Normalize(threshold - reach, threshold + reach)
    mesh = axes.pcolormesh(*sides, shown, cmap=shades, norm=norm, shading="gouraud", rasterized=True)
    low, high = float(shown.min()), float(shown.max())
    bar = canvas.colour_bar(figure, axes, mesh, translate("colourbar"), (low, high))
    bar.ax.set_ylim(low, high) if low < high else None
    if low < threshold < high:
        axes.contour(*sides, shown, levels=[threshold], colors=canvas.INK, linewidths=2.4)
        axes.plot(
            [],
            [],
            color=canvas.INK,
            linewidth=2.4,
            label=translate("boundary_line", threshold=canvas.number(threshold)),
        )


def _largest(
    figure: Figure, axes: Axes, sides: list[HostArray], output: HostArray, threshold: float, translate: Translate
) -> None:
    """Shade each point by the class of its largest output, and draw the lines between classes."""
    chosen = np.ma.masked_array(np.argmax(output, axis=2), ~np.isfinite(output).all(axis=2))
    classes = output.shape[2]
    light = [canvas.library("colors").to_rgba(colour, 0.28) for colour, _ in CLASSES[:classes]]
    shades = canvas.library("colors").ListedColormap(light)
    axes.pcolormesh(*sides, chosen, cmap=shades, vmin=-0.5, vmax=classes - 0.5, shading="nearest", rasterized=True)
    for k in range(classes):
        ahead = np.ma.masked_invalid(output[:, :, k] - np.max(np.delete(output, k, axis=2), axis=2))
        if ahead.count() and ahead.min() < 0 < ahead.max():
            axes.contour(*sides, ahead, levels=[0.0], colors=canvas.INK, linewidths=1.4)
    axes.plot([], [], color=canvas.INK, linewidth=1.4, label=translate("boundary_argmax"))


def _rows(
    axes: Axes, data: HostArray, labels: HostArray, wrong: HostArray, names: list[str], translate: Translate
) -> None:
    size = 13 if len(data) <= 30 else 7 if len(data) <= 400 else 4
    for k, ((colour, marker), name) in enumerate(zip(CLASSES, names, strict=False)):
        own = data[labels == k]
        style: canvas.Style = {
            "color": colour,
            "markeredgecolor": "white",
            "markeredgewidth": 0.3 + size / 12,
            "clip_on": False,
        }
        axes.plot(
            *own.T, marker=marker, markersize=size, linestyle="", label=translate("class", name=name), zorder=4, **style
        )
    if wrong.any():
        ring: canvas.Style = {
            "markersize": size + 5,
            "markerfacecolor": "none",
            "markeredgecolor": canvas.INK,
            "markeredgewidth": 1.3,
        }
        axes.plot(*data[wrong].T, marker="o", linestyle="", label=translate("wrong_side"), zorder=5, **ring)


def _not_finite(axes: Axes, points: HostArray, translate: Translate) -> None:
    """Mark the points of the plane for which the output is not finite, a few of them."""
    if len(points):
        where = ", ".join(canvas.number(v) for v in points[0])
        few = points[stream("figure points", 0).permutation(len(points))[:200]]  # every n-th point would lie on a line
        label = translate("not_finite", count=len(points), where=where)
        axes.plot(*few.T, canvas.BAD, color=canvas.INK, markersize=5, label=label)
