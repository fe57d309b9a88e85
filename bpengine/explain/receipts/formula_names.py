"""What the formulas of the KERNELS table name besides a call's arguments, and the few that leave something to the reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipts.write import STATISTICS
from bpengine.kernels import KERNELS

Names = dict[str, Any]


def names_of(
    kernel: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, real: type[Any]
) -> Names:
    """Return everything a kernel's formulas may name; `real` is the type of all numbers made on the way."""
    names: Names = dict.fromkeys(KERNELS[kernel].optional)  # a formula says what holds without them
    names |= {name: _cast(array, real) for name, array in inputs.items()}
    names |= {
        **options,
        "real": real,
        "tiny": 2.0**20 * float(np.finfo(dtype).smallest_normal),
        "Phi": partial(_normal_cdf, real),
    }
    for helper in _HELPERS.get(kernel, ()):
        helper(names)
    given = {name: _cast(inputs[name], real) for name in STATISTICS.get(kernel, ()) if name in inputs}
    return {**names, **given}


def _cast(array: HostArray, real: type[Any]) -> HostArray:
    return array.astype(real) if array.dtype.kind == "f" else array


def _normal_cdf(real: type[Any], x: HostArray) -> HostArray:
    """Phi by the complementary error function of the C library, element by element, in float64."""
    flat = [0.5 * math.erfc(-float(v) / math.sqrt(2.0)) if v == v else math.nan for v in np.ravel(x)]
    return np.reshape(np.array(flat, dtype=real), np.shape(x))


def _factor(names: Names) -> None:
    """Find the share of each row in the loss: its weight over all weights, and over the outputs for a mean over both."""
    y, weights, reduction = names["y"], names.get("weights"), names["reduction"]
    per_row = names.get("_per_row", False)
    outputs = 1 if per_row or reduction != "mean" else y.shape[1]
    given = np.ones(len(y), dtype=names["real"]) if weights is None else weights
    total = np.sum(given) * outputs
    shares = given if reduction == "sum" else given / (total if total != 0 else 1)  # without a row left: 0, not 0 / 0
    names["factor"] = shares if per_row else shares[:, None]


def _classes(names: Names) -> None:
    target, y = names["target"], names["y"]
    if target.ndim == 1:
        names["target"] = (target[:, None] == np.arange(y.shape[1])).astype(names["real"])
    names["_per_row"] = True


def _penalty(names: Names) -> None:
    w, weights = names["w"], names.get("weights")
    rows = len(w)
    skipped = {None: rows, "first": 0, "last": rows - 1}[names["bias_row"]]
    kept = (names["strength"] * (np.arange(rows) != skipped)).astype(names["real"])
    total = 1 if weights is None else np.sum(weights)  # without a row left: 0, not strength / 0
    names["factor"] = kept.reshape((rows,) + (1,) * (w.ndim - 1)) * (1 / total if total != 0 else 0)


def _ones_column(names: Names) -> None:
    x, w = names["x"], names["w"]
    ones = np.ones((len(x), 1), dtype=names["real"])
    first = names["ones"] == "first"
    names["x_ones"] = np.hstack([ones, x] if first else [x, ones])
    names["w_x"] = w[1:] if first else w[:-1]


def _shares(names: Names) -> None:
    """Find the share of each row in the statistics of the batch; where all weights are 0, all rows have the same."""
    rows, weights = len(names["x"]), names.get("weights")
    given = np.ones(rows, dtype=names["real"]) if weights is None or not np.any(weights) else weights
    names["share"] = (given / np.sum(given))[:, None]


def _batch_statistics(names: Names) -> None:
    x, share = names["x"], names["share"]
    names["mean"] = np.sum(share * x, axis=0)
    _normalized(names, np.sum(share * (x - names["mean"]) ** 2, axis=0))


def _row_statistics(names: Names) -> None:
    x = names["x"]
    names["mean"] = np.mean(x, axis=1, keepdims=True)
    _normalized(names, np.mean((x - names["mean"]) ** 2, axis=1, keepdims=True))


