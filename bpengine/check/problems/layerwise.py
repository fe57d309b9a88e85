"""A network's step layer by layer, with the shapes of what each layer returns checked."""

from __future__ import annotations

import numpy as np

from bpengine.check.problems.problem import counter
from bpengine.kernels._kernel import Array
from bpengine.layers import Activation, Dense, Residual, Run, chain
from bpengine.layers.chain import LayerStep, local
from bpengine.layers.contract import run_backward, run_forward
from bpengine.layers.dense import BENT
from bpengine.layers.layer import Arrays
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.rows import Rows


def layer_steps(network: Network, ops: Ops, params: Arrays, running: Arrays, rows: Rows, seed: int) -> list[LayerStep]:
    """Return every layer with its input and output, in training mode at step 0 of `seed`."""
    x, weights = (None if a is None else np.asarray(a, dtype=np.float64) for a in (rows.x, rows.weights))
    run = Run(True, counter(ops.xp, seed), weights=weights)
    return list(chain.layer_steps(network.layers, ops, network.spread(params), running, x, run))


def cotangents(steps: list[LayerStep], ops: Ops, dy: Array) -> list[Array]:
    """Return the gradient with respect to each layer's output, first layer first.

    Raises ShapeError naming the layer whose backward returns the wrong number or shape of gradients, with both.
    """
    last_first = []
    for step in reversed(steps):
        last_first.append(dy)
        dy, _ = run_backward(step.layer, ops.at(step.run.place), step.residual, dy)
    return last_first[::-1]


def inner_steps(step: LayerStep, ops: Ops, dy: Array) -> list[tuple[LayerStep, Array]]:
    """Return the layers inside of a layer (a Residual, or a Dense's activation), each with the gradient of its output."""
    layer, run = step.layer, step.run
    if isinstance(layer, Residual):
        inside = list(chain.layer_steps(layer.layers, ops, step.params, step.running, step.x, run))
        return list(zip(inside, cotangents(inside, ops, dy), strict=True))
    if isinstance(layer, Dense) and not isinstance(layer.activation, Activation):
        z, here = layer.linear(ops, step.params, step.x)[0], run.at(f"{run.place}.{BENT}")
        params, running = local(step.params, BENT), local(step.running, BENT)
        y, residual, seen = run_forward(layer.activation, ops.at(here.place), params, running, z, here)
        step = LayerStep(
            layer=layer.activation, params=params, running=running, run=here, x=z, y=y, residual=residual, seen=seen
        )
        return [(step, dy)]
    return []


def loss_cotangent(network: Network, ops: Ops, params: Arrays, y: Array, rows: Rows) -> Array:
    """Return the gradient of the loss with respect to the network's outputs."""
    target, *weights = targets(rows)
    return network.loss_and_cotangent(ops, params, y, target, weights[0] if weights else None)[1]


def targets(rows: Rows) -> list[Array]:
    """Return the target and, when there are any, the weights, as a loss takes them, in float64."""
    return [np.asarray(a, dtype=d) for a, d in zip(rows.arrays, rows.dtypes("float64"), strict=True)][1:]
