"""Gradient histograms: how large the partial derivatives are in each layer, and what is dead, saturated or not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.figures import canvas
from bpengine.explain.gradient_flow.health import LayerSensitivity
from bpengine.explain.gradient_flow.sensitivity import Sensitivity
from bpengine.explain.result import translator_for
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import Translate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 48
NAMED = 6  # units that are named; the others are counted
LAYERS = 12


def gradient_histograms(sensitivity: Sensitivity, *, lang: str | None = None) -> Figure:
    """Return a matplotlib Figure of a `bp.sensitivity`: per layer with parameters, a histogram of the sizes |dL/dw|.

    All layers share one logarithmic axis, so that a vanishing gradient is visible. Zeros
    cannot be drawn on it: they are counted beside it, with dead and saturated units and non-finite values.
    Raises ConfigError for anything but a sensitivity, more than 12 layers with parameters, an unknown language, or
    without matplotlib.

    >>> from bpengine.explain import figures
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> len(figures.gradient_histograms(bp.sensitivity(model, xor.x, xor.y)).axes)  # one for each layer
    2
    """
    translate = translator_for(lang, FIGURES)
    if not isinstance(sensitivity, Sensitivity):
        raise ConfigError(
            f"gradient_histograms requires a Sensitivity, as bp.sensitivity returns it, got {sensitivity!r}."
        )
    layers = [(layer, _values(sensitivity, layer)) for layer in sensitivity.layers if layer.norm is not None]
    layers = [(layer, values) for layer, values in layers if values.size]
    if not 1 <= len(layers) <= LAYERS:
        raise ConfigError(f"gradient_histograms draws 1 to {LAYERS} layers with parameters, got {len(layers)}.")
    figure = canvas.sheet(9.0, 1.7 + 1.3 * len(layers))
    every = figure.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
    edges = _edges(np.concatenate([values for _, values in layers]))
    for axes, (layer, values) in zip(every, layers, strict=True):
        _one(
            axes,
            values,
            edges,
            translate("layer_head", place=layer.place, kind=layer.kind),
            _notes(sensitivity, layer, values, translate),
        )
    every[-1].set_xlabel(translate("gradient_size"))
    figure.supylabel(translate("count"), fontsize=canvas.LABEL, color=canvas.INK)
    below = translate("gradients_below", loss=canvas.number(sensitivity.loss))
    canvas.title(figure, translate("gradients"), below)
    return figure


def _values(sensitivity: Sensitivity, layer: LayerSensitivity) -> HostArray:
    """Return the partials of a layer's own parameters, not those of layers inside it."""
    own = [g for name, g in sensitivity.gradients.items() if name.rpartition(".")[0] == layer.place]
    return np.concatenate([g.ravel().astype(float) for g in own]) if own else np.empty(0)


def _edges(values: HostArray) -> HostArray:
    """Return the limits of the bins, at whole powers of ten."""
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    if not size.size:
        return np.geomspace(0.1, 10.0, BINS + 1)
    low, high = np.floor(np.log10(size.min())), np.ceil(np.log10(size.max()))
    return np.logspace(low, max(high, low + 1), BINS + 1)


def _one(axes: Axes, values: HostArray, edges: HostArray, head: str, notes: list[str]) -> None:
    """Draw one layer's histogram, with its median, and its notes on the right."""
    canvas.frame(axes, "", "")
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    if size.size:
        axes.hist(size, bins=edges.tolist(), color=canvas.BLUE, edgecolor="white", linewidth=0.4)
        axes.axvline(float(np.median(size)), color=canvas.INK, linewidth=1.8, linestyle="--")
    axes.yaxis.set_major_locator(canvas.library("ticker").MaxNLocator(3, integer=True))
    style: canvas.Style = {"transform": axes.transAxes, "va": "top", "ha": "left"}
    canvas.write(axes, 1.02, 1.0, head, fontweight="bold", **style)
    canvas.write(axes, 1.02, 0.78, "\n".join(notes), fontsize=canvas.SMALL, linespacing=1.4, **style)


def _notes(sensitivity: Sensitivity, layer: LayerSensitivity, values: HostArray, translate: Translate) -> list[str]:
    """Return the notes beside a layer's histogram."""
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    notes = []
    if finite.size:
        notes.append(f"- - {translate('median')} {canvas.number(float(np.median(finite)), 3)}")
    zeros, bad = int(np.sum(values == 0)), int(np.sum(~np.isfinite(values)))
    if zeros:
        notes.append(translate("zeros", count=zeros, size=values.size, share=zeros / values.size))
    if bad:
        notes.append(translate("bad_count", count=bad, size=values.size))
    units = sum(unit.place == layer.place for unit in sensitivity.units)
    notes += [
        translate(f"{kind}_units", units=_some(getattr(layer, kind), units, translate))
        for kind in ("dead", "saturated")
        if getattr(layer, kind)
    ]
    return notes + ([translate(layer.verdict)] if layer.verdict else [])


def _some(chosen: tuple[int, ...], units: int, translate: Translate) -> str:
    """Return "2 of 8 (1, 5)"."""
    first = ", ".join(map(str, chosen[:NAMED])) + (", ..." if len(chosen) > NAMED else "")
    return translate("of_units", count=len(chosen), size=units, first=first)
