"""Sensitivity: how much each parameter changes the loss, ranked; and the units and layers that pass no gradient.

A parameter's partial derivative is the change of the loss per change of that parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bpengine.backend import ArrayLike, HostArray
from bpengine.explain.gradient_flow.health import (
    EXPLODING,
    SATURATED,
    VANISHING,
    LayerSensitivity,
    UnitSensitivity,
    health_of,
)
from bpengine.explain.result import ExplainResult, translator_for
from bpengine.explain.trace.nonfinite import NonFiniteValue
from bpengine.explain.trace.trace import Trace
from bpengine.i18n.translate import Translate, format_number, indented_table
from bpengine.layers.layer import HostArrays
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import rows_table
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork, input_names


@dataclass(frozen=True, kw_only=True)
class Partial:
    """One parameter: its value, the partial derivative of the loss with respect to it, and its share of the whole.

    share: of the sum of all partials' squares. input: the name that a model's Features give to the input of a weight; None
    for other parameters and inputs without names.
    """

    name: str
    index: tuple[int, ...]
    value: float
    partial: float
    share: float
    input: str | None = None

    @property
    def label(self) -> str:
        """The parameter's name: "0.weight[2,1]"."""
        return f"{self.name}[{','.join(map(str, self.index))}]"


@dataclass(frozen=True, kw_only=True)
class Sensitivity(ExplainResult):
    """Every parameter's partial derivative, by parameter, unit and layer.

    >>> model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> sorted(bp.sensitivity(model, [[0.5, 1.0]], [[1.0]]).gradients)
    ['0.bias', '0.weight']
    """

    loss: float
    gradients: HostArrays
    parameters: HostArrays
    units: tuple[UnitSensitivity, ...]
    layers: tuple[LayerSensitivity, ...]
    first_bad: NonFiniteValue | None
    input_names: tuple[str, ...] = ()

    @cached_property
    def order(self) -> HostArray:
        """The positions of all partials in one vector, the largest first; partials that are not finite come first of all."""
        size = np.abs(np.concatenate([g.ravel() for g in self.gradients.values()]).astype(float))
        return np.argsort(-np.where(np.isfinite(size), size, np.inf), kind="stable")

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(g.size for g in self.gradients.values())

    def ranked(self, largest: int | None = None) -> Iterator[Partial]:
        """Yield the parameters by the size of their partial derivative, the largest first."""
        names = list(self.gradients)
        starts = np.cumsum([0, *(self.gradients[name].size for name in names)])
        with Quiet():
            whole = float(sum(np.sum(np.square(g.astype(float))) for g in self.gradients.values()))
        for place in self.order[:largest]:
            number = int(np.searchsorted(starts, place, side="right")) - 1
            name = names[number]
            index = tuple(int(i) for i in np.unravel_index(int(place - starts[number]), self.gradients[name].shape))
            partial = float(self.gradients[name][index])
            yield Partial(
                name=name,
                index=index,
                value=float(self.parameters[name][index]),
                partial=partial,
                share=partial**2 / whole if whole else 0.0,
                input=self._input_of(name, index),
            )

    def _input_of(self, name: str, index: tuple[int, ...]) -> str | None:
        shape = self.parameters[name].shape
        read = name == "0.weight" and len(shape) == 2 and shape[0] == len(self.input_names)
        return self.input_names[index[0]] if read else None

    def to_rows(self, largest: int | None = None) -> list[dict[str, Any]]:
        """Return one dict per parameter, ranked: pandas.DataFrame(sensitivity.to_rows()).

        With Features that name the inputs, "input" is the name of the input of a first-layer weight, else None.
        """
        named = bool(self.input_names)
        return [
            {
                **{"rank": i + 1, "parameter": p.label, "value": p.value, "partial": p.partial, "share": p.share},
                **({"input": p.input} if named else {}),
            }
            for i, p in enumerate(self.ranked(largest))
        ]

    def to_dict(self, largest: int | None = None) -> dict[str, Any]:
        """Return everything as plain values."""
        return json_object(
            {
                "loss": self.loss,
                "parameters": self.to_rows(largest),
                "units": [vars(unit) for unit in self.units],
                "layers": [vars(layer) for layer in self.layers],
                "first_bad": self.first_bad and str(self.first_bad),
            }
        )

    def _html_tables(self) -> list[str]:
        layers = [
            {**vars(layer), "dead": len(layer.dead), "saturated": len(layer.saturated), "verdict": layer.verdict or "-"}
            for layer in self.layers
        ]
        return [rows_table(layers), rows_table(self.to_rows(20))]

    def text(self, lang: str | None = None, largest: int = 20) -> str:
        """Return the ranking and the verdicts in words, English or Portuguese."""
        return "\n".join(_lines(self, translator_for(lang), largest))


