"""Gradient accumulation: a batch in parts, one after another, whose loss and gradients add up to those of the whole."""

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
    """Return what `Network.loss_and_gradients` does, with parts of `size` rows in memory at a time.

    Penalties are added once, for the whole. BatchNorm normalises each part by its own statistics and renews the running
    ones part after part; dropout draws a mask for each part. Without these layers the result is that of the whole batch.
    """
    bare = Network(network.inputs, network.layers, network.loss)
    averages = network.loss.reduction != "sum"
    count, weights = rows[0].shape[0], rows[2] if len(rows) > 2 else None
    loss, gradients = None, dict[str, Array]()
    for number, (start, stop) in enumerate(parts(count, size, network.smallest_batch(run))):
        x, target, *own = (array[start:stop] for array in rows)
        here = run._replace(counter=ops.part_counter(run.counter, part=number))
        weight = own[0] if own else None
        found, new, running = bare.loss_and_gradients(ops, params, running, x, target, weight, here)
        given = (weight, weights) if averages and own else ()
        share = (stop - start) / count if averages else 1.0
        loss = ops.accumulate(ops.xp.zeros_like(found) if loss is None else loss, found, *given, share=share)
        for name, dw in new.items():
            total = gradients[name] if name in gradients else ops.xp.zeros_like(dw)
            gradients[name] = ops.accumulate(total, dw, *given, share=share)
    terms = network.penalty_terms(ops, params, count, weights)
    return add_up(ops, loss, terms), {**gradients, **network.add_penalties(ops, terms, gradients)}, running


def parts(rows: int, size: int, least: int) -> list[tuple[int, int]]:
    """Return (start, stop) of each part: `size` rows each, and the rest, which joins the part before it below `least`."""
    full, rest = cut_epoch(rows, size, least)
    stops = [size * (i + 1) for i in range(full)] + ([rows] if rest else [])
    return list(zip([0, *stops[:-1]], stops, strict=True))
