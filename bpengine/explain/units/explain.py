"""explain(): the gradient of one unit, term by term, and the update of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bpengine.backend import ArrayLike, HostArray
from bpengine.explain.lookup import check_row, find_layer, find_unit
from bpengine.explain.terms.dataflow import Dataflow, Use, own_forward
from bpengine.explain.terms.sums import Sums, as_float64, concatenated
from bpengine.explain.trace.layers import LayerTrace, is_tied
from bpengine.explain.trace.trace import Trace
from bpengine.explain.units.explanation import Explanation
from bpengine.explain.units.unit_result import ParameterSums
from bpengine.explain.units.update import update_of
from bpengine.trained import TrainedNetwork, input_names
from bpengine.training.optimizers import Optimizer

Pick = tuple[Any, ...]  # indices of a unit's parameters in an array


def explain(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    layer: int | str,
    unit: int,
    sample: int | None = None,
    weights: ArrayLike | None = None,
    optimizer: str | Optimizer = "sgd",
) -> Explanation:
    """Explain one unit of a model in the training step on x, y: every gradient as a sum of terms, and the update.

    layer: its number, or its place inside a Residual ("1.0"). unit: its number. sample: show this row of x only
    (the gradients of the weights are always those of the whole batch). optimizer: that of the step, which is its first.
    Raises ConfigError for a layer, unit or row that does not exist, naming the valid range.

    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> explanation = bp.explain(bp.Model(network, dtype="float64"), xor.x, xor.y, layer=0, unit=2, sample=1)
    >>> explanation.adds_up, explanation.text("pt") != explanation.text("en")
    (True, True)
    """
    traced: Trace = model.trace(x, y, weights, optimizer=optimizer)
    return with_input_names(explain_trace(traced, layer, unit, sample), model)


def with_input_names(explained: Explanation, model: TrainedNetwork) -> Explanation:
    """Return an explanation with the names that the model's Features give to the inputs, where its unit uses them."""
    return replace(explained, input_names=tuple(input_names(model, ()))) if explained.place == "0" else explained


def explain_trace(traced: Trace, layer: int | str, unit: int, sample: int | None = None) -> Explanation:
    """Explain one unit of a traced step."""
    traced_layer = find_layer(traced, layer)
    unit, flow = find_unit(traced_layer, unit), Dataflow(traced)
    rows = list(range(traced.rows)) if sample is None else [check_row(traced.rows, sample)]
    forward = own_forward(flow, traced_layer, unit)
    incoming = flow.incoming(traced_layer.a, unit, as_float64(traced_layer.da[:, unit]))
    through = _through(flow, traced_layer, unit)
    forward, incoming, through = (None if s is None else s.only(rows) for s in (forward, incoming, through))
    loss = traced.network.loss
    z, a, da, dz = (
        as_float64(array[rows, unit]) for array in (traced_layer.z, traced_layer.a, traced_layer.da, traced_layer.dz)
    )
    parameters = tuple(_parameters(flow, traced_layer, unit))
    return Explanation(
        place=traced_layer.place, unit=unit, kind=type(traced_layer.layer).__name__, activation=traced_layer.activation,
        batch=traced.rows, rows=tuple(rows), loss=traced.loss, loss_name=loss.name, reduction=loss.reduction,
        z=z, a=a, da=da, dz=dz, forward=forward, incoming=incoming, through=through, parameters=parameters,
        hidden=traced_layer.a is not traced.forward[-1].args[0], first_bad=traced.first_bad, dtype=traced.dtype,
        outside=tuple(_outside(flow, traced_layer, forward)),
    )  # fmt: skip


def _outside(flow: Dataflow, layer: LayerTrace, forward: Sums | None) -> Iterator[str]:
    """Yield what no kernel call produced or consumed: the output, the layer's parameters."""
    if forward is None and layer.a is not layer.x and id(layer.a) not in flow.producers:
        yield "a"
    for local in layer.parameters:
        name = layer.names[local]
        if all(flow.is_penalty(use) for use in flow.consumers.get(id(flow.trace.parameters[name]), [])):
            yield name


def _through(flow: Dataflow, layer: LayerTrace, unit: int) -> Sums | None:
    position = flow.producers.get(id(layer.a))
    if layer.z is layer.a or position is None:
        return None
    parts: Sequence[Sums] = flow.parts((position, "x"), unit)
    value = as_float64(layer.dz[:, unit])
    only = parts[0] if parts else None
    if len(parts) == 1 and only is not None:
        return replace(only, value=value)
    return concatenated(parts, value)


def _parameters(flow: Dataflow, layer: LayerTrace, unit: int) -> Iterator[ParameterSums]:
    """Yield the gradients of a unit's parameters; of one that several layers share, with the terms of all its uses."""
    for local, shown in layer.parameters.items():
        name = layer.names[local]
        uses = [u for u in flow.consumers.get(id(flow.trace.parameters[name]), []) if not flow.is_penalty(u)]
        tied = local == "weight" and is_tied(layer.layer)
        if not uses or unit >= shown.shape[-1]:
            continue
        pick: Pick = (
            (slice(unit, unit + 1),) if shown.ndim == 1 else (unit, slice(None)) if tied else (slice(None), unit)
        )
        parts = [flow.weights(use, unit, picked(flow, use, pick), tied=tied) for use in uses]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            yield _parameter(flow, layer, local, unit, known, pick)


def picked(flow: Dataflow, use: Use, pick: Pick) -> HostArray:
    """Return some elements of the contribution of one use to a gradient."""
    return as_float64(flow.contribution(use))[pick]


def _parameter(
    flow: Dataflow, layer: LayerTrace, local: str, unit: int, parts: list[Sums], pick: Pick
) -> ParameterSums:
    trace, name, shown = flow.trace, layer.names[local], layer.parameters[local]
    penalties = [
        (trace.calls[use[0]].kernel.name, picked(flow, use, pick))
        for use in flow.consumers[id(trace.parameters[name])]
        if flow.is_penalty(use)
    ]
    gradient = as_float64(trace.gradients[name][pick])
    data = parts[0]
    if len(parts) > 1:
        added = as_float64(sum(part.value for part in parts))
        data = concatenated(parts, added if penalties else gradient)
    across = shown.ndim == 2 and pick[0] == unit
    indices = tuple(
        ((unit, i) if across else (i, unit)) if shown.ndim == 2 else (unit,) for i in range(len(data.value))
    )
    row = layer.layer.penalized().get(local)
    bias_row = {None: None, "first": 0, "last": len(shown) - 1}[row]
    bias = tuple(i[0] == bias_row if shown.ndim == 2 else local in ("bias", "beta") for i in indices)
    return ParameterSums(
        name=name, indices=indices, bias=bias, data=data, penalties=tuple(penalties), gradient=gradient,
        update=update_of(trace, name, pick), across=across, uses=tuple((part.place[0], part.value) for part in parts),
    )  # fmt: skip
