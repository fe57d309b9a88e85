"""A unit's weighted sum written out: inputs times weights and the bias, or the terms of its layer's kernel."""

from __future__ import annotations

import numpy as np

from bpengine.explain.terms.dataflow import Dataflow
from bpengine.explain.terms.sums import Sums, as_float64
from bpengine.explain.trace.layers import LayerTrace
from bpengine.ops import Call


def own_forward(flow: Dataflow, layer: LayerTrace, unit: int) -> Sums | None:
    """Return a unit's sum (z) written out, for a layer whose last sum is a known kernel call."""
    position = flow.producers.get(id(layer.z))
    if position is None or flow.trace.calls[position].place != layer.place:
        return None
    return _forward_sums(flow.trace.calls[position], unit, flow.eps)


def _forward_sums(call: Call, unit: int, eps: float) -> Sums | None:
    """Return a unit's output of a layer's forward call as sums, one for each row: the terms that the kernel's row gives."""
    if call.kernel.forward_terms is None:
        return None
    y, residual = call.result
    terms = call.kernel.forward_terms(np, residual, unit, *call.args, **call.options)
    right = np.atleast_2d(as_float64(terms.right))
    n, rows = len(terms.routes), np.arange(len(y))[:, np.newaxis]
    return Sums(
        value=as_float64(y[:, unit]),
        left=as_float64(terms.left),
        right=right,
        kernel=(call.kernel.name,) * n,
        place=(call.place,) * n,
        route=terms.routes,
        unit=np.array(terms.units)[np.newaxis],
        row=rows,
        eps=eps,
    )
