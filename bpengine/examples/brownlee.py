"""Jason Brownlee's network from scratch: forward pass, deltas, and twenty epochs of online descent."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, fit, look
from bpengine.kernels._kernel import Array


def brownlee_212_and_222(desk: Desk) -> dict[str, Any]:
    """Compute the forward case, the deltas for the outputs that the tutorial uses, and the training case."""
    entry, draw = known("brownlee_212_and_222"), random.Random(1)  # nosec B311 # the tutorial's own numbers
    case, train = entry.network["forward_case"], entry.network["train_case"]
    network = _network(2, case["W_hidden"], case["W_output"])
    seen = look(desk.model(network), [entry.data["row"]], np.zeros((1, 2)))
    return {
        "seed_1_draws": [draw.random() for _ in range(7)],
        "hidden": seen.a[0][0, 0],
        "output": seen.a[1][0],
        **_deltas(desk, case["W_output"], seen.a[0]),
        **_train(desk, train, np.array(entry.data["train"])),
    }


def _network(inputs: int, *weights: Any) -> bp.Network:
    layers = [bp.Dense(len(w), "sigmoid", bias="column", weight_init=np.transpose(w)) for w in weights]
    return bp.Network(inputs, layers, "half_sum_squares")


def _deltas(desk: Desk, weight: Array, hidden: Array) -> dict[str, Any]:
    """Use the outputs as printed in the tutorial: sigmoid(bias), not the forward pass of these weights."""
    ops, h, w = desk.ops, desk.array(hidden), desk.array(np.transpose(weight))
    y, bent = ops.sigmoid_fwd(w[-1:, :])
    loss, error = ops.half_sum_squares_fwd(y, desk.array([[0.0, 1.0]]))
    output = ops.sigmoid_bwd(bent, ops.half_sum_squares_bwd(error, ops.xp.ones_like(loss)))
    below, _ = ops.dense_bias_column_bwd(ops.dense_bias_column_fwd(h, w)[1], output)
    return {
        "deltas_output": desk.host(output)[0],
        "delta_hidden": desk.number(ops.sigmoid_bwd(h, below)),  # a sigmoid's residual is its output
    }


def _train(desk: Desk, case: dict[str, Any], rows: Array) -> dict[str, Any]:
    model = desk.model(_network(2, case["W1_bias_last"], case["W2_bias_last"]))
    x, y = rows[:, :2], np.eye(2)[rows[:, 2].astype(int)]
    history = fit(model, x, y, optimizer=bp.SGD(case["lr"]), epochs=case["epochs"], batch_size=1, shuffle=False)
    return {
        "sum_squared_error_per_epoch": 2 * history.loss.reshape(-1, len(x)).sum(axis=1),
        "final_W1_first_row": model.parameters["0.weight"][:, 0],
    }


EXAMPLES = {"brownlee_212_and_222": brownlee_212_and_222}
