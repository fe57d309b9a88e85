"""Figures by name, for the command line: each needs a model and rows only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import ArrayLike
from bpengine.errors import ConfigError, unknown
from bpengine.explain.figures.decision_boundary import decision_boundary
from bpengine.explain.figures.fitted_curve import fitted_curve
from bpengine.explain.figures.gradient_histograms import gradient_histograms
from bpengine.explain.figures.network import network
from bpengine.explain.figures.sweep import sweep
from bpengine.explain.gradient_flow.sensitivity import sensitivity
from bpengine.explain.lookup import find_element
from bpengine.explain.sweeps.sweep import sweep as swept
from bpengine.trained import TrainedNetwork

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("boundary", "fit", "gradients", "network", "sweep")
POINTS = 101  # number of values in a sweep without given values


def draw(
    kind: str,
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    *,
    parameter: str | Sequence[str] | None = None,
    values: object = None,
    layer: int | str | None = None,
    unit: int | None = None,
    sample: int = 0,
    lang: str | None = None,
) -> Figure:
    """Return the figure of a kind: "boundary", "fit", "gradients", "network" or "sweep".

    parameter, values: of a sweep over one parameter or two; by default the values extend on both sides of the model's value
    by its size, and at least by 1. layer, unit, sample: of a network. The loss curve is not among them: it needs a fit.
    Raises ConfigError for another kind, or a sweep without a parameter.

    >>> from bpengine.explain import figures
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> figure = figures.draw("sweep", model, xor.x, xor.y, parameter="1.bias", values=[0.0, 1.0, 2.0])
    >>> figure.axes[0].get_xlabel()
    '1.bias[0]'
    """
    if kind not in KINDS:
        raise unknown("figure", kind, KINDS)
    if kind == "network":
        return network(model, x, y, sample=sample, layer=layer, unit=unit, lang=lang)
    if kind == "gradients":
        return gradient_histograms(sensitivity(model, x, y), lang=lang)
    if kind == "sweep":
        if parameter is None:
            raise ConfigError("the sweep figure requires the name of a parameter, such as '0.weight[0,0]', got none.")
        if values is None:
            values = around(model, parameter) if isinstance(parameter, str) else [around(model, p) for p in parameter]
        return sweep(swept(model, x, y, parameter, values), lang=lang)
    return (decision_boundary if kind == "boundary" else fitted_curve)(model, x, y, lang=lang)


def around(model: TrainedNetwork, parameter: str) -> np.ndarray:
    """Return values on both sides of a parameter's current value."""
    name, index = find_element(model.parameters, parameter)
    here = float(model.parameters[name][index])
    reach = max(1.0, abs(here))
    return np.linspace(here - reach, here + reach, POINTS)
