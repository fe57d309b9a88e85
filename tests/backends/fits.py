"""Fits that every form of a compiled epoch is held against: layers, loss, and what `fit` is given."""

from __future__ import annotations

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
}


def rows_for(loss: str, n: int, outputs: int, rng: np.random.Generator) -> Any:
    return {
        "values": rng.normal(size=(n, outputs)),
        "binary": (rng.random((n, outputs)) < 0.5).astype(float),
        "classes": rng.integers(0, outputs, n),
    }[KERNELS[loss].target]
