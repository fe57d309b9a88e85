"""Per-sample gradients: the gradient of each row's own loss with respect to every parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bpengine.backend import HostArray
from bpengine.derivatives.rows import PerRowOps, batched, row_numbers, some
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.network import INFERENCE, Network
from bpengine.training.evaluation import Evaluator
from bpengine.training.rows import Rows


def per_sample_gradients(
    run: Evaluator, params: Arrays, running: Arrays, rows: Rows, names: Sequence[str]
) -> HostArrays:
    """Return the gradient of each row's loss for the named parameters, as {name: (rows, *shape)}.

    For a loss that is a mean, row i has the gradient of its own loss plus that of the penalties, so that the weighted mean
    over the rows is the gradient of the loss. For a loss that is a sum, row i has the gradient of its own loss times its
    weight, plus 1/rows of that of the penalties, so that the sum over the rows is the gradient of the loss. The penalties
    are those of all rows together: they divide by the number of all samples.
    """
    sums = run.network.loss.reduction == "sum"
    sizes = {name: int(np.prod(params[name].shape)) for name in names}
    per_row = {name: np.empty((len(rows.x), *params[name].shape), run.backend.dtype) for name in names}
    # Kernels with `per_row` give all rows in one backward; a custom layer returns only sums, so its rows are run one by one.
    together = batched(run.network)
    compiled = run.compile(("per sample", together, tuple(names)), _gradients(run, names, together))
    for numbers in row_numbers(len(rows.x), sum(sizes.values()), together):
        batch = some(rows, numbers, weighted=sums)

        def of_part(part: slice, batch: Rows = batch) -> Arrays:
            gradients: Arrays = compiled(params, running, *run.bring(batch.part(part)))
            return gradients

        for part, gradients in run.room.parts(len(numbers), of_part):
            of_these = numbers[part]
            # undo the mean over these rows, which divided by their number
            scale = 1 if sums or not together else len(of_these)
            for name in names:
                per_row[name][of_these] = scale * run.backend.to_numpy(gradients[name])
    for name, extra in _penalties(run, params, running, rows, names).items():
        per_row[name] += extra / (len(rows.x) if sums else 1)
    return per_row


def _gradients(run: Evaluator, names: Sequence[str], together: bool) -> Callable[..., Arrays]:
    """Return the function that computes the gradients of some rows, or of a single one, without penalties."""
    bare = Network(run.network.inputs, run.network.layers, run.network.loss)
    ops = PerRowOps(run.ops) if together else run.ops

    def gradients(params: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None = None) -> Arrays:
        every = bare.loss_and_gradients(ops, params, running, x, target, weights, INFERENCE)[1]
        return {name: every[name] for name in names}

    return gradients


def _penalties(
    run: Evaluator, params: Arrays, running: Arrays, rows: Rows, names: Sequence[str]
) -> dict[str, HostArray]:
    """Return the gradient of the penalties for the named penalized parameters."""
    network, ops = run.network, run.ops
    if not network.penalties:
        return {}

    def penalties(params: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None = None) -> Arrays:
        y = network.forward(ops, params, running, x).y
        terms = network.loss_and_cotangent(ops, params, y, target, weights)[2]
        zeros = {name: ops.xp.zeros_like(params[name]) for name in names}
        return network.add_penalties(ops, terms, zeros)

    extras = run.at_once(("penalties", tuple(names)), penalties, (params, running), rows)
    return {name: run.backend.to_numpy(extra) for name, extra in extras.items()}
