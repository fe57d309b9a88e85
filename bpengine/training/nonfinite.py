"""The first number of a step that is not finite: which array of which kernel call, found by observing one step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bpengine.backend import Backend, HostArray, State
from bpengine.distributed.tree import Cut
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Run
from bpengine.network import Network
from bpengine.ops import Call, ObservedOps


def first_bad(
    network: Network, backend: Backend, state: State, rows: tuple[Array, ...], cut: Cut | None = None
) -> str | None:
    """Run one step's forward and backward kernel by kernel and describe the first array that is not finite, or None.

    With a `cut`, shard by shard of those that this process computes; a row's number is then its place in the shard.
    """
    for name, array in state["params"].items():
        if place := locate(backend.to_numpy(array)):
            return f"parameter {name!r}{place}"
    finder = _Finder(backend.to_numpy)
    shards = [slice(None)] if cut is None else [slice(cut.start(s), cut.start(s + 1)) for s in cut.own if cut.length(s)]
    before = 0 if cut is None else cut.rows.start
    for shard in shards:
        here = slice(None) if cut is None else slice(shard.start - before, shard.stop - before)
        x, target, *weights = (array[here] for array in rows)
        network.loss_and_gradients(
            ObservedOps(backend.ops(), finder), state["params"], state["running"], x, target,
            weights[0] if weights else None, Run(True, state["counter"], first=shard.start or 0),
        )  # fmt: skip
        if finder.first:
            return (
                finder.first
                if cut is None
                else f"{finder.first}, in the shard of rows {shard.start} to {shard.stop - 1}"
            )
    return None


class _Finder:
    def __init__(self, to_numpy: Callable[[Array], HostArray]) -> None:
        self.to_numpy = to_numpy
        self.first: str | None = None

    def __call__(self, call: Call) -> None:
        """Examine the results of a call, until a result was not finite."""
        if self.first:
            return
        for name, array in call.named_results().items():
            if element := locate(self.to_numpy(array)):
                place = f"layer {call.place}" if call.place[:1].isdigit() else f"the {call.place}"
                self.first = f"{name} of {call.function} in {place}{element}"
                return


def locate(array: HostArray) -> str | None:
    """Describe the first element that is not finite: ", row 3, unit 5 = inf"; None when all are finite."""
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    where = np.unravel_index(int(np.argmax(bad)), array.shape)
    names = {0: (), 1: ("element",), 2: ("row", "column")}.get(array.ndim, ("index",) * array.ndim)
    spots = "".join(f", {name} {i}" for name, i in zip(names, where, strict=True))
    return f"{spots} = {array[where]} ({int(bad.sum())} of {bad.size} values)"
