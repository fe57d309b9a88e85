"""Input gradients: the gradient of the loss with respect to the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels._kernel import Array
from bpengine.layers.chain import backward_chain
from bpengine.layers.layer import Arrays
from bpengine.training.evaluation import Evaluator
from bpengine.training.rows import Rows


def input_gradients(run: Evaluator, params: Arrays, running: Arrays, rows: Rows) -> HostArray:
    """Return the gradient of the loss over all rows with respect to x, as (rows, inputs)."""
    network = run.network

    def gradient(params: Arrays, running: Arrays, x: Array, target: Array, weights: Any = None) -> Array:
        passed = network.forward(run.ops, params, running, x)
        dy = network.loss_and_cotangent(run.ops, params, passed.y, target, weights)[1]
        return backward_chain(network.layers, run.ops, passed.residuals, dy)[0]

    gradients = run.compile("input gradients", gradient)(params, running, *run.bring(rows))
    return np.array(run.backend.to_numpy(gradients))
