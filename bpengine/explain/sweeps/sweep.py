"""Sweep: the loss as a function of one parameter or two, all others frozen, with the points of a descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.backend import ArrayLike, HostArray
from bpengine.errors import ConfigError, DataError, items
from bpengine.explain.lookup import element_name
from bpengine.explain.result import ExplainResult, translator_for
from bpengine.explain.sweeps.loss_function import loss_function
from bpengine.explain.sweeps.trajectory import Descent, Walk, descent_of
from bpengine.i18n.translate import Translate, format_number, indented_table, translated_rule
from bpengine.output.json_values import json_object
from bpengine.trained import TrainedNetwork
from bpengine.training.history import History


@dataclass(frozen=True, kw_only=True)
class Sweep(ExplainResult):
    """The loss over a grid of one or two parameters.

    names: of the parameters. values: one array (n,) each. loss: (n,), or (n, m) for two. slopes: the partial derivative of
    the loss in each parameter, shaped like the loss. at: the model's own values. descent: a fit's steps, if one was given.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> swept = bp.sweep(model, [[1.0]], [[2.0]], "0.bias", [-1.0, 0.0])
    >>> swept.names, swept.loss
    (('0.bias[0]',), array([0., 1.]))
    """

    names: tuple[str, ...]
    values: tuple[HostArray, ...]
    loss: HostArray
    slopes: tuple[HostArray, ...]
    at: tuple[float, ...]
    descent: Descent | None = None

    @property
    def lowest(self) -> tuple[float, ...]:
        """The point of the grid with the lowest loss."""
        if np.all(np.isnan(self.loss)):
            return (float("nan"),) * len(self.names)
        place = np.unravel_index(int(np.nanargmin(self.loss)), self.loss.shape)
        return tuple(float(v[i]) for v, i in zip(self.values, place, strict=True))

    def to_rows(self) -> list[dict[str, float]]:
        """Return one dict per point of the grid: pandas.DataFrame(sweep.to_rows())."""
        rows = []
        for place in np.ndindex(self.loss.shape):
            point = {name: float(v[i]) for name, v, i in zip(self.names, self.values, place, strict=True)}
            slopes = {f"slope of {n}": float(s[place]) for n, s in zip(self.names, self.slopes, strict=True)}
            rows.append({**point, "loss": float(self.loss[place]), **slopes})
        return rows

    def text(self, lang: str | None = None) -> str:
        """Return the curve, or the surface's lowest point, and the descent, in words."""
        return "\n".join(_lines(self, translator_for(lang)))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        plain = {
            "names": list(self.names), "values": [v.tolist() for v in self.values], "loss": self.loss.tolist(),
            "slopes": [s.tolist() for s in self.slopes], "at": list(self.at), "lowest": list(self.lowest),
            "descent": None if self.descent is None else self.descent.to_dict(),
        }  # fmt: skip
        return json_object(plain)


def sweep(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    parameter: str | Sequence[str],
    values: object,
    *,
    weights: ArrayLike | None = None,
    history: History | None = None,
    walk: Walk | None = None,
) -> Sweep:
    """Return the loss and its slope as functions of one number of the parameters, all others fixed.

    parameter: "1.bias" for a single number, "0.weight[2,1]" for one of several; two names give a surface and need two
    sequences of values. history: that of the fit that gave the model its parameters, with `only` this parameter and full
    batches: its steps become points on the curve. walk: a `bpengine.explain.Walk` that was a callback of a fit, for example
    of two parameters. The loss is the training loss, penalties included. The model is left unchanged.
    Raises ConfigError for an unknown name, naming the nearest, and DataError for values that are not finite numbers.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> bp.sweep(model, [[1.0]], [[2.0]], "0.weight[0,0]", [1.0, 2.0, 3.0]).loss
    array([1., 0., 1.])
    """
    names = [parameter] if isinstance(parameter, str) else items(parameter, "sweep", "a parameter by name, or two")
    if not 1 <= len(names) <= 2:
        raise ConfigError(f"sweep takes one parameter or two, got {len(names)}.")
    sequences = [values] if isinstance(parameter, str) else items(values, "sweep", "the values of two parameters")
    if len(sequences) != len(names):
        raise ConfigError(f"sweep requires values for each of {len(names)} parameters, got {len(sequences)} sequences.")
    grid = tuple(_checked(v, name) for v, name in zip(sequences, names, strict=True))
    function = loss_function(model, x, y, names, weights)
    shape = tuple(len(v) for v in grid)
    loss, slopes = np.empty(shape), tuple(np.empty(shape) for _ in names)
    for place in np.ndindex(shape):
        loss[place], slopes_here = function.at([v[i] for v, i in zip(grid, place, strict=True)])
        for slope, value in zip(slopes, slopes_here, strict=True):
            slope[place] = value
    swept = Sweep(
        names=tuple(element_name(e) for e in function.elements),
        values=grid,
        loss=loss,
        slopes=slopes,
        at=function.start(),
    )
    return replace(swept, descent=descent_of(function, history, walk))


def _checked(values: object, name: str) -> HostArray:
    try:
        array = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):  # text, or rows of different lengths
        array = np.empty(0)
    if array.ndim != 1 or not array.size or not np.all(np.isfinite(array)):
        raise DataError(f"sweep requires finite values (n,) for {name!r}, got {values!r}.")
    return array


def _lines(swept: Sweep, translate: Translate) -> list[str]:
    lines = [translate("sweep_title", names=", ".join(swept.names))]
    heads = (*swept.names, translate("head_loss"), *(f"{translate('head_slope')} {n}" for n in swept.names))
    rows = [tuple(format_number(v, 6) for v in row.values()) for row in swept.to_rows()]
    lines += indented_table(heads, rows)
    if swept.descent is not None:
        lines += ["", translate("descent"), *_descent_lines(swept.descent, translate)]
    return lines


def _descent_lines(descent: Descent, translate: Translate) -> list[str]:
    heads = ("step", "old", "loss", "slope", "step_size", "new")
    rows = []
    for p in descent.points:
        pairs = zip(p.value, p.slope, p.step_size, p.new, strict=True)
        for k, (value, slope, size, new) in enumerate(pairs):
            first = (
                (str(p.step), format_number(value, 6), format_number(p.loss, 6))
                if k == 0
                else ("", format_number(value, 6), "")
            )
            rows.append((*first, format_number(slope, 6), format_number(size, 6), format_number(new, 6)))
    return [
        *indented_table(tuple(translate(f"head_{h}") for h in heads), rows),
        translate("stopped", rule=translated_rule(descent.stopped_by, translate)),
    ]
