"""Random networks with every kind of layer, activation, loss, reduction and penalty, and rows for them."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from bpengine.losses import LOSSES

SMOOTH_OR_KINKED = [name for name in ACTIVATIONS if KERNELS[name].backward]
BIASES: list[Any] = [True, False, "column", "column-first"]
KINDS = ("dense", "dense", "activation", "batch_norm", "layer_norm", "dropout", "residual")


def random_layers(rng: np.random.Generator, inputs: int) -> list[bp.Layer]:
    size, layers = inputs, list[bp.Layer]()
    for kind in rng.choice(KINDS, int(rng.integers(1, 5))):
        activation = str(rng.choice(SMOOTH_OR_KINKED))
        if kind == "dense":
            size = int(rng.integers(1, 7))
        made = {
            "dense": lambda a, n: bp.Dense(n, a, bias=BIASES[int(rng.integers(4))]),
            "activation": lambda a, n: bp.Activation(a),
            "batch_norm": lambda a, n: bp.BatchNorm(),
            "layer_norm": lambda a, n: bp.LayerNorm(),
            "dropout": lambda a, n: bp.Dropout(float(rng.uniform(0.0, 0.8))),
            "residual": lambda a, n: bp.Residual([bp.Dense(n, a)]),
        }[kind]
        layers.append(made(activation, size))
    return layers


def random_network(rng: np.random.Generator) -> tuple[bp.Network, Any, Any, Any]:
    """Return a network, x with some zeros, targets, and weights or None."""
    inputs, outputs, rows = (int(n) for n in rng.integers(1, [6, 5, 12]))
    layers, name = random_layers(rng, inputs), str(rng.choice(LOSSES))
    kernel = KERNELS[name]
    end = {"probabilities": "softmax" if kernel.target == "classes" else "sigmoid"}.get(kernel.output, "identity")
    penalties = [p for p in (bp.L1(0.01), bp.L2(0.1, per_sample=True)) if rng.random() < 0.4]
    loss = bp.Loss(name, str(rng.choice(kernel.reductions)))
    network = bp.Network(inputs, [*layers, bp.Dense(outputs, end)], loss, penalties)
    targets = {
        "values": rng.normal(size=(rows, outputs)),
        "binary": (rng.random((rows, outputs)) < 0.5).astype(float),
        "classes": rng.integers(0, outputs, rows),
    }
    x = rng.normal(size=(rows, inputs)) * (rng.random((rows, inputs)) > 0.2)
    return network, x, targets[kernel.target], rng.uniform(0.1, 2.0, rows) if rng.random() < 0.4 else None
