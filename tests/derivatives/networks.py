"""Networks of every kind of layer, loss, reduction and penalty, small enough that JAX compiles them quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.layers import Run
from bpengine.ops import Ops
from tests.layers.test_own_layer import Gate

INPUTS, ROWS = 3, 5


@dataclass(frozen=True)
class Stretch(bp.Layer):
    """A layer of one's own without kernels: y = x exp(s), and a gradient that is a sum over the batch."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"s": 0.3 * rng.standard_normal(inputs)}

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        y = x * ops.xp.exp(params["s"])
        return y, (y, params["s"]), running

    def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        y, s = residual
        return dy * ops.xp.exp(s), {"s": ops.xp.sum(dy * y, axis=0)}


@dataclass(frozen=True)
class Centre(bp.Layer):
    """An own layer that mixes the rows of a batch, in training or not."""

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        return x - ops.xp.mean(x, axis=0), None, running

    def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return dy - ops.xp.mean(dy, axis=0), {}


NETWORKS = {
    "biases": bp.Network(
        INPUTS,
        [
            bp.Dense(4, "tanh"),
            bp.Dense(3, "sigmoid", bias=False),
            bp.Dense(3, "softplus", bias="column"),
            bp.Dense(2, bias="column-first"),
        ],
        "mean_squared_error",
        [bp.L2(0.1), bp.L1(0.05)],
    ),
    "layers": bp.Network(
        INPUTS,
        [
            bp.Dense(4, "relu"),
            bp.BatchNorm(),
            bp.Dropout(0.5),
            bp.Residual([bp.LayerNorm(), bp.Dense(4, "gelu")]),
            bp.Dense(3),
        ],
        "softmax_cross_entropy",
        bp.L2(0.1, per_sample=True),
    ),
    "a sum": bp.Network(
        INPUTS, [bp.Dense(3, "elu"), bp.Dense(2)], "sum_squared_residuals", [bp.L2(0.1), bp.L1(0.1, True)]
    ),
    "probabilities": bp.Network(
        INPUTS, [bp.Dense(3, "silu"), bp.Dense(2, "sigmoid")], bp.Loss("binary_cross_entropy", "batch_mean")
    ),
    "own kernels": bp.Network(
        INPUTS,
        [bp.Dense(4, "tanh"), Gate(0.5), bp.Residual([Gate()]), bp.Dense(2)],
        "sigmoid_cross_entropy",
        bp.L2(0.1),
    ),
    "own code": bp.Network(INPUTS, [Stretch(), bp.Dense(3, "tanh"), bp.Residual([Stretch()]), bp.Dense(2)], "huber"),
    "own code, a sum": bp.Network(INPUTS, [Stretch(), bp.Dense(2)], bp.Loss("huber", "sum"), bp.L2(0.1)),
}


def rows(network: bp.Network, rng: np.random.Generator, count: int = ROWS) -> tuple[Any, Any, Any]:
    """Return x, targets of the loss's kind, and weights, one of them 0."""
    x, shape = rng.normal(size=(count, network.inputs)), (count, network.outputs)
    targets = {
        "values": rng.normal(size=shape),
        "binary": rng.uniform(size=shape),
        "classes": rng.integers(0, shape[1], count),
    }
    return x, targets[network.loss.target], rng.uniform(0.5, 2.0, count) * (np.arange(count) != 1)


def model(network: bp.Network, rng: np.random.Generator, backend: str = "numpy", dtype: str = "float64") -> bp.Model:
    """Return a model whose parameters and running statistics have no special values."""
    drawn = bp.Model(network, backend, dtype)
    drawn.parameters = {n: a + 0.2 * rng.normal(size=a.shape) for n, a in drawn.parameters.items()}
    moved = {n: a + rng.uniform(0.1, 0.5, a.shape) for n, a in drawn.running.items()}
    drawn._running = drawn._bring(moved)
    return drawn


def direction(model: bp.Model, rng: np.random.Generator) -> Any:
    return {name: rng.normal(size=a.shape) for name, a in model.parameters.items()}
