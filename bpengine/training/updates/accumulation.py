"""Gradient accumulation: a batch in parts whose loss and gradients add up to those of the whole.

A file of its own, although the step alone uses it: the technique has a derivation and tests of its own.
"""

from __future__ import annotations

from bpengine.kernels._kernel import Array
from bpengine.layers import Run
from bpengine.layers.layer import Arrays
from bpengine.network import Network, add_up
from bpengine.ops import Ops
from bpengine.training.batching import cut_epoch


def loss_and_gradients(
    network: Network,
    ops: Ops,
    params: Arrays,
    running: Arrays,
    rows: tuple[Array, ...],
    run: Run,
    size: int,
) -> tuple[Array, Arrays, Arrays]:
    """Return the values of `Network.loss_and_gradients`, running `size` rows at a time.

    Penalties are added once, for the whole batch. BatchNorm normalises each part by its own statistics and updates the
    running ones after each part; dropout draws a mask for each part. Without these layers the result is that of the
    whole batch.
    """
    bare = Network(network.inputs, network.layers, network.loss)
    averages = network.loss.reduction != "sum"
    count, weights = rows[0].shape[0], rows[2] if len(rows) > 2 else None
    loss, gradients = None, dict[str, Array]()
    for number, (start, stop) in enumerate(parts(count, size, network.smallest_batch(run))):
        x, target, *own = (array[start:stop] for array in rows)
        here = run._replace(counter=ops.part_counter(run.counter, part=number))
        weight = own[0] if own else None
        part_loss, part_gradients, running = bare.loss_and_gradients(ops, params, running, x, target, weight, here)
        shared = (weight, weights) if averages and own else ()  # a weighted mean counts each part by its weights
        share = (stop - start) / count if averages else 1.0
        loss = ops.accumulate(ops.xp.zeros_like(part_loss) if loss is None else loss, part_loss, *shared, share=share)
        for name, dw in part_gradients.items():
            total = gradients[name] if name in gradients else ops.xp.zeros_like(dw)
            gradients[name] = ops.accumulate(total, dw, *shared, share=share)
    terms = network.penalty_terms(ops, params, count, weights)
    return add_up(ops, loss, terms), {**gradients, **network.add_penalties(ops, terms, gradients)}, running


def parts(rows: int, size: int, least: int) -> list[tuple[int, int]]:
    """Return (start, stop) of each part of `size` rows; a remainder of fewer than `least` rows joins the part before it."""
    full, rest = cut_epoch(rows, size, least)
    stops = [size * (i + 1) for i in range(full)] + ([rows] if rest else [])
    return list(zip([0, *stops[:-1]], stops, strict=True))
