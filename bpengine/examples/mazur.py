"""Matt Mazur's 2-2-2 network: one step by hand, then 10,000, for every interpretation of the post."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, fit, look
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers import Run
from bpengine.layers.layer import Arrays
from bpengine.ops import Ops

SGD = bp.SGD(0.5)


def mazur_222(desk: Desk) -> dict[str, Any]:
    """Compute the forward and backward pass, and 10,000 steps of each kind of update."""
    x, y = (np.array(known("mazur_222").data[name]) for name in "XT")
    return {
        **_pass(desk, x, y),
        **_parallel(desk, x, y),
        **_sequential(desk, x, y),
        **_trained_biases(desk, x, y),
    }


@dataclass(frozen=True)
class SharedBias(bp.Layer):
    """y = x w + b with one bias for all units, as drawn in the post; its gradient is the sum of the units' gradients."""

    weight: HostArray
    bias: float

    def init(self, rng: np.random.Generator, inputs: int) -> dict[str, Any]:
        """Return the given weight and bias."""
        return {"weight": np.array(self.weight), "bias": np.array([self.bias])}

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: HostArray, run: Run) -> tuple[Array, Tree, Arrays]:
        """Run the dense kernel: the bias of shape (1,) is added to every unit."""
        y, residual = ops.dense_fwd(x, params["weight"], params["bias"])
        return y, residual, running

    def backward(self, ops: Ops, residual: Tree, dy: HostArray, *, need_dx: bool = True) -> tuple[Any, dict[str, Any]]:
        """Sum the units' bias gradients."""
        dx, dw, db = ops.dense_bwd(residual, dy, need_dx=need_dx)
        return dx, {"weight": dw, "bias": ops.xp.sum(db, keepdims=True)}


def _network(shared: bool = False) -> bp.Network:
    weights = known("mazur_222").network
    layers: list[bp.Layer] = []
    for w, b in ((weights["W1"], weights["b1"]), (weights["W2"], weights["b2"])):
        if shared:
            layers += [SharedBias(np.transpose(w), b[0]), bp.Activation("sigmoid")]
        else:
            layers.append(bp.Dense(2, "sigmoid", weight_init=np.transpose(w), bias_init=b))
    return bp.Network(2, layers, "half_sum_squares")


def _pass(desk: Desk, x: HostArray, y: HostArray) -> dict[str, Any]:
    seen = look(desk.model(_network()), x, y)
    outputs, target = desk.array(seen.a[1]), desk.array(y)
    errors = [desk.ops.half_sum_squares_fwd(outputs[:, i : i + 1], target[:, i : i + 1])[0] for i in (0, 1)]
    dw = [seen.gradients[f"{i}.weight"].T for i in (0, 1)]
    return {
        "net_h": seen.z[0][0],
        "out_h": seen.a[0][0],
        "net_o": seen.z[1][0],
        "out_o": seen.a[1][0],
        "E_o": [desk.number(error) for error in errors],
        "E_total": seen.loss,
        "delta_o": seen.dz[1][0],
        "dE_dout_h": seen.da[0][0],
        "delta_h": seen.dz[0][0],
        "grad_W2": dw[1],
        "grad_w5": dw[1][0, 0],
        "grad_W1": dw[0],
        "grad_w1": dw[0][0, 0],
        "grad_b1": seen.gradients["0.bias"],
        "grad_b2": seen.gradients["1.bias"],
    }


def _parallel(desk: Desk, x: HostArray, y: HostArray) -> dict[str, Any]:
    model = desk.model(_network())
    fit(model, x, y, optimizer=SGD, steps=1, only="*.weight")
    first = model.parameters
    history = fit(model, x, y, optimizer=SGD, steps=9999, only="*.weight", track_step_size=False)
    return {
        "W2_after_1": first["1.weight"].T,
        "W1_after_1": first["0.weight"].T,
        "E_after_1_parallel": history.loss[0],
        "E_after_9999_parallel": history.loss[9998],
        "E_after_10000_parallel": model.evaluate(x, y)["loss"],
        "out_after_10000_parallel": model.forward(x)[0],
        "W1_after_10000_parallel": model.parameters["0.weight"].T,
        "W2_after_10000_parallel": model.parameters["1.weight"].T,
    }


def _sequential(desk: Desk, x: HostArray, y: HostArray) -> dict[str, Any]:
    model = desk.model(_network())
    history = fit(model, x, y, optimizer=SGD, steps=10000, only="*.weight", update="sequential", track_step_size=False)
    return {
        "E_after_1_sequential": history.loss[1],
        "E_after_10000_sequential": model.evaluate(x, y)["loss"],
        "out_after_10000_sequential": model.forward(x)[0],
    }


def _trained_biases(desk: Desk, x: HostArray, y: HostArray) -> dict[str, Any]:
    per_unit, shared = desk.model(_network()), desk.model(_network(shared=True))
    history = fit(per_unit, x, y, optimizer=SGD, steps=10000, track_step_size=False)
    fit(shared, x, y, optimizer=SGD, steps=10000, track_step_size=False)
    return {
        "E_after_1_biases_per_unit": history.loss[1],
        "E_after_10000_biases_per_unit": per_unit.evaluate(x, y)["loss"],
        "out_after_10000_biases_per_unit": per_unit.forward(x)[0],
        "E_after_10000_bias_shared_per_layer": shared.evaluate(x, y)["loss"],
        "out_after_10000_bias_shared_per_layer": shared.forward(x)[0],
    }


EXAMPLES = {"mazur_222": mazur_222}
