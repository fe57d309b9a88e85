"""Local slopes: the derivative of a kernel's output with respect to its input, dy[s, k] / dx[b, j], written out.

A backward kernel is a sum: dx[b, j] = sum over s, k of dy[s, k] * slope. For a dense layer the slope is the weight that
joins the two units; `bpengine.explain` shows these sums and multiplies slopes along paths. Slopes of one kernel that come
about in different ways (directly, through a mean, through a variance) are kept apart as routes: added up first they would
cancel, and the sum could not be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bpengine.backend import HostArray
from bpengine.ops import Call

DIRECT = "direct"


@dataclass(frozen=True)
class Slopes:
    """The slopes along one route.

    With b, s rows of the batch and j, k units:

    kind "element": x[b, j] -> y[b, j], slope p[b, j];
    kind "units":   x[b, j] -> y[b, k], slope p[j, k], the same in every row;
    kind "row":     x[b, j] -> y[b, k], slope p[b, j] q[b, k];
    kind "batch":   x[b, j] -> y[s, j], slope p[b, j] q[s, j].
    """

    kind: Literal["element", "units", "row", "batch"]
    p: HostArray
    q: HostArray | None = None
    route: str = DIRECT


def _dense(call: Call, argument: str) -> list[Slopes]:
    return [Slopes("units", _double(call.args[1]))]


def _dense_transposed(call: Call, argument: str) -> list[Slopes]:
    return [Slopes("units", _double(call.args[1]).T)]


def _dense_bias_column(call: Call, argument: str) -> list[Slopes]:
    return [Slopes("units", _double(call.result[1].w_x))]


def _add(call: Call, argument: str) -> list[Slopes]:
    return [Slopes("element", np.ones(call.args[0].shape))]


def _dropout(call: Call, argument: str) -> list[Slopes]:
    return [Slopes("element", _double(call.result[1].kept))]


def _batch_norm(call: Call, argument: str) -> list[Slopes]:
    """Y = gamma x_hat + beta; x_hat depends on x directly, through the mean and through the variance of the batch."""
    res = call.result[1]
    x_hat, scale = _double(res.x_hat), _double(res.gamma) * _double(res.inverse_std)
    share, ones = _double(res.share), np.ones(x_hat.shape)
    return [
        Slopes("element", ones * scale),
        Slopes("batch", share * ones, ones * -scale, "mean"),
        Slopes("batch", share * x_hat, -x_hat * scale, "variance"),
    ]


def _batch_norm_inference(call: Call, argument: str) -> list[Slopes]:
    res = call.result[1]
    return [Slopes("element", np.ones(call.args[0].shape) * (_double(res.gamma) * _double(res.inverse_std)))]


def _layer_norm(call: Call, argument: str) -> list[Slopes]:
    """As batch normalization, with the mean and the variance of the sample's features."""
    res = call.result[1]
    x_hat, gamma, scale = _double(res.x_hat), _double(res.gamma), _double(res.inverse_std)
    share, ones = scale / x_hat.shape[1], np.ones(x_hat.shape)
    return [
        Slopes("element", scale * gamma),
        Slopes("row", ones, -share * gamma * ones, "mean"),
        Slopes("row", x_hat, -share * gamma * x_hat, "variance"),
    ]


def _softmax(call: Call, argument: str) -> list[Slopes]:
    """dy_k/dx_j = y_j [j = k] - y_j y_k: the unit's own score, and the sum that all are divided by."""
    y = _double(call.result[0])
    return [Slopes("element", y), Slopes("row", -y, y, "sum")]


_TABLE: Mapping[str, Callable[[Call, str], list[Slopes]]] = {
    "dense": _dense,
    "dense_no_bias": _dense,
    "dense_bias_column": _dense_bias_column,
    "dense_transposed": _dense_transposed,
    "dense_transposed_no_bias": _dense_transposed,
    "add": _add,
    "dropout": _dropout,
    "batch_norm": _batch_norm,
    "batch_norm_inference": _batch_norm_inference,
    "layer_norm": _layer_norm,
    "softmax": _softmax,
}


def slopes(call: Call, argument: str, on_ones: HostArray | None) -> list[Slopes] | None:
    """Return the local slopes of a forward call's output with respect to one of its inputs, route by route, in float64.

    on_ones: the kernel's backward on ones, which for an activation that works on each number by itself is f'(z).
    None for a kernel whose slopes are not known here.
    """
    if call.kernel.name in _TABLE:
        return _TABLE[call.kernel.name](call, argument)
    if call.kernel.kind != "activation" or on_ones is None:
        return None
    return [Slopes("element", _double(on_ones))]


def parameter_factors(call: Call) -> dict[str, HostArray | None]:
    """Return, for every parameter of a layer's forward call, what it was multiplied by: (rows, inputs), None for ones.

    The gradient of a parameter is the sum over the batch of this factor times the gradient of the output; that of a weight
    that is used transposed (`is_transposed`) comes out transposed.
    """
    res: Any = call.result[1]
    known: dict[str, Callable[[], dict[str, HostArray | None]]] = {
        "dense": lambda: {"w": res.x, "b": None},
        "dense_no_bias": lambda: {"w": res.x},
        "dense_bias_column": lambda: {"w": res.x_ones},
        "dense_transposed": lambda: {"w": res.x, "b": None},
        "dense_transposed_no_bias": lambda: {"w": res.x},
        "batch_norm": lambda: {"gamma": res.x_hat, "beta": None},
        "batch_norm_inference": lambda: {"gamma": res.centred * res.inverse_std, "beta": None},
        "layer_norm": lambda: {"gamma": res.x_hat, "beta": None},
    }
    return known[call.kernel.name]() if call.kernel.name in known else {}


def is_transposed(call: Call, argument: str) -> bool:
    """Tell whether a call uses a parameter transposed: row i of the weight makes unit i."""
    return argument == "w" and call.kernel.name.startswith("dense_transposed")


def _double(array: Any) -> HostArray:
    return np.asarray(array, dtype=np.float64)