def _normalized(names: Names, variance: HostArray) -> None:
    names["variance"], names["inverse_std"] = variance, 1 / np.sqrt(variance + names["eps"])
    names["x_hat"] = (names["x"] - names["mean"]) * names["inverse_std"]


def _mask(names: Names) -> None:
    """Find the dropout mask: a hash of row, column, seed, step and layer, in unsigned 32-bit arithmetic."""
    x, counter, rate = names["x"], names["counter"], names["rate"]
    seed, step, layer = (np.uint64(int(v)) for v in (*counter, names["salt"] % 2**32))
    rows = _mix(_mix(_mix(layer ^ np.uint64(0x9E3779B9)) ^ seed) ^ step)
    columns = _mix(_mix(_mix(layer ^ np.uint64(0x7F4A7C15)) ^ step) ^ seed)
    row = _mix(_mix(np.arange(x.shape[0], dtype=np.uint64) ^ rows) ^ columns)
    column = _mix(_mix(np.arange(x.shape[1], dtype=np.uint64) ^ columns) ^ rows)
    bits = _mix(row[:, None] ^ column[None, :])
    names["kept"] = (bits >= min(round(rate * 2**32), 2**32 - 1)).astype(names["real"]) / names["real"](1 - rate)


def _mix(h: Any) -> Any:
    low = np.uint64(2**32 - 1)
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return h ^ (h >> np.uint64(16))


def _gate(names: Names) -> None:
    names["gate"] = 1 / (1 + np.exp(-names["x"]))


def _gate_tanh(names: Names) -> None:
    x = names["x"]
    names["gate"] = (1 + np.tanh(np.sqrt(2 / names["real"](np.pi)) * (x + 0.044715 * x**3))) / 2


def _halt(names: Names) -> Any:
    stop = ~np.isfinite(names["loss"])
    if names["loss_below"] is not None:
        stop = stop | (names["loss"] < names["loss_below"])
    if names["step_below"] is not None:
        stop = stop | (np.max(names["step_size"]) < names["step_below"])
    return stop


def _bce(names: Names) -> Any:
    yes, no = names["y"] + names["tiny"], (1 - names["y"]) + names["tiny"] * names["y"]
    return -np.sum((names["target"] * np.log(yes) + (1 - names["target"]) * np.log(no)) * names["factor"])


def _bce_dy(names: Names) -> Any:
    yes, no = names["y"] + names["tiny"], (1 - names["y"]) + names["tiny"] * names["y"]
    return ((1 - names["target"]) / no - names["target"] / yes) * names["factor"] * names["dloss"]


def _cce(names: Names) -> Any:
    return -np.sum(np.sum(names["target"] * np.log(names["y"] + names["tiny"]), axis=1) * names["factor"])


def _cce_dy(names: Names) -> Any:
    return -names["target"] / (names["y"] + names["tiny"]) * names["factor"][:, None] * names["dloss"]


_LOSSES = [name for name, row in KERNELS.items() if row.kind == "loss"]
_HELPERS: dict[str, tuple[Callable[[Names], None], ...]] = {
    **dict.fromkeys(_LOSSES, (_factor,)),
    "softmax_cross_entropy": (_classes, _factor),
    "categorical_cross_entropy": (_classes, _factor),
    "smooth_labels": (_classes,),
    "l1": (_penalty,),
    "l2": (_penalty,),
    "dense_bias_column": (_ones_column,),
    "dropout": (_mask,),
    "batch_norm": (_shares, _batch_statistics),
    "layer_norm": (_row_statistics,),
    "silu": (_gate,),
    "gelu_tanh": (_gate_tanh,),
}
# what the formulas leave to the reader: thresholds that are not set, and the smallest number that keeps a logarithm finite
SPECIAL: dict[tuple[str, str], Callable[[Names], Any]] = {
    ("halt", "stop"): _halt,
    ("binary_cross_entropy", "loss"): _bce,
    ("binary_cross_entropy", "dy"): _bce_dy,
    ("categorical_cross_entropy", "loss"): _cce,
    ("categorical_cross_entropy", "dy"): _cce_dy,
}
