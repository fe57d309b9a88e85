"""Derivatives with respect to the inputs: the Jacobian of the outputs for each row, and the gradient of the loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bpengine.backend import HostArray
from bpengine.derivatives.rows import own
from bpengine.kernels._kernel import Array
from bpengine.layers.chain import backward_chain
from bpengine.layers.layer import Arrays
from bpengine.training.evaluation import CHUNK, Evaluator
from bpengine.training.rows import Rows


def jacobian(run: Evaluator, params: Arrays, running: Arrays, x: HostArray, *, link: bool) -> HostArray:
    """Return d output / d input of each row, as (rows, outputs, inputs); with `link`, of the predictions.

    A backward computes the product of a cotangent with the Jacobian; a cotangent that is 1 at one output selects its row. All
    pairs of a row and an output form one batch, CHUNK of them at a time.
    """
    outputs, rows = run.network.outputs, len(x)
    activation = run.network.loss.link if link else None
    compiled = run.compile(("picked", activation), _picked(run, activation))
    products = np.empty((rows * outputs, run.network.inputs), run.backend.dtype)
    unit = np.eye(outputs)
    step = CHUNK if own(run.network.layers) else 1
    for start in range(0, rows * outputs, step):
        pairs = np.arange(start, min(start + step, rows * outputs))
        batch = Rows(x[pairs // outputs], unit[pairs % outputs], None)

        def of_part(part: slice, batch: Rows = batch) -> HostArray:
            return run.backend.to_numpy(compiled(params, running, *run.bring(batch.part(part))))

        for part, product in run.room.parts(len(pairs), of_part):
            products[pairs[part]] = product
    return products.reshape(rows, outputs, run.network.inputs)


def _picked(run: Evaluator, activation: str | None) -> Callable[..., Array]:
    """Return the function that maps a cotangent of the outputs to that of the inputs."""
    network, ops = run.network, run.ops

    def picked(params: Arrays, running: Arrays, x: Array, dy: Array) -> Array:
        passed = network.forward(ops, params, running, x)
        if activation:
            dy = ops.backward(activation)(ops.forward(activation)(passed.y)[1], dy)
        return backward_chain(network.layers, ops, passed.residuals, dy)[0]

    return picked


def input_gradients(run: Evaluator, params: Arrays, running: Arrays, rows: Rows) -> HostArray:
    """Return the gradient of the loss over all rows with respect to x, as (rows, inputs)."""
    network, ops = run.network, run.ops

    def gradient(params: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None = None) -> Array:
        passed = network.forward(ops, params, running, x)
        dy = network.loss_and_cotangent(ops, params, passed.y, target, weights)[1]
        return backward_chain(network.layers, ops, passed.residuals, dy)[0]

    gradients = run.at_once("input gradients", gradient, (params, running), rows)
    return np.array(run.backend.to_numpy(gradients))
