"""A unit's own sum written out: inputs times weights and the bias, or what its layer's kernel adds up instead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.terms.dataflow import Flow
from bpengine.explain.terms.local_derivatives import is_transposed, parameter_factors
from bpengine.explain.terms.sums import Sums
from bpengine.explain.trace.layers import LayerTrace
from bpengine.ops import Call


def own_forward(flow: Flow, layer: LayerTrace, unit: int) -> Sums | None:
    """Return a unit's sum (z) written out, for a layer whose last sum is a kernel call known here."""
    position = flow.makers.get(id(layer.z))
    if position is None or flow.trace.calls[position].place != layer.place:
        return None
    return _forward_sums(flow.trace.calls[position], unit, flow.eps)


def _forward_sums(call: Call, unit: int, eps: float) -> Sums | None:
    """Return a unit's output of a layer's forward call as sums, one for each row: inputs times weights, and the bias."""
    res, y = call.result[1], np.asarray(call.result[0], dtype=float)
    rows, name = len(y), call.kernel.name
    ones = np.ones((rows, 1))
    if name in ("dense", "dense_no_bias", "dense_transposed", "dense_transposed_no_bias"):
        x, w = call.args[0], call.args[1][unit] if is_transposed(call, "w") else call.args[1][:, unit]
        biased = len(call.args) == 3
        left, right = (np.hstack([x, ones]), np.append(w, call.args[2][unit])) if biased else (x, w)
        bias = len(w) if biased else None
    elif name == "dense_bias_column":
        left, right = res.x_ones, call.args[1][:, unit]
        bias = 0 if call.options.get("ones") == "first" else len(right) - 1
    elif name in ("batch_norm", "layer_norm", "batch_norm_inference"):
        factor = parameter_factors(call)["gamma"]
        assert factor is not None
        left, right, bias = np.hstack([factor[:, [unit]], ones]), np.array([call.args[1][unit], call.args[2][unit]]), 1
    elif name == "dropout":
        left, right, bias = call.args[0][:, [unit]], np.asarray(res.kept)[:, [unit]], None
    elif name == "add":
        left, right, bias = np.hstack([a[:, [unit]] for a in call.args]), np.ones(2), None
    else:
        return None
    return _sums(y[:, unit], left, np.atleast_2d(right), bias, call, unit, eps)


def _sums(y: HostArray, left: HostArray, right: HostArray, bias: int | None, call: Call, unit: int, eps: float) -> Sums:
    n = left.shape[1]
    numbers = np.arange(n) - (1 if bias == 0 else 0) if call.kernel.name.startswith("dense") else np.full(n, unit)
    routes: Sequence[str] = ["bias" if i == bias else "input" for i in range(n)]
    if call.kernel.name == "add":
        routes = ["direct", "inner"]
    each = np.arange(len(left))[:, np.newaxis]
    return Sums(
        np.asarray(y, dtype=float), np.asarray(left, dtype=float), np.asarray(right, dtype=float),
        (call.kernel.name,) * n, (call.place,) * n, tuple(routes), numbers[np.newaxis], each, eps,
    )  # fmt: skip
