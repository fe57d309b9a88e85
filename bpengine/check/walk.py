"""A network's step layer by layer, with what each layer gives back held to its contract."""

from __future__ import annotations

import numpy as np

from bpengine.check.problem import counter
from bpengine.kernels._kernel import Array
from bpengine.layers import Activation, Dense, Residual, Run, chain
from bpengine.layers.chain import Stage, local
from bpengine.layers.contract import run_backward, run_forward
from bpengine.layers.dense import BENT
from bpengine.layers.layer import Arrays
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.rows import Rows


def stages(network: Network, ops: Ops, params: Arrays, running: Arrays, rows: Rows, seed: int) -> list[Stage]:
    """Return every layer with what goes in and out, in training mode at step 0 of `seed`."""
    x, weights = (None if a is None else np.asarray(a, dtype=np.float64) for a in (rows.x, rows.weights))
    run = Run(True, counter(ops.xp, seed), weights=weights)
    return list(chain.stages(network.layers, ops, network.spread(params), running, x, run))


def backward(walked: list[Stage], ops: Ops, dy: Array) -> list[Array]:
    """Return the gradient with respect to each layer's output, first layer first.

    Raises ShapeError naming the layer whose backward returns the wrong number or shape of gradients, with both.
    """
    cotangents = []
    for stage in reversed(walked):
        cotangents.append(dy)
        dy, _ = run_backward(stage.layer, ops.at(stage.run.place), stage.residual, dy)
    return cotangents[::-1]


def inner(stage: Stage, ops: Ops, dy: Array) -> list[tuple[Stage, Array]]:
    """Return the layers inside of a layer (a Residual, or a Dense's activation), each with the gradient of its output."""
    layer, run = stage.layer, stage.run
    if isinstance(layer, Residual):
        inside = list(chain.stages(layer.layers, ops, stage.params, stage.running, stage.x, run))
        return list(zip(inside, backward(inside, ops, dy), strict=True))
    if isinstance(layer, Dense) and not isinstance(layer.activation, Activation):
        z, here = layer.linear(ops, stage.params, stage.x)[0], run.at(f"{run.place}.{BENT}")
        params, running = local(stage.params, BENT), local(stage.running, BENT)
        y, residual, seen = run_forward(layer.activation, ops.at(here.place), params, running, z, here)
        return [(Stage(layer.activation, params, running, here, z, y, residual, seen), dy)]
    return []


def cotangent(network: Network, ops: Ops, params: Arrays, y: Array, rows: Rows) -> Array:
    """Return the gradient of the loss with respect to the network's outputs."""
    target, *weights = targets(rows)
    return network.loss_and_cotangent(ops, params, y, target, weights[0] if weights else None)[1]


def targets(rows: Rows) -> list[Array]:
    """Return the target and, when there are any, the weights, as a loss is given them in float64."""
    return [np.asarray(a, dtype=d) for a, d in zip(rows.arrays, rows.dtypes("float64"), strict=True)][1:]
