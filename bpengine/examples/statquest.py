"""StatQuest's dosage networks: the four videos on backpropagation."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, fit, look, relative, slopes
from bpengine.kernels._kernel import Array

STEP = 1e-5  # step of the central differences
BEST = "statquest_dosage_b3"  # the example whose hidden layer is at its optimum


def statquest_dosage_inside_black_box(desk: Desk) -> dict[str, Any]:
    """Run the network of the first video forward."""
    entry = known("statquest_dosage_inside_black_box")
    x, y = doses(entry.name)
    n = entry.network
    seen = look(desk.model(_network(n["W1"], n["b1"], n["W2"], n["b2"])), x, y)
    blue = desk.ops.softplus_fwd(desk.array([[2.14]]))[0]
    return {"hidden": seen.a[0], "output": seen.a[1][:, 0], "softplus_at_2.14": desk.number(blue)}


def statquest_dosage_b3(desk: Desk) -> dict[str, Any]:
    """Train the last bias alone, from 0, until its step size is below 0.001."""
    n, (x, y) = known(BEST).network, doses(BEST)
    model = desk.model(_network(n["W1"], n["b1"], n["W2"], [0.0]))
    visited = [0.0]
    history = fit(
        model, x, y, optimizer=bp.SGD(0.1), steps=1000, only="1.bias", stop=bp.StepSizeBelow(1e-3),
        callbacks=lambda m, epoch: visited.append(m.parameters["1.bias"][0]),
    )  # fmt: skip
    slope = [_at(model, x, y, b3)[1] for b3 in visited[:-1]]
    trace = [[b, s, 0.1 * s, new] for b, s, new in zip(visited[:-1], slope, visited[1:], strict=True)]
    curve = [_at(model, x, y, b3) for b3 in (0.0, 1.0, 2.0, 3.0)]
    minimum = -slope[0] / (2 * len(x))  # the loss is a parabola in b3 with second derivative 2 n
    return {
        "weighted_hidden_sum (predicted at b3=0)": _predicted(model, x, 0.0),
        "SSR_at_b3_0_1_2_3": [loss for loss, _ in curve],
        "slope_at_b3_0_1_2_3": [slope for _, slope in curve],
        "slope_b3_0": trace[0][1],
        "step_1": trace[0][2],
        "b3_after_1": trace[0][3],
        "slope_2": trace[1][1],
        "step_2": trace[1][2],
        "b3_after_2": trace[1][3],
        "trace": trace,
        "n_steps_to_stop": history.steps,
        "b3_at_stop": visited[-1],
        "b3_exact_minimum": minimum,
        "SSR_at_exact_minimum": _at(model, x, y, minimum)[0],
        "contraction_factor_per_step": slope[1] / slope[0],
    }


def statquest_dosage_w3_w4_b3(desk: Desk) -> dict[str, Any]:
    """Train the output layer alone, until no parameter moves."""
    best, n, (x, y) = known(BEST).network, known("statquest_dosage_w3_w4_b3").network, doses(BEST)
    model = desk.model(_network(best["W1"], best["b1"], n["W2"], n["b2"]))
    seen, steps, trajectory = look(model, x, y), 0, []
    for more in (1, 1, 8, 90, 19900):
        trajectory.append([steps, *_output_layer(model), model.evaluate(x, y)["loss"]])
        rule = bp.StepSizeBelow(1e-12)
        steps += fit(model, x, y, optimizer=bp.SGD(0.1), steps=more, only="1.*", stop=rule).steps
    return {
        "hidden_y1": seen.a[0][:, 0],
        "hidden_y2": seen.a[0][:, 1],
        "predicted": seen.a[1][:, 0],
        "dSSR_dw3": seen.gradients["1.weight"][0, 0],
        "dSSR_dw4": seen.gradients["1.weight"][1, 0],
        "dSSR_db3": seen.gradients["1.bias"][0],
        "after_1_step_w3_w4_b3": trajectory[1][1:4],
        "trajectory": trajectory,
        "limit_w3_w4_b3": _output_layer(model),
        "steps_to_limit": steps,
    }


def statquest_dosage_all_parameters(desk: Desk) -> dict[str, Any]:
    """Train all seven parameters with two learning rates, which lead to different minima."""
    name = "statquest_dosage_all_parameters"
    p, (x, y) = known(name).network["start"], doses(name)
    network = _network([[p["w1"]], [p["w2"]]], [p["b1"], p["b2"]], [[p["w3"], p["w4"]]], [p["b3"]])
    model = desk.model(network)
    start, seen = model.parameters, look(model, x, y)
    numeric = relative(slopes(model, x, y, STEP), seen.gradients)
    fit(model, x, y, optimizer=bp.SGD(0.1), steps=1)
    first = in_order(model.parameters)
    fit(model, x, y, optimizer=bp.SGD(0.1), steps=4999, track_step_size=False)
    coarse, coarse_loss = in_order(model.parameters), model.evaluate(x, y)["loss"]
    model.parameters = start
    fit(model, x, y, optimizer=bp.SGD(0.01), steps=20000, track_step_size=False)
    return {
        "predicted_start": seen.a[1][:, 0],
        "SSR_start": seen.loss,
        "dSSR_dw1": seen.gradients["0.weight"][0, 0],
        "grad_w1_b1_w2_b2_w3_w4_b3": in_order(seen.gradients),
        "numeric_check_relerr": numeric,
        "after_1_step_lr_0.1": first,
        "limit_lr_0.01_20000_steps": in_order(model.parameters),
        "SSR_lr_0.01": model.evaluate(x, y)["loss"],
        "limit_lr_0.1_5000_steps": coarse,
        "SSR_lr_0.1": coarse_loss,
    }


def doses(name: str) -> tuple[Any, Any]:
    """Return the three dosages and the effect of each."""
    data = known(name).data
    return np.array(data["X"]), np.array(data["Y"])


def _network(w1: Array, b1: Array, w2: Array, b2: Array) -> bp.Network:
    hidden = bp.Dense(2, "softplus", weight_init=np.transpose(w1), bias_init=b1)
    return bp.Network(1, [hidden, bp.Dense(1, weight_init=np.transpose(w2), bias_init=b2)], "sum_squared_residuals")


def _at(model: bp.Model, x: Array, y: Array, b3: float) -> tuple[float, float]:
    """Return the loss and its slope in b3."""
    model.parameters = {"1.bias": [b3]}
    loss, gradients = model.loss_and_gradients(x, y)
    return loss, float(gradients["1.bias"][0])


def _predicted(model: bp.Model, x: Array, b3: float) -> HostArray:
    model.parameters = {"1.bias": [b3]}
    return model.forward(x)[:, 0]


def _output_layer(model: bp.Model) -> list[float]:
    p = model.parameters
    return [*p["1.weight"][:, 0], *p["1.bias"]]


def in_order(p: dict[str, Any]) -> list[float]:
    """Return w1, b1, w2, b2, w3, w4 and, where there is one, b3."""
    (w1, w2), (b1, b2) = p["0.weight"][0], p["0.bias"]
    return [w1, b1, w2, b2, *p["1.weight"][:, 0], *p.get("1.bias", ())]


EXAMPLES = {
    "statquest_dosage_inside_black_box": statquest_dosage_inside_black_box,
    "statquest_dosage_b3": statquest_dosage_b3,
    "statquest_dosage_w3_w4_b3": statquest_dosage_w3_w4_b3,
    "statquest_dosage_all_parameters": statquest_dosage_all_parameters,
}
