"""Derive a kernel call's outputs from its inputs with plain NumPy: the formula of the KERNELS table, evaluated as printed.

No kernel function is called. The formulas are text, written beside the kernels and not made from them; what they name
besides the arguments (a mask, a mean, the share of a row in the loss) is computed here. All in extended precision where
the machine has it, so that the only rounding left is that of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipt import STATISTICS
from bpengine.kernels import KERNELS

WIDE = np.longdouble
Names = dict[str, Any]


class CannotDerive(Exception):
    """A line asks for something that its inputs and options do not determine."""


def derive(
    function: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, *, wide: bool = True
) -> dict[str, HostArray]:
    """Return the outputs of a call by name; a backward is given the inputs and statistics of its forward, and its dy.

    wide: in extended precision; otherwise in `dtype` itself, to see what its rounding does to the formula.
    """
    row = next((k for k in KERNELS.values() if function in _functions(k)), None)
    if row is None:
        raise CannotDerive(f"there is no kernel function {function!r}")
    names = _names(row.name, inputs, {**row.options, **options}, dtype, np.dtype(WIDE if wide else dtype).type)
    back = row.backward is not None and function == row.backward.__name__
    wanted = [f"d{n}" for n in row.differentiable] if back else list(row.outputs)
    derived: dict[str, HostArray] = {}
    with np.errstate(all="ignore"):
        if back and row.kind == "activation":
            names["y"] = _evaluated(row.formula["y"], names)
        for name in sorted(wanted, key=lambda n: n.startswith("new_w")):  # new_w is made of the other new ones
            special = _SPECIAL.get((row.name, name))
            derived[name] = special(names) if special else _evaluated(row.formula[name], names)
            names[name] = derived[name]
        if not back:
            derived |= {name: names[name] for name in STATISTICS.get(row.name, ())}
    return {name: np.asarray(value) for name, value in derived.items()}


def _functions(row: Any) -> list[str]:
    return [f.__name__ for f in (row.forward, row.backward) if f is not None]


def _names(
    kernel: str, inputs: Mapping[str, HostArray], options: Mapping[str, Any], dtype: str, real: type[Any]
) -> Names:
    """Return everything a kernel's formulas may name; `real` is the type of all numbers made on the way."""
    names: Names = {name: _cast(array, real) for name, array in inputs.items()}
    names |= {
        **options,
        "real": real,
        "tiny": float(np.finfo(dtype).smallest_normal),
        "Phi": partial(_normal_cdf, real),
    }
    for helper in _HELPERS.get(kernel, ()):
        helper(names)
    given = {name: _cast(inputs[name], real) for name in STATISTICS.get(kernel, ()) if name in inputs}
    return {**names, **given}


def _evaluated(formula: str, names: Names) -> Any:
    """Evaluate a formula of the KERNELS table; never text from elsewhere."""
    return eval(formula, {"xp": np, "__builtins__": {}}, names)


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
    shares = given if reduction == "sum" else given / (np.sum(given) * outputs)
    names["factor"] = shares if per_row else shares[:, None]


def _classes(names: Names) -> None:
    target, y = names["target"], names["y"]
    if target.ndim == 1:
        names["target"] = (target[:, None] == np.arange(y.shape[1])).astype(names["real"])
    names["_per_row"] = True


def _penalty(names: Names) -> None:
    rows = len(names["w"])
    skipped = {None: rows, "first": 0, "last": rows - 1}[names["bias_row"]]
    names["factor"] = (names["strength"] * (np.arange(rows) != skipped)).astype(names["real"])[:, None]


def _ones_column(names: Names) -> None:
    x, w = names["x"], names["w"]
    ones = np.ones((len(x), 1), dtype=names["real"])
    first = names["ones"] == "first"
    names["x_ones"] = np.hstack([ones, x] if first else [x, ones])
    names["w_x"] = w[1:] if first else w[:-1]


def _statistics(axis: int, keep: bool) -> Callable[[Names], None]:
    def helper(names: Names) -> None:
        x = names["x"]
        names["mean"] = np.mean(x, axis=axis, keepdims=keep)
        names["variance"] = np.mean((x - names["mean"]) ** 2, axis=axis, keepdims=keep)
        names["inverse_std"] = 1 / np.sqrt(names["variance"] + names["eps"])
        names["x_hat"] = (x - names["mean"]) * names["inverse_std"]

    return helper


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
    yes, no = names["y"] + names["tiny"], 1 - names["y"] + names["tiny"]
    return -np.sum((names["target"] * np.log(yes) + (1 - names["target"]) * np.log(no)) * names["factor"])


def _bce_dy(names: Names) -> Any:
    yes, no = names["y"] + names["tiny"], 1 - names["y"] + names["tiny"]
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
    "l1": (_penalty,),
    "l2": (_penalty,),
    "dense_bias_column": (_ones_column,),
    "dropout": (_mask,),
    "batch_norm": (_statistics(0, False),),
    "layer_norm": (_statistics(1, True),),
    "silu": (_gate,),
    "gelu_tanh": (_gate_tanh,),
}
# what the formulas leave to the reader: thresholds that are not set, and the smallest number that keeps a logarithm finite
_SPECIAL: dict[tuple[str, str], Callable[[Names], Any]] = {
    ("halt", "stop"): _halt,
    ("binary_cross_entropy", "loss"): _bce,
    ("binary_cross_entropy", "dy"): _bce_dy,
    ("categorical_cross_entropy", "loss"): _cce,
    ("categorical_cross_entropy", "dy"): _cce_dy,
}