def sensitivity(model: TrainedNetwork, x: ArrayLike, y: ArrayLike, *, weights: ArrayLike | None = None) -> Sensitivity:
    """Return how much each parameter of a model changes the loss on x, y, and which units and layers pass no gradient.

    A unit is dead when f'(z) is 0 in every row: its weights get no gradient. It is saturated when f'(z) stays below 5 % of
    the activation's steepest slope in every row. A layer's gradient vanishes (explodes) when the root mean square of its
    dL/dz is below 1e-3 (above 1e3) times the output layer's; initial weights are chosen to keep this size constant.
    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.

    >>> model = bp.Model(bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(1)], "mean_squared_error"), dtype="float64")
    >>> [layer.place for layer in bp.sensitivity(model, [[0.5, 1.0]], [[1.0]]).layers]
    ['0', '1']
    """
    return sensitivity_of(model.trace(x, y, weights), input_names(model, ()))


def sensitivity_of(traced: Trace, names: Sequence[str] = ()) -> Sensitivity:
    """Return the sensitivity of a traced step. names: those of the network's inputs."""
    units, layers = health_of(traced)
    return Sensitivity(
        loss=traced.loss,
        gradients=traced.gradients,
        parameters=traced.parameters,
        units=units,
        layers=layers,
        first_bad=traced.first_bad,
        input_names=tuple(names),
    )


def _lines(result: Sensitivity, translate: Translate, largest: int) -> Iterator[str]:
    yield translate("sens_title", loss=format_number(result.loss))
    if result.first_bad:
        yield translate("bad", cause=result.first_bad.translated(translate))
    yield f"\n{translate('by_layer')}"
    heads = tuple(translate(f"head_{h}") for h in ("layer", "norm", "rms", "ratio", "verdict"))
    yield from indented_table(heads, [_layer_cells(layer, translate) for layer in result.layers])
    units = _ranked(result.units)
    yield f"\n{translate('by_unit')}"
    heads = tuple(translate(f"head_{h}") for h in ("unit", "norm", "verdict"))
    yield from indented_table(heads, [_unit_cells(unit, translate) for unit in units[:largest]])
    if len(units) > largest:
        yield f"  ... {len(units) - largest}"
    yield f"\n{translate('by_parameter')}"
    heads = ("#", *(translate(f"head_{h}") for h in ("parameter", "value", "partial", "share")))
    partials = list(result.ranked(largest))
    rows: list[tuple[str, ...]] = [
        (str(i + 1), p.label, format_number(p.value, 6), format_number(p.partial, 6), f"{p.share:.2%}")
        for i, p in enumerate(partials)
    ]
    if any(p.input for p in partials):
        heads = (*heads, translate("head_input"))
        rows = [(*row, p.input or "-") for row, p in zip(rows, partials, strict=True)]
    yield from indented_table(heads, rows)
    yield ""
    yield from (translate("dead_means"), translate("saturated_means", limit=SATURATED))
    yield translate("vanishing_means", low=VANISHING, high=EXPLODING)


def _ranked(units: Sequence[UnitSensitivity]) -> list[UnitSensitivity]:
    """Return the units that have parameters or a verdict: those with a verdict first, then by the norm of their gradient."""

    def order(unit: UnitSensitivity) -> tuple[bool, float]:
        norm = 0.0 if unit.norm is None else unit.norm
        return not unit.verdict, -norm if math.isfinite(norm) else -math.inf

    return sorted((u for u in units if u.verdict or u.norm is not None), key=order)


def _unit_cells(unit: UnitSensitivity, translate: Translate) -> tuple[str, ...]:
    norm = "-" if unit.norm is None else format_number(unit.norm, 6)
    return (
        translate("next_unit", unit=unit.unit, place=unit.place),
        norm,
        translate(unit.verdict) if unit.verdict else "-",
    )


def _layer_cells(layer: LayerSensitivity, translate: Translate) -> tuple[str, ...]:
    words_ = [translate(layer.verdict)] if layer.verdict else []
    for kind, units in (("dead", layer.dead), ("saturated", layer.saturated)):
        words_ += [f"{translate(kind)}: {len(units)}"] if units else []
    norm = "-" if layer.norm is None else format_number(layer.norm, 6)
    return (
        f"{layer.place} {layer.kind}",
        norm,
        format_number(layer.rms, 6),
        format_number(layer.ratio, 4),
        ", ".join(words_) or "-",
    )
