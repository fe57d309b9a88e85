"""Networks for the tests of this package: random ones with every kind of layer, and the source texts' own."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from bpengine.losses import LOSSES

BENT = [name for name in ACTIVATIONS if KERNELS[name].backward]
BIASES: list[Any] = [True, False, "column", "column-first"]
END = {"probabilities": "sigmoid", "scores": "identity", "any": "identity"}


WIDTH, ROWS = 3, 4  # where every shape is compiled by itself: of all layers, and of the batch


def random_layers(rng: np.random.Generator, size: int, *, alike: bool = False) -> tuple[list[bp.Layer], int]:
    """Return one to four layers and the number of features that come out; `alike`, as many as go in."""
    layers: list[bp.Layer] = []
    for kind in rng.choice(
        ["dense", "dense", "activation", "batch", "layer", "dropout", "residual"], rng.integers(1, 5)
    ):
        bent = str(rng.choice(BENT))
        if kind == "dense":
            size = WIDTH if alike else int(rng.integers(1, 7))
            layers.append(bp.Dense(size, bent, bias=BIASES[int(rng.integers(4))]))
        elif kind == "residual":
            inner = [[bp.Dense(size, bent)], [bp.Dense(3, bent), bp.BatchNorm(), bp.Dense(size)], [bp.Activation(bent)]]
            layers.append(bp.Residual(inner[int(rng.integers(3))]))
        else:
            others = {"activation": bp.Activation(bent), "batch": bp.BatchNorm(), "layer": bp.LayerNorm()}
            layers.append(others.get(str(kind), bp.Dropout(float(rng.choice([0.0, 0.4])))))
    return layers, size


def random_case(rng: np.random.Generator, *, alike: bool = False) -> tuple[bp.Network, Any, Any, Any]:
    """Return a network, x, y, and weights of the rows or None; `alike`, of the same shapes for every rng."""
    inputs, outputs, rows = (WIDTH, WIDTH, ROWS) if alike else (int(n) for n in rng.integers(1, [6, 5, 9]))
    layers, _ = random_layers(rng, inputs, alike=alike)
    name = str(rng.choice(LOSSES))
    kernel = KERNELS[name]
    end = "softmax" if kernel.output == "probabilities" and kernel.target == "classes" else END[kernel.output]
    penalties = [p for p in (bp.L1(0.01), bp.L2(0.1, per_sample=True)) if rng.random() < 0.4]
    loss = bp.Loss(name, str(rng.choice(kernel.reductions)))
    network = bp.Network(inputs, [*layers, bp.Dense(outputs, end)], loss, penalties)
    targets = {
        "values": rng.normal(size=(rows, outputs)),
        "binary": (rng.random((rows, outputs)) < 0.5).astype(float),
        "classes": rng.integers(0, outputs, rows),
    }
    weights = rng.uniform(0.1, 2.0, rows) if rng.random() < 0.4 else None
    return network, rng.normal(size=(rows, inputs)), targets[kernel.target], weights


def xor(rows: Any = slice(None), dtype: str = "float64", backend: str = "numpy") -> tuple[bp.Model, Any, Any]:
    """Return the 2-2-1 network of the exclusive or, half squares, with its bias as a column of ones."""
    entry = known("xor_221_bias_trick")
    hidden = bp.Dense(3, "sigmoid", bias="column", weight_init=np.transpose(entry.network["W1"]))
    output = bp.Dense(1, "sigmoid", bias=False, weight_init=np.transpose(entry.network["W2"]))
    network = bp.Network(2, [hidden, output], "half_sum_squares")
    x, y = np.array(entry.data["X_with_ones"])[:, :2], np.array(entry.data["Y"])
    return bp.Model(network, backend, dtype), x[rows], y[rows]


def dosage(b3: float = 0.0) -> tuple[bp.Model, Any, Any]:
    """Return the dosage network with everything at its optimum but the last bias."""
    entry = known("statquest_dosage_b3")
    n = entry.network
    hidden = bp.Dense(2, "softplus", weight_init=np.transpose(n["W1"]), bias_init=n["b1"])
    output = bp.Dense(1, weight_init=np.transpose(n["W2"]), bias_init=[b3])
    model = bp.Model(bp.Network(1, [hidden, output], "sum_squared_residuals"), "numpy", "float64")
    return model, np.array(entry.data["X"]), np.array(entry.data["Y"])
