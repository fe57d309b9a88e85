"""Stanford CS231n: the two-layer networks of the assignments, the circuits of lecture 4, the checks of update rules."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, look, relative, slopes
from bpengine.kernels._kernel import Array

STEP = 1e-5  # step of the central differences


def cs231n_fc_two_layer_net(desk: Desk) -> dict[str, Any]:
    """Compute scores, losses and gradients of the 5-50-7 network whose weights are evenly spaced numbers."""
    x, y = np.linspace(-5.5, 4.5, 15).reshape(5, 3).T, np.array([0, 5, 1])
    w1, w2 = np.linspace(-0.7, 0.3, 250).reshape(5, 50), np.linspace(-0.3, 0.4, 350).reshape(50, 7)
    b1, b2 = np.linspace(-0.1, 0.9, 50), np.linspace(-0.9, 0.1, 7)
    models = {reg: desk.model(_network(w1, b1, w2, b2, reg)) for reg in (0.0, 0.7, 1.0)}
    seen = {reg: look(model, x, y) for reg, model in models.items()}
    free, penalized = seen[0.0].gradients, seen[0.7].gradients
    norm = {name: desk.number(desk.ops.global_norm(desk.array(dw))) for name, dw in penalized.items()}
    return {
        "scores": seen[0.0].a[1],
        "loss_reg_0": seen[0.0].loss,
        "loss_reg_1": seen[1.0].loss,
        "grad_b1_reg_0": free["0.bias"],
        "grad_b2_reg_0": free["1.bias"],
        "grad_W1_norm_reg_0.7": norm["0.weight"],
        "grad_W2_norm_reg_0.7": norm["1.weight"],
        "grad_W1_first_row_reg_0.7": penalized["0.weight"][0],
        "numeric_check_relerr_reg_0.7": relative(slopes(models[0.7], x, y, STEP), penalized),
    }


def cs231n_toy_net_seeded(desk: Desk) -> dict[str, Any]:
    """Compute scores, loss and gradients of the 4-10-3 network; reg |W|^2 is an L2 penalty of strength 2 reg."""
    entry = known("cs231n_toy_net_seeded")
    x, y = np.array(entry.data["X"]), np.array(entry.data["y"])
    w1, w2 = np.array(entry.network["W1"]), np.array(entry.network["W2"])
    seen, free = (look(desk.model(_network(w1, "zeros", w2, "zeros", reg)), x, y) for reg in (0.1, 0.0))
    return {
        "scores": seen.a[1],
        "loss_reg_0.05": seen.loss,
        "data_loss": free.loss,
        "grad_b1": seen.gradients["0.bias"],
        "grad_b2": seen.gradients["1.bias"],
        "grad_W2": seen.gradients["1.weight"],
    }


def cs231n_optimisers(desk: Desk) -> dict[str, Any]:
    """Take one step of momentum, RMSprop and Adam; the course's velocity is -lr times the engine's."""
    ops, rate = desk.ops, 1e-3
    w, dw = (_line(desk, *ends) for ends in ((-0.4, 0.6), (-0.6, 0.4)))
    t, lr = desk.array([6.0]), desk.array([1e-2])
    velocity = np.linspace(0.6, 0.9, 20).reshape(4, 5)
    pushed, u = ops.momentum_update(w, dw, desk.array(-velocity / rate), t, desk.array([rate]), momentum=0.9)
    scaled, cache = ops.rmsprop_update(w, dw, _line(desk, 0.6, 0.9), t, lr, decay=0.99, eps=1e-8)
    adapted, m, v = ops.adam_update(w, dw, _line(desk, 0.6, 0.9), _line(desk, 0.7, 0.5), t, lr)
    return {
        "momentum_next_w": desk.host(pushed),
        "momentum_velocity": -rate * desk.host(u),
        "rmsprop_next_w": desk.host(scaled),
        "rmsprop_cache": desk.host(cache),
        "adam_next_w": desk.host(adapted),
        "adam_v": desk.host(v),
        "adam_m": desk.host(m),
    }


def _network(w1: Array, b1: Array, w2: Array, b2: Array, reg: float) -> bp.Network:
    hidden = bp.Dense(w1.shape[1], "relu", weight_init=w1, bias_init=b1)
    output = bp.Dense(w2.shape[1], weight_init=w2, bias_init=b2)
    return bp.Network(w1.shape[0], [hidden, output], "softmax_cross_entropy", bp.L2(reg))


def _line(desk: Desk, first: float, last: float) -> Array:
    return desk.array(np.linspace(first, last, 20).reshape(4, 5))


EXAMPLES = {
    "cs231n_fc_two_layer_net": cs231n_fc_two_layer_net,
    "cs231n_toy_net_seeded": cs231n_toy_net_seeded,
    "cs231n_optimisers": cs231n_optimisers,
}
