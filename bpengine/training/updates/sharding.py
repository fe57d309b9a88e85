"""Shards: a batch in parts that several processes compute, whose losses and gradients are added in one fixed order.

The result has the same bits for every number of processes, since nothing depends on which process computes a shard: neither
where it begins, nor the order of additions, nor its weight. All sums over rows are added; penalties, clipping by the
gradient's norm and the update rule are applied once, to the total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.tree import Cut
from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, Run
from bpengine.network import Network, add_up
from bpengine.ops import Ops
from bpengine.training.updates import accumulation

GRADIENT, RUNNING, LOSS, SHARE = "gradient/", "running/", "loss", "share"


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The shards of a batch, what adds them up, the parameters whose gradients are wanted, and the rows run at a time."""

    cut: Cut
    add_up: ShardAdder
    trained: tuple[str, ...]
    part: int | None = None


class Sum(NamedTuple):
    """Loss and gradients of a batch, new running statistics, and the sum of the rows' weights (1,) or None."""

    loss: Array
    gradients: Arrays
    running: Arrays
    share: Array | None


def loss_and_gradients(
    network: Network, ops: Ops, params: Arrays, running: Arrays, rows: tuple[Array, ...], run: Run, shards: Shards
) -> Sum:
    """Return the values of `Network.loss_and_gradients` for the whole batch, up to rounding; `rows` are this process's.

    A mean over rows is the sum of the shards' means, each by its number of rows or the sum of their weights. Running
    statistics are averaged by numbers of rows; layers that work on several rows at once see those of a shard.
    """
    shard = _Shard(network, ops, params, running, run=run, shards=shards)
    with ops.scope():
        sums = shards.add_up(shard.part, rows, shards.cut)
        return shard.finished(sums, weighted=len(rows) > 2)


class _Shard:
    """The contribution of one shard, or the sum of several."""

    def __init__(
        self, network: Network, ops: Ops, params: Arrays, running: Arrays, *, run: Run, shards: Shards
    ) -> None:
        self._network, self._ops, self._params, self._running, self._run = network, ops, params, running, run
        self._shards, self._cut = shards, shards.cut
        self._bare = Network(network.inputs, network.layers, network.loss)
        self._averages = network.loss.reduction != "sum"
        self._seen = [name for name in running if name.rpartition(".")[0] not in run.frozen]

    def part(self, rows: tuple[Array, ...], first: int | Array, count: int) -> Arrays:
        """Return the contribution of a shard of `count` rows, which begins at position `first` of the batch.

        Means are multiplied by their weights, unless these are the same for all shards.
        """
        if not count:
            return self._nothing(weighted=len(rows) > 2)
        loss, gradients, running = self._computed(rows, self._run._replace(first=first))
        # gradients come first: joined to one vector, those of most layers then begin at a cache line
        sums = {f"{GRADIENT}{name}": gradients[name] for name in self._shards.trained}
        sums[LOSS] = self._ops.xp.reshape(loss, (1,))
        seen = {f"{RUNNING}{name}": running[name] for name in self._seen}
        if not self._cut.even:
            seen = {name: value * float(count) for name, value in seen.items()}
        if len(rows) == 2:
            scaled = self._averages and not self._cut.even
            return {name: value * float(count) for name, value in sums.items()} | seen if scaled else sums | seen
        share = self._ops.xp.sum(rows[2], keepdims=True)  # (1,)
        if self._averages:
            sums = {name: value * share for name, value in sums.items()}
        return sums | {SHARE: share} | seen

    def _computed(self, rows: tuple[Array, ...], run: Run) -> tuple[Array, Arrays, Arrays]:
        x, target, *weights = rows
        model = self._ops, self._params, self._running
        if self._shards.part and x.shape[0] > self._shards.part:
            return accumulation.loss_and_gradients(self._bare, *model, rows, run, self._shards.part)
        return self._bare.loss_and_gradients(*model, x, target, weights[0] if weights else None, run)

    def _nothing(self, *, weighted: bool) -> Arrays:
        """Return the contribution of a shard without rows: zeros of the same names and shapes."""
        xp = self._ops.xp
        zero = xp.zeros((1,), dtype=self._params[self._shards.trained[0]].dtype)
        sums = {f"{GRADIENT}{name}": xp.zeros_like(self._params[name]) for name in self._shards.trained} | {LOSS: zero}
        seen = {f"{RUNNING}{name}": xp.zeros_like(self._running[name]) for name in self._seen}
        return sums | ({SHARE: zero} if weighted else {}) | seen

    def finished(self, sums: Arrays, *, weighted: bool) -> Sum:
        """Return the batch's loss and gradients, penalties included, from the sums over all shards."""
        xp, network, sums = self._ops.xp, self._network, dict(sums)
        even = 1.0 / (self._cut.shards if self._cut.even else self._cut.batch)
        running = self._running | {name: sums.pop(f"{RUNNING}{name}") * even for name in self._seen}
        share = sums.pop(SHARE) if weighted else None
        if self._averages:
            scale = even if share is None else 1.0 / (share + mask(xp, share == 0, share))  # (1,)
            sums = {name: value * scale for name, value in sums.items()}
        loss = xp.reshape(sums.pop(LOSS), ())
        gradients = {name.removeprefix(GRADIENT): value for name, value in sums.items()}
        terms = network.penalty_terms(self._ops, self._params, self._cut.batch, share)
        touched = network.add_penalties(self._ops, terms, gradients)
        return Sum(add_up(self._ops, loss, terms), {**gradients, **touched}, running, share)
