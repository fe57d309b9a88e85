"""The 2-2-1 network for exclusive or of the Data Science Academy's book, which comes from PyImageSearch."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, look, relative, slopes

STEP = 1e-5  # step of the central differences


def xor_221_bias_trick(desk: Desk) -> dict[str, Any]:
    """Compute the worked row, the losses over all rows, their gradients, and the variant with the signs that the text lost."""
    entry = known("xor_221_bias_trick")
    x, y = np.array(entry.data["X_with_ones"])[:, :2], np.array(entry.data["Y"])
    w1, w2 = np.array(entry.network["W1"]), np.array(entry.network["W2"])
    row = slice(entry.data["worked_row"], entry.data["worked_row"] + 1)
    model = desk.model(_network(w1, w2))
    literal = look(desk.model(_network(np.abs(w1), w2)), x[row], y[row])
    return {
        **_worked_row(desk, model, x[row], y[row], w2),
        **_all_rows(desk, model, x, y),
        "literal_reading_hidden_row1": literal.a[0][0],
        "literal_reading_output_row1": literal.a[1][0, 0],
    }


def _network(w1: HostArray, w2: HostArray, loss: str | bp.Loss = "half_sum_squares") -> bp.Network:
    hidden = bp.Dense(3, "sigmoid", bias="column", weight_init=np.transpose(w1))
    return bp.Network(2, [hidden, bp.Dense(1, "sigmoid", bias=False, weight_init=np.transpose(w2))], loss)


def _worked_row(desk: Desk, model: bp.Model, x: HostArray, y: HostArray, w2: HostArray) -> dict[str, Any]:
    seen = look(model, x, y)
    ops, cut = desk.ops, np.trunc(seen.a[0] * 1000) / 1000  # to three digits, as the text does
    output = ops.sigmoid_fwd(ops.dense_no_bias_fwd(desk.array(cut), desk.array(w2.T))[0])[0]
    return {
        "hidden_z_row1": seen.z[0][0],
        "hidden_row1": seen.a[0][0],
        "output_row1": seen.a[1][0, 0],
        "output_row1_from_3_digit_hidden": desk.number(output),
        "step_output_row1": desk.number(ops.step_fwd(desk.array(seen.a[1]), threshold=0.5)[0]),
        "loss_row1_half_squared": seen.loss,
        "row1_output_delta_half_squared": seen.dz[1][0],
        "row1_hidden_sum_gradient_times_weight": seen.da[0][0],
        "row1_hidden_delta": seen.dz[0][0],
        "row1_grad_W1": seen.gradients["0.weight"].T,
        "row1_grad_W2": seen.gradients["1.weight"].T,
    }


def _all_rows(desk: Desk, model: bp.Model, x: HostArray, y: HostArray) -> dict[str, Any]:
    seen = look(model, x, y)
    w1, w2 = (model.parameters[f"{i}.weight"].T for i in (0, 1))
    entropy = look(desk.model(_network(w1, w2, bp.Loss("binary_cross_entropy", "sum"))), x, y)
    outputs, target, ops = desk.array(seen.a[1]), desk.array(y), desk.ops
    return {
        "hidden_all_rows": seen.a[0],
        "outputs_all_rows": seen.a[1][:, 0],
        "loss_all_half_squared": seen.loss,
        "loss_all_ssr": desk.number(ops.sum_squared_residuals_fwd(outputs, target)[0]),
        "loss_all_mse": desk.number(ops.mean_squared_error_fwd(outputs, target)[0]),
        "loss_all_bce_mean": desk.number(ops.binary_cross_entropy_fwd(outputs, target)[0]),
        "batch_grad_W1_half_squared": seen.gradients["0.weight"].T,
        "batch_grad_W2_half_squared": seen.gradients["1.weight"].T,
        "batch_grad_W1_bce_sum": entropy.gradients["0.weight"].T,
        "batch_grad_W2_bce_sum": entropy.gradients["1.weight"].T,
        "numeric_check_relerr": relative(slopes(model, x, y, STEP), seen.gradients),
    }


EXAMPLES = {"xor_221_bias_trick": xor_221_bias_trick}
