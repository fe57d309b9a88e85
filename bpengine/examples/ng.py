"""Andrew Ng's exercise 4: the gradient check, its formulas as one guide prints them, a test case, and the digits' cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, look, relative, slopes
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers import Run
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.ops import Ops

STEP = 1e-4  # step of the central differences, as in the exercise
LOSS = bp.Loss("binary_cross_entropy", "batch_mean")


def ng_check_nn_gradients(desk: Desk) -> dict[str, Any]:
    """Compute cost and gradients at three penalties, by hand-written backward, by differences and as printed."""
    name, results = "ng_check_nn_gradients", dict[str, Any]()
    x, y = _data(name)
    for strength in (0, 1, 3):
        model = desk.model(_network(name, strength))
        seen, numeric = look(model, x, y), slopes(model, x, y, STEP)
        printed = _as_printed(desk, name, strength)
        results[f"J_lambda_{strength}"] = seen.loss
        results[f"grad_lambda_{strength}_unrolled_F_order"] = _unrolled(seen.gradients)
        results[f"relative_difference_lambda_{strength}_eps_1e-4"] = relative(numeric, seen.gradients)
        results[f"relative_difference_formulas_as_printed_lambda_{strength}"] = relative(numeric, printed)
    results["first_six_grad_lambda_0"] = results["grad_lambda_0_unrolled_F_order"][:6]
    results["grad_6_to_15_lambda_3"] = results["grad_lambda_3_unrolled_F_order"][5:15]
    return results


def ng_tutorial_case_2_2_4(desk: Desk) -> dict[str, Any]:
    """Compute the tutorial's test case, and the sigmoid's gradient at five points."""
    name, z = "ng_tutorial_case_2_2_4", desk.array([[-1.0, -0.5, 0.0, 0.5, 1.0]])
    free, penalized = (look(desk.model(_network(name, strength)), *_data(name)) for strength in (0, 4))
    slope = desk.ops.sigmoid_bwd(desk.ops.sigmoid_fwd(z)[1], desk.ops.xp.ones_like(z))
    return {
        "a3": free.a[1],
        "J_lambda_0": free.loss,
        "grad_lambda_0": _unrolled(free.gradients),
        "J_lambda_4": penalized.loss,
        "grad_lambda_4": _unrolled(penalized.gradients),
        "sigmoid_gradient(-1,-.5,0,.5,1)": desk.host(slope)[0],
    }


def ng_ex4_digits_cost(desk: Desk) -> dict[str, Any]:
    """Add the engine's penalty to the known cost without one: digits and weights must not be distributed; S replaces them."""
    values = {quantity.name: quantity.value for quantity in known("ng_ex4_digits_cost").quantities}
    weight = desk.array([[sqrt(values["sum_of_squared_weights_without_bias"])]])
    penalties = {m: bp.L2(m, per_sample=True).forward(desk.ops, weight, None, samples=5000)[0] for m in (1, 3)}
    return {
        **{f"J_lambda_{m}": values["J_lambda_0"] + desk.number(penalty) for m, penalty in penalties.items()},
        "J1_minus_J0 = S/(2*5000)": desk.number(penalties[1]),
    }


@dataclass(frozen=True)
class AsPrinted(bp.Layer):
    """A sigmoid whose backward multiplies by g(z) instead of g'(z): the formula as the guide prints it."""

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: HostArray, run: Run) -> tuple[Array, Tree, Arrays]:
        """Return g(z)."""
        y, _ = ops.sigmoid_fwd(x)
        return y, y, running

    def backward(self, ops: Ops, residual: Tree, dy: HostArray, *, need_dx: bool = True) -> tuple[Any, dict[str, Any]]:
        """Return dy g(z), which is wrong."""
        return dy * residual, {}


def _as_printed(desk: Desk, name: str, strength: float) -> HostArrays:
    """Return the gradients as printed: g for g', layer 0 without a penalty, layer 1 with one on its biases too."""
    x, y = _data(name)
    hidden, output = _dense(name)
    linear = bp.Dense(hidden.units, bias=hidden.bias, weight_init=hidden.weight_init)
    gradients = look(desk.model(bp.Network(x.shape[1], [linear, AsPrinted(), output], LOSS)), x, y).gradients
    weight = desk.array(np.transpose(known(name).network["Theta2"]))
    penalty, residual = desk.ops.l2_fwd(weight, strength=strength / len(x))
    extra = desk.host(desk.ops.l2_bwd(residual, desk.ops.xp.ones_like(penalty)))
    return {"0.weight": gradients["0.weight"], "1.weight": gradients["2.weight"] + extra}


def _dense(name: str) -> tuple[bp.Dense, bp.Dense]:
    thetas = (np.transpose(known(name).network[f"Theta{i}"]) for i in (1, 2))
    hidden, output = (bp.Dense(t.shape[1], "sigmoid", bias="column-first", weight_init=t) for t in thetas)
    return hidden, output


def _network(name: str, strength: float) -> bp.Network:
    return bp.Network(known(name).network["sizes"][0], _dense(name), LOSS, bp.L2(strength, per_sample=True))


def _data(name: str) -> tuple[Any, Any]:
    """Return the rows and one-hot targets; the course counts classes from 1."""
    entry = known(name)
    return np.array(entry.data["X"]), np.eye(entry.network["sizes"][-1])[np.array(entry.data["y"]) - 1]


def _unrolled(gradients: HostArrays) -> HostArray:
    """Return the gradients as one column, in the order of Octave."""
    return np.concatenate([gradients[f"{i}.weight"].T.ravel(order="F") for i in (0, 1)])


EXAMPLES = {
    "ng_check_nn_gradients": ng_check_nn_gradients,
    "ng_tutorial_case_2_2_4": ng_tutorial_case_2_2_4,
    "ng_ex4_digits_cost": ng_ex4_digits_cost,
}
