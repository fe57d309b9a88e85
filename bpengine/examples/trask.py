"""Andrew Trask's network in 11 lines of Python: 60,000 steps on exclusive or."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, fit


def trask_xor_3_layer(desk: Desk) -> dict[str, Any]:
    """Train 59,999 steps; the blog prints the mean absolute error every 10,000 steps, and the last forward pass."""
    entry = known("trask_xor_3_layer")
    x, y = np.array(entry.data["X"])[:, :2], np.array(entry.data["Y"])
    hidden = bp.Dense(4, "sigmoid", bias="column", weight_init=entry.network["W1_in_out"])
    output = bp.Dense(1, "sigmoid", bias=False, weight_init=entry.network["W2_in_out"])
    model = desk.model(bp.Network(2, [hidden, output], "half_sum_squares"))
    errors = []
    for steps in (*[10000] * 5, 9999):
        error, _ = desk.ops.mean_absolute_error_fwd(desk.array(model.forward(x)), desk.array(y))
        errors.append(desk.number(error))
        fit(model, x, y, optimizer=bp.SGD(1.0), steps=steps, track_step_size=False)
    return {
        "mean_abs_error_at_0_10k_20k_30k_40k_50k": errors,
        "output_in_the_last_forward_pass": model.forward(x)[:, 0],
    }


EXAMPLES = {"trask_xor_3_layer": trask_xor_3_layer}
