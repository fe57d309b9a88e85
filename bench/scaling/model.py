"""The cost of a step on several nodes: latency, bandwidth and floating-point operations. Seconds, bytes and rows throughout.

One step of one node is products, 6 operations for each parameter and row (2 forward, 4 backward), then one exchange of the
gradients after the backward. Biases, activations, the update, and the gradient of the input that the first layer does not need
are left out. A message of n bytes takes latency + n / bandwidth; a node sends and receives at once.

Sources: Hockney, "The communication challenge for MPP", Parallel Computing 20, 1994 (latency and bandwidth); Thakur,
Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19, 2005 (ring, halving and
doubling, pairwise exchange); Patarasuk, Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 69, 2009; Young, "A first order
approximation to the optimum checkpoint interval", CACM 17, 1974; Daly, "A higher order estimate of the optimum checkpoint
interval for restart dumps", FGCS 22, 2006.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bpengine.distributed.mpi import SMALL

ITEM = 4  # bytes of a float32
READ_READ_WRITE = 3  # an addition reads two numbers and writes one


@dataclass(frozen=True)
class Node:
    """A node: `flops` a second in large products, `latency` in seconds, `bandwidth` and `memory` in bytes a second.

    At `half` rows products reach half of `flops`: they run at flops rows / (rows + half).
    """

    flops: float
    latency: float
    bandwidth: float
    memory: float
    half: float = 0.0


@dataclass(frozen=True)
class Cost:
    """The seconds of an exchange, by cause."""

    latency: float = 0.0
    bandwidth: float = 0.0
    additions: float = 0.0

    @property
    def total(self) -> float:
        """The sum."""
        return self.latency + self.bandwidth + self.additions


def engine(size: float, nodes: int, node: Node) -> Cost:
    """Return the cost of the engine's exchange of `size` bytes, one root on each of `nodes` nodes.

    While all roots together have at most 64 KB, one Allgather, log2 W messages and (W - 1) n bytes, and each node adds
    everything. Above, Alltoall of slices, additions of one slice, Allgather: 2 (W - 1) messages and 2 (W - 1) / W n bytes.
    """
    if nodes == 1:
        return Cost()
    others = nodes - 1
    if nodes * size <= SMALL:
        sent, messages, added = others * size, math.ceil(math.log2(nodes)), others * size
    else:
        sent, messages, added = 2 * others / nodes * size, 2 * others, others / nodes * size
    return Cost(messages * node.latency, sent / node.bandwidth, READ_READ_WRITE * added / node.memory)


def ring(size: float, nodes: int, node: Node) -> Cost:
    """Return the cost of an all-reduce in a ring: 2 (W - 1) messages, 2 (W - 1) / W n bytes."""
    return _reduced(size, nodes, node, 2 * (nodes - 1))


def halving_doubling(size: float, nodes: int, node: Node) -> Cost:
    """Return the cost of an all-reduce by halving and doubling: 2 log2 W messages, 2 (W - 1) / W n bytes."""
    return _reduced(size, nodes, node, 2 * math.ceil(math.log2(nodes)))


def _reduced(size: float, nodes: int, node: Node, messages: int) -> Cost:
    share = (nodes - 1) / nodes * size
    return Cost(messages * node.latency, 2 * share / node.bandwidth, READ_READ_WRITE * share / node.memory)


def products(parameters: float, rows: float, node: Node) -> float:
    """Return the seconds of the products of a step: 6 P rows / rate, the rate being flops rows / (rows + half)."""
    return 6 * parameters * (rows + node.half) / node.flops


def shard_additions(parameters: float, shards: float, node: Node) -> float:
    """Return the seconds that a node takes to add the gradients of its own shards: (shards - 1) 12 P bytes."""
    return (shards - 1) * READ_READ_WRITE * ITEM * parameters / node.memory


def step(parameters: float, batch: float, nodes: int, node: Node, shards: float = 1) -> float:
    """Return the seconds of the engine's step, `batch` rows on all nodes, `shards` on each: the exchange hides nowhere."""
    work = products(parameters, batch / nodes, node) + shard_additions(parameters, shards, node)
    return work + engine(ITEM * parameters, nodes, node).total


def bucketed(parameters: float, batch: float, nodes: int, node: Node, bucket: float = 25e6) -> float:
    """Return the seconds of a step that the engine does not have: buckets exchanged while the backward goes on.

    Each by halving and doubling or the ring, whichever is faster. The first is ready after 1 / k of the backward, which is
    two thirds of the products; the last has nothing to hide behind.
    """
    size = ITEM * parameters
    k = max(1, math.ceil(size / bucket))
    one = min(form(size / k, nodes, node).total for form in (ring, halving_doubling))
    work = products(parameters, batch / nodes, node)
    backward = 2 / 3 * work
    return work - backward + max(backward, backward / k + (k - 1) * one) + one


def efficiency(seconds: float, parameters: float, batch: float, nodes: int, node: Node) -> float:
    """Return how much of `nodes` nodes is used: seconds of one node for the batch / (nodes * seconds)."""
    return products(parameters, batch, node) / (nodes * seconds)


def last_efficient(parameters: float, batch: float, node: Node, least: float = 0.5) -> int:
    """Return the largest number of nodes, a power of two, at which the engine's efficiency is at least `least`."""
    nodes = 1
    while efficiency(step(parameters, batch, 2 * nodes, node), parameters, batch, 2 * nodes, node) >= least:
        nodes *= 2
    return nodes


def losses(parameters: float, batch: float, nodes: int, node: Node) -> dict[str, float]:
    """Return what a step takes longer than 1 / nodes of one node's, in seconds, by cause."""
    cost = engine(ITEM * parameters, nodes, node)
    rows = products(parameters, batch / nodes, node) - products(parameters, batch, node) / nodes
    return {"bandwidth": cost.bandwidth, "latency": cost.latency, "additions": cost.additions, "few rows": rows}


def rows_to_hide(node: Node) -> float:
    """Return the rows of a node at which the backward takes as long as the exchange's bytes: 2 flops / bandwidth.

    4 P rows / flops = 8 P / bandwidth, many nodes: P cancels.
    """
    return 2 * node.flops / node.bandwidth


def rows_for(node: Node, wanted: float) -> float:
    """Return the rows of a node at which a step without overlap is efficient, bytes alone: e / (1 - e) 4/3 flops / bandwidth.

    6 P rows / flops is the part e of itself and 8 P / bandwidth, many nodes: P cancels.
    """
    return wanted / (1 - wanted) * 4 / 3 * node.flops / node.bandwidth


def young(cost: float, mtbf: float) -> float:
    """Return the seconds between checkpoints by Young: sqrt(2 C M), C seconds each, M seconds between failures."""
    return math.sqrt(2 * cost * mtbf)


def daly(cost: float, mtbf: float) -> float:
    """Return the seconds between checkpoints by Daly: sqrt(2 C M) (1 + r / 3 + r^2 / 9) - C with r^2 = C / (2 M).

    M itself where C is at least 2 M.
    """
    if cost >= 2 * mtbf:
        return mtbf
    r = math.sqrt(cost / (2 * mtbf))
    return young(cost, mtbf) * (1 + r / 3 + r * r / 9) - cost


def lost(interval: float, cost: float, mtbf: float, restart: float = 0.0) -> float:
    """Return the share of time lost to checkpoints and failures: C / T + (T / 2 + R) / M, good while T is far below M."""
    return cost / interval + (interval / 2 + restart) / mtbf
