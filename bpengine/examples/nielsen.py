"""Michael Nielsen's single neuron, and his run on handwritten digits."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, fit

EPOCHS = 300


def nielsen_single_neuron(desk: Desk) -> dict[str, Any]:
    """Train one sigmoid neuron from two starts, with the quadratic cost and with cross-entropy."""
    entry, results = known("nielsen_single_neuron"), dict[str, Any]()
    x, y = np.array(entry.data["X"]), np.array(entry.data["Y"])
    quadratic = bp.Network(1, bp.Dense(1, "sigmoid"), "half_sum_squares")
    entropy = bp.Network(1, bp.Dense(1), bp.Loss("sigmoid_cross_entropy", "sum"))
    for cost, network, rate in (("quadratic", quadratic, 0.15), ("cross-entropy", entropy, 0.005)):
        model = desk.model(network)
        for w, b in ((0.6, 0.9), (2.0, 2.0)):
            model.parameters = {"0.weight": [[w]], "0.bias": [b]}
            name = f"{cost} w={w:g} b={b:g} lr={rate:g}"
            results[f"{name} initial"] = model.predict(x)[0, 0]
            history = fit(model, x, y, optimizer=bp.SGD(rate), steps=EPOCHS)
            results[f"{name} after 300"] = model.predict(x)[0, 0]
            results[f"{name} final w, b"] = [model.parameters["0.weight"][0, 0], model.parameters["0.bias"][0]]
            results[f"{name} cost after 0, 1, 100, 300"] = [*history.loss[[0, 1, 100]], model.evaluate(x, y)["loss"]]
    return results


def nielsen_mnist_784_30_10(desk: Desk) -> dict[str, Any]:
    """Compute nothing: the book's weights and batches were drawn without a seed."""
    return {}


EXAMPLES = {"nielsen_single_neuron": nielsen_single_neuron, "nielsen_mnist_784_30_10": nielsen_mnist_784_30_10}
