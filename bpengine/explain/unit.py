"""explain: where one unit's gradient comes from, term by term, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bpengine.explain.explanation import Explanation, ParameterSums
from bpengine.explain.find import check_row, find_layer, find_unit
from bpengine.explain.flow import Flow
from bpengine.explain.forwardsums import own_forward
from bpengine.explain.layertrace import LayerTrace
from bpengine.explain.sums import Sums, concatenated
from bpengine.explain.trace import Trace
from bpengine.explain.update import update_of
from bpengine.training.optimizers import Optimizer


def explain(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    layer: int | str,
    unit: int,
    sample: int | None = None,
    weights: Any = None,
    optimizer: str | Optimizer = "sgd",
) -> Explanation:
    """Explain one unit of a model in the training step on x, y: every gradient as a sum of terms, and the update.

    layer: its number, or its place inside a Residual ("1.0"). unit: its number. sample: tell about this row of x only
    (the gradients of the weights are always those of the whole batch). optimizer: makes the step, its first.
    Raises ConfigError for a layer, unit or row that does not exist, naming the valid range.
    """
    traced: Trace = model.trace(x, y, weights, optimizer=optimizer)
    return explain_trace(traced, layer, unit, sample)


def explain_trace(traced: Trace, layer: int | str, unit: int, sample: int | None = None) -> Explanation:
    """Explain one unit of a step that was traced already."""
    found = find_layer(traced, layer)
    unit, flow = find_unit(found, unit), Flow(traced)
    rows = list(range(traced.rows)) if sample is None else [check_row(traced.rows, sample)]
    forward = own_forward(flow, found, unit)
    incoming = flow.incoming(found.a, unit, np.asarray(found.da[:, unit], dtype=float))
    through = _through(flow, found, unit)
    forward, incoming, through = (None if s is None else s.only(rows) for s in (forward, incoming, through))
    loss = traced.network.loss
    z, a, da, dz = (np.asarray(array[rows, unit], dtype=float) for array in (found.z, found.a, found.da, found.dz))
    parameters = tuple(_parameters(flow, found, unit))
    return Explanation(
        found.place, unit, type(found.layer).__name__, found.activation, traced.rows, tuple(rows),
        traced.loss, loss.name, loss.reduction, z, a, da, dz, forward, incoming, through, parameters,
        found.a is not traced.forward[-1].args[0], traced.first_bad, traced.dtype,
    )  # fmt: skip


def _through(flow: Flow, layer: LayerTrace, unit: int) -> Sums | None:
    position = flow.makers.get(id(layer.a))
    if layer.z is layer.a or position is None:
        return None
    parts: Sequence[Sums] = flow.parts((position, "x"), unit)
    value = np.asarray(layer.dz[:, unit], dtype=float)
    only = parts[0] if parts else None
    if len(parts) == 1 and only is not None:
        return Sums(value, only.left, only.right, only.kernel, only.place, only.route, only.unit, only.row, only.eps)
    return concatenated(parts, value)


def _parameters(flow: Flow, layer: LayerTrace, unit: int) -> list[ParameterSums]:
    found = []
    for local, whole in layer.parameters.items():
        name = f"{layer.place}.{local}"
        for position, argument in flow.uses.get(id(flow.trace.parameters[name]), []):
            call = flow.trace.calls[position]
            if call.kernel.kind == "penalty":
                continue
            given = flow.contribution((position, argument))
            if given is None or unit >= whole.shape[-1]:
                continue
            pick = (slice(None), unit) if whole.ndim == 2 else (slice(unit, unit + 1),)
            value = np.asarray(given[pick], dtype=float)
            sums = flow.weights(position, argument, unit, flow.cotangent(position), value)
            if sums is not None:
                found.append(_parameter(flow, layer, name, local, unit, sums, pick))
    return found


def _parameter(
    flow: Flow, layer: LayerTrace, name: str, local: str, unit: int, sums: Sums, pick: tuple[Any, ...]
) -> ParameterSums:
    trace, whole = flow.trace, flow.trace.parameters[name]
    indices = tuple((i, unit) for i in range(len(whole))) if whole.ndim == 2 else ((unit,),)
    row = layer.layer.penalized().get(local)
    bias_row = {None: None, "first": 0, "last": len(whole) - 1}[row]
    bias = tuple(i[0] == bias_row if whole.ndim == 2 else local in ("bias", "beta") for i in indices)
    penalties = []
    for use in flow.uses[id(whole)]:
        given = flow.contribution(use)
        if trace.calls[use[0]].kernel.kind == "penalty" and given is not None:
            penalties.append((trace.calls[use[0]].kernel.name, np.asarray(given[pick], dtype=float)))
    gradient = np.asarray(trace.gradients[name][pick], dtype=float)
    return ParameterSums(name, indices, bias, sums, tuple(penalties), gradient, update_of(trace, name, pick))
