"""Tariq Rashid's three-layer example: a forward pass without biases."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, look


def rashid_333(desk: Desk) -> dict[str, Any]:
    """Compute the inputs and outputs of both layers."""
    entry = known("rashid_333")
    weights = [np.transpose(entry.network[name]) for name in ("W1", "W2")]
    network = bp.Network(
        3, [bp.Dense(3, "sigmoid", bias=False, weight_init=w) for w in weights], "half_sum_squares"
    )  # fmt: skip
    seen = look(desk.model(network), entry.data["X"], np.zeros((1, 3)))
    return {"x_hidden": seen.z[0][0], "o_hidden": seen.a[0][0], "x_output": seen.z[1][0], "o_output": seen.a[1][0]}


EXAMPLES = {"rashid_333": rashid_333}
