"""The forward pass as text: each unit's sum with its numbers, its output, and the decisions from the network's outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from bpengine.backend import ArrayLike
from bpengine.errors import number
from bpengine.explain.decisions import Decision, decisions
from bpengine.explain.lookup import check_row
from bpengine.explain.result import ExplainResult, translator_for
from bpengine.explain.terms.dataflow import Dataflow, own_forward
from bpengine.explain.terms.sums import Sums
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.nonfinite import NonFiniteValue
from bpengine.explain.trace.trace import Trace
from bpengine.i18n.translate import Translate, format_factor, format_number
from bpengine.output.json_values import json_object
from bpengine.trained import TrainedNetwork

THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class UnitForward:
    """One unit in one row: z as a sum (None where it is the input of a separate activation layer), and its output."""

    place: str
    unit: int
    row: int
    activation: str | None
    sums: Sums | None
    z: float
    a: float


@dataclass(frozen=True)
class ForwardPass(ExplainResult):
    """A forward pass unit by unit, and the decision of each output.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> [unit.row for unit in bp.explain.forward(model, [[2.0], [1.0]], [[5.0], [3.0]]).units]
    [0, 1]
    """

    _text_first: ClassVar = True

    layers: tuple[tuple[str, str], ...]
    units: tuple[UnitForward, ...]
    decisions: tuple[Decision, ...]
    threshold: float
    first_bad: NonFiniteValue | None

    @property
    def verdicts(self) -> tuple[Decision, ...]:
        """The earlier name of `decisions`."""
        return self.decisions

    def text(self, lang: str | None = None, largest: int = 12) -> str:
        """Return the pass in words, English or Portuguese; sums show their `largest` terms."""
        return "\n".join(_lines(self, translator_for(lang), largest))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per unit and row: pandas.DataFrame(passed.to_rows())."""
        names = ("place", "unit", "row", "activation", "z", "a")
        return [{name: getattr(unit, name) for name in names} for unit in self.units]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        rows = [
            {**row, "sum": None if unit.sums is None else unit.sums.terms(0).to_dict()}
            for row, unit in zip(self.to_rows(), self.units, strict=True)
        ]
        return json_object(
            {
                "units": rows,
                "verdicts": [vars(v) for v in self.decisions],
                "first_bad": self.first_bad and str(self.first_bad),
            }
        )


def forward(
    model: TrainedNetwork, x: ArrayLike, y: ArrayLike, *, sample: int | None = None, threshold: float = THRESHOLD
) -> ForwardPass:
    """Write out the forward pass of a training step, for all rows or one of them, with the decision of each output.

    An output that is a probability by itself decides by a step function at `threshold`; among several classes the largest
    output decides; values are compared with the target by their residual.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> len(bp.explain.forward(model, [[2.0]], [[5.0]]).units)
    1
    """
    return forward_of(model.trace(x, y), sample=sample, threshold=threshold)


def forward_of(traced: Trace, *, sample: int | None = None, threshold: float = THRESHOLD) -> ForwardPass:
    """Write out the forward pass of a traced step."""
    threshold = number(threshold, "forward", "a threshold")
    rows, flow = (list(range(traced.rows)) if sample is None else [check_row(traced.rows, sample)]), Dataflow(traced)
    units = [unit for layer in traced.layers.values() for unit in _units(flow, layer, rows)]
    ordered = sorted(units, key=lambda unit: rows.index(unit.row))
    kinds = tuple((place, _kind(layer)) for place, layer in traced.layers.items())
    return ForwardPass(kinds, tuple(ordered), tuple(decisions(traced, rows, threshold)), threshold, traced.first_bad)


def _units(flow: Dataflow, layer: LayerTrace, rows: list[int]) -> Iterator[UnitForward]:
    for unit in range(layer.units):
        sums = own_forward(flow, layer, unit)
        for row in rows:
            one = None if sums is None else sums.only([row])
            z, a = float(layer.z[row, unit]), float(layer.a[row, unit])
            yield UnitForward(place=layer.place, unit=unit, row=row, activation=layer.activation, sums=one, z=z, a=a)


def _kind(layer: LayerTrace) -> str:
    name = type(layer.layer).__name__
    return f"{name}, {layer.activation}" if layer.activation and name != "Activation" else layer.activation or name


def _lines(result: ForwardPass, translate: Translate, largest: int) -> Iterator[str]:
    if result.first_bad:
        yield translate("bad", cause=result.first_bad.translated(translate))
    kinds = dict(result.layers)
    for row in dict.fromkeys(unit.row for unit in result.units):
        yield translate("row", row=row)
        last = None
        for unit in (u for u in result.units if u.row == row):
            if unit.place != last:
                yield f"  {translate('layer', place=unit.place, kind=kinds[unit.place])}"
            last = unit.place
            yield f"    {translate('next_unit', unit=unit.unit, place=unit.place)}: {_sum(unit, translate, largest)}"
        yield from (f"  {_judgement(v, result.threshold, translate)}" for v in result.decisions if v.row == row)


def _sum(unit: UnitForward, translate: Translate, largest: int) -> str:
    """Return "sigmoid((0 x 0.351) + (1 x 1.076) + (1 x 1.116)) = sigmoid(2.192) = 0.899..."."""
    text = format_number(unit.z, 6)
    if unit.sums is not None:
        terms = unit.sums.terms(0, largest)
        parts = [f"({format_number(t.left, 6)} x {format_factor(t.right, 6)})" for t in terms]
        if terms.left_out:
            parts.append(f"{format_number(terms.rest, 6)} [{translate('rest', count=terms.left_out)}]")
        text = " + ".join(parts)
    if unit.activation in (None, "identity"):
        return f"{text} = {format_number(unit.a)}"
    middle = f" = {unit.activation}({format_number(unit.z)})" if unit.sums is not None else ""
    return f"{unit.activation}({text}){middle} = {format_number(unit.a)}"


def _judgement(v: Decision, threshold: float, translate: Translate) -> str:
    if v.kind == "value":
        numbers = {
            "target": format_number(v.target),
            "value": format_factor(v.output),
            "residual": format_number(v.target - v.output),
        }
        return translate("residual", **numbers)
    judged = "" if v.right is None else translate("right" if v.right else "wrong")
    numbers = {
        "verdict": f"{v.verdict:g}",
        "target": f"{v.target:g}",
        "value": format_number(v.output),
        "judged": judged,
    }
    if v.kind == "class":
        return translate("chosen_judged", **numbers)
    return translate("verdict_alone" if v.right is None else "verdict", threshold=f"{threshold:g}", **numbers)
