"""What every form of a compiled epoch is compared with: fits (layers, loss, what `fit` is given), and single steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.kernels import KERNELS

BATCH_NORM = [bp.BatchNorm(), bp.Dense(6, "gelu"), bp.Dropout(0.3)]
FITS: dict[str, tuple[list[bp.Layer], str, dict[str, Any]]] = {
    "softmax_cross_entropy": ([bp.Dense(5, "relu"), bp.Dense(3)], "softmax_cross_entropy", {"optimizer": "adam"}),
    "one output": ([bp.Dense(5, "tanh"), bp.Dense(1)], "half_sum_squares", {"optimizer": "momentum"}),
    "batch norm, dropout": ([*BATCH_NORM, bp.Dense(3)], "mean_squared_error", {"optimizer": "rmsprop"}),
    "layer norm": (
        [bp.Dense(5, "elu"), bp.LayerNorm(), bp.Dense(3, "softmax")],
        "categorical_cross_entropy",
        {"optimizer": "adamw"},
    ),
    "residual": (
        [bp.Residual([bp.Dense(4, "softplus")]), bp.Dense(2, "sigmoid")],
        "binary_cross_entropy",
        {"optimizer": "nesterov"},
    ),
    "bias columns": (
        [bp.Dense(5, "leaky_relu", bias="column"), bp.Dense(3, bias="column-first")],
        "huber",
        {"optimizer": "sgd", "clip_norm": 0.1},
    ),
    "no bias, sequential": (
        [bp.Dense(5, "silu", bias=False), bp.Dense(2)],
        "sigmoid_cross_entropy",
        {"optimizer": "sgd", "update": "sequential"},
    ),
    "some frozen": (
        [bp.Dense(5, "selu"), bp.Dense(4, "gelu_tanh"), bp.Dense(3)],
        "mean_absolute_error",
        {"optimizer": "adam", "only": ["1.*"], "track_step_size": True},
    ),
    "batch norm of parts of a batch": (
        [bp.BatchNorm(), bp.Dropout(0.3), bp.Dense(3, "tanh"), bp.LayerNorm(), bp.Dense(2)],
        "mean_squared_error",
        {"optimizer": "sgd", "accumulate": 2},
    ),
}


def rows_for(loss: str, n: int, outputs: int, rng: np.random.Generator) -> Any:
    return {
        "values": rng.normal(size=(n, outputs)),
        "binary": (rng.random((n, outputs)) < 0.5).astype(float),
        "classes": rng.integers(0, outputs, n),
    }[KERNELS[loss].target]


# What a step makes of its states "a" and "b", two rows of three, and what it reports.
STEPS: dict[str, Callable[[Any, Any], tuple[dict[str, Any], dict[str, Any]]]] = {
    "the old state kept as another": lambda a, b: ({"a": b, "b": b + 1.0}, {}),
    "states exchanged": lambda a, b: ({"a": b, "b": a}, {}),
    "states exchanged and changed": lambda a, b: ({"a": b * 1.0, "b": a * 2.0}, {}),
    "one array for two states": lambda a, b: (dict.fromkeys("ab", a + b), {}),
    "a report of the old state": lambda a, b: ({"a": a, "b": b + 1.0}, {"old": b[0, 0]}),
    "reports of the old and of the new": lambda a, b: ({"a": a + b, "b": b}, {"old": a[1, 2], "new": (a + b)[1, 2]}),
    "constants": lambda a, b: ({"a": np.zeros_like(a), "b": b + a}, {"one": np.asarray(1.0)}),
    "a row of powers": lambda a, b: ({"a": np.power(abs(a) + 1.0, np.array([1.0, 0.5, 2.0])), "b": b}, {}),
    "the same powers in a row": lambda a, b: ({"a": np.power(abs(a) + 1.0, np.array([0.5, 0.5, 0.5])), "b": b}, {}),
    "an axis of one between": lambda a, b: ({"a": np.reshape(a[:, None, :] + b[:, None, :1], (2, 3)), "b": b}, {}),
    "a line in steps": lambda a, b: ({"a": a, "b": b + np.reshape(a, (6,))[::2] * 2.0 * b}, {}),
    "sums of some rows": lambda a, b: ({"a": a - np.sum(a[1:], axis=0), "b": b - np.sum(b[:1])}, {}),
    "read out of step": lambda a, b: ({"a": a - a[:1, :], "b": b - np.sum(a)}, {}),
}


def step_of(name: str) -> Any:
    """Return one of STEPS as a step, which never halts."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        new, reports = STEPS[name](state["a"], state["b"])
        return new, {**reports, "halt": lr[0] != lr[0]}

    return step
