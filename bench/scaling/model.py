"""The cost of a step on several nodes: latency, bandwidth and floating-point operations. Seconds, bytes and rows throughout.

One step is products, 6 operations for each parameter and row (2 forward, 4 backward), then one exchange of the gradients after
the backward. Biases, activations, copies, and the gradient of the input that the first layer does not need are left out. A
message of n bytes takes latency + n / bandwidth. A node sends and receives at once, and uses the links inside it and those to
other nodes at once.

Sources: Hockney, "The communication challenge for MPP", Parallel Computing 20, 1994 (latency and bandwidth); Thakur,
Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19, 2005 (ring, halving and
doubling, pairwise exchange); Patarasuk, Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 69, 2009; Young, "A first order
approximation to the optimum checkpoint interval", CACM 17, 1974; Daly, "A higher order estimate of the optimum checkpoint
interval for restart dumps", FGCS 22, 2006.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from bpengine.distributed.exchange import SMALL
from bpengine.distributed.tree import own_shards, subtrees

ITEM = 4  # bytes of a float32
READ_READ_WRITE = 3  # an addition reads two numbers and writes one
MOST = 2**20  # nodes, beyond which nothing is asked


@dataclass(frozen=True)
class Node:
    """A node of `processes` processes; the other figures are those of one process.

    flops: operations a second in large products. latency, bandwidth: seconds of a message to another node, and bytes a second.
    memory: bytes a second. half: rows whose products take as long as what a step does once for each parameter, above all the
    update; at so many rows products reach half of `flops`.
    start: seconds that a shard takes whatever its size. near_latency, near: latency and bandwidth inside the node.
    """

    flops: float
    latency: float
    bandwidth: float
    memory: float
    half: float = 0.0
    start: float = 0.0
    processes: int = 1
    near_latency: float = 0.0
    near: float = math.inf


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

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.latency + other.latency, self.bandwidth + other.bandwidth, self.additions + other.additions)


@cache
def roots(shards: int, processes: int) -> tuple[int, ...]:
    """Return how many sums each process is left with when it has added its own shards: what it has to send.

    >>> roots(16, 4), roots(16, 3)
    ((1, 1, 1, 1), (2, 3, 2))
    """
    return tuple(len(subtrees(own_shards(shards, rank, processes))) for rank in range(processes))


def engine(size: float, nodes: int, node: Node, counts: Sequence[int] | None = None) -> Cost:
    """Return the cost of the engine's exchange of vectors of `size` bytes; each process has `counts` roots, one by default.

    While all roots together have at most 64 KB, one Allgather, log2 W messages, and each of the W processes adds everything.
    Above, by halving and doubling where W is a power of two and each process has one root; else by `slices`.
    """
    count = nodes * node.processes
    everything = sum(counts) if counts else count
    if count == 1:
        return Cost()
    if everything * size <= SMALL:
        latency = _doublings(nodes, node)
        return Cost(latency, _gathered(everything * size, nodes, node), _added(everything - 1, size, node))
    alone = counts is None or set(counts) == {1}
    if alone and count & (count - 1) == 0:
        return halving_doubling(size, nodes, node)
    return slices(size, nodes, node, counts)


def slices(size: float, nodes: int, node: Node, counts: Sequence[int] | None = None) -> Cost:
    """Return the cost of Alltoall of slices, additions of one slice, Allgather.

    2 (W - 1) messages and, of one root each, 2 (W - 1) / W n bytes.
    """
    count = nodes * node.processes
    everything = sum(counts) if counts else count
    slice_ = size / count
    sent = slice_ * max(
        max(own * (count - 1), everything - own) for own in counts or (1,)
    )  # or received, if that is more
    latency = _pairs(nodes, node) + _ring_hops(nodes, node)
    bandwidth = _scattered(sent, nodes, node) + _gathered(size, nodes, node)
    return Cost(latency, bandwidth, _added(everything - 1, slice_, node))


def two_level(size: float, nodes: int, node: Node) -> Cost:
    """Return the cost of the engine's tree, first inside each node, then between nodes: the same sums, the same bits.

    The engine does not have it. Each process adds a slice of its node's roots, exchanges it with the processes that have the
    same slice on other nodes, and sends the sum to its node.
    """
    inside, part = _inside(node), size / node.processes
    scattered = _scattered((node.processes - 1) * part, 1, inside) + _gathered(size, 1, inside)
    first = Cost(2 * _ring_hops(1, inside), scattered, _added(node.processes - 1, part, node))
    return first + engine(part, nodes, replace(node, processes=1))


def ring(size: float, nodes: int, node: Node) -> Cost:
    """Return the cost of an all-reduce in a ring through all processes: 2 (W - 1) messages, 2 (W - 1) / W n bytes."""
    count = nodes * node.processes
    return Cost(2 * _ring_hops(nodes, node), 2 * _gathered(size, nodes, node), _added(count - 1, size / count, node))


def halving_doubling(size: float, nodes: int, node: Node) -> Cost:
    """Return the cost of an all-reduce by halving and doubling: 2 log2 W messages, 2 (W - 1) / W n bytes.

    Neighbours first, process r with r ^ 1, then r ^ 2, and so on, it adds in the order of the engine's tree where W and V / W
    are powers of two, and most bytes stay inside a node. One round comes after the other, inside the node and then outside.
    """
    count, part = nodes * node.processes, size / node.processes
    near, far = (size - part) / node.near, (part - part / nodes) / node.bandwidth
    return Cost(2 * _doublings(nodes, node), 2 * (near + far), _added(count - 1, size / count, node))


def _inside(node: Node) -> Node:
    return replace(node, bandwidth=math.inf)


def _scattered(sent: float, nodes: int, node: Node) -> float:
    """Return the seconds in which a process sends `sent` bytes, the same to each other process."""
    far = (nodes - 1) * node.processes / max(1, nodes * node.processes - 1)
    return sent * max(far / node.bandwidth, (1 - far) / node.near)


def _gathered(size: float, nodes: int, node: Node) -> float:
    """Return the seconds in which `size` bytes, a slice on each process, go round to all; each node takes them in once."""
    count = nodes * node.processes
    far = (nodes - 1) / nodes * size / (node.processes * node.bandwidth)
    return max(far, (count - 1) / count * size / node.near)


def _added(additions: float, size: float, node: Node) -> float:
    return additions * READ_READ_WRITE * size / node.memory


def _pairs(nodes: int, node: Node) -> float:
    """Return the latency of one message to each other process, one after the other."""
    return (nodes - 1) * node.processes * node.latency + (node.processes - 1) * node.near_latency


def _ring_hops(nodes: int, node: Node) -> float:
    """Return the latency once round all processes, those of a node side by side."""
    return (nodes - 1) * node.latency + nodes * (node.processes - 1) * node.near_latency


def _doublings(nodes: int, node: Node) -> float:
    return math.ceil(math.log2(nodes)) * node.latency + math.ceil(math.log2(node.processes)) * node.near_latency


def products(parameters: float, rows: float, node: Node, shards: float = 1) -> float:
    """Return the seconds of `rows` rows in `shards` shards: 6 P (rows + half) / flops + shards start."""
    return 6 * parameters * (rows + node.half) / node.flops + shards * node.start


def shard_additions(parameters: float, shards: float, node: Node) -> float:
    """Return the seconds that a process takes to add the gradients of its own shards: (shards - 1) 12 P bytes."""
    return _added(shards - 1, ITEM * parameters, node)


def step(parameters: float, batch: float, nodes: int, node: Node, shards: int | None = None) -> float:
    """Return the seconds of the engine's step, `batch` rows on all nodes, `shards` in all, one for each process by default.

    The exchange hides nowhere, and the process with the most shards is waited for.
    """
    count = nodes * node.processes
    shards = shards or count
    own = math.ceil(shards / count)
    work = products(parameters, batch * own / shards, node, own) + shard_additions(parameters, own, node)
    counts = None if shards == count else roots(shards, count)
    return work + engine(ITEM * parameters, nodes, node, counts).total


def bucketed(parameters: float, batch: float, nodes: int, node: Node, bucket: float = 25e6) -> float:
    """Return the seconds of a step that the engine does not have: buckets exchanged while the backward goes on.

    Each by halving and doubling or the ring, whichever is faster. The first is ready after 1 / k of the backward, which is
    two thirds of the products; the last has nothing to hide behind.
    """
    size = ITEM * parameters
    k = max(1, math.ceil(size / bucket))
    one = min(form(size / k, nodes, node).total for form in (ring, halving_doubling))
    work = products(parameters, batch / (nodes * node.processes), node)
    backward = 2 / 3 * work
    return work - backward + max(backward, backward / k + (k - 1) * one) + one


def efficiency(seconds: float, parameters: float, batch: float, nodes: int, node: Node) -> float:
    """Return how much of the nodes is used: seconds of one process for the batch / (processes * seconds of the step)."""
    return products(parameters, batch, node) / (nodes * node.processes * seconds)


def last_efficient(used: Callable[[int], float], least: float = 0.5) -> int:
    """Return the largest number of nodes, a power of two up to 2^20, at which used(nodes) is at least `least`; else 0."""
    nodes = 0
    while nodes < MOST and used(2 * nodes or 1) >= least:
        nodes = 2 * nodes or 1
    return nodes


def losses(parameters: float, batch: float, nodes: int, node: Node) -> dict[str, float]:
    """Return what a step takes longer than its share of one process's, in seconds, by cause."""
    cost, count = engine(ITEM * parameters, nodes, node), nodes * node.processes
    rows = products(parameters, batch / count, node) - products(parameters, batch, node) / count
    return {"bandwidth": cost.bandwidth, "latency": cost.latency, "additions": cost.additions, "few rows": rows}


def rows_to_hide(parameters: float, nodes: int, node: Node) -> float:
    """Return the rows of a process at which its backward takes as long as the exchange: F X / (4 P), X being its seconds."""
    return node.flops * engine(ITEM * parameters, nodes, node).total / (4 * parameters)


def rows_for(wanted: float, parameters: float, nodes: int, node: Node) -> float:
    """Return the rows of a process at which the engine's step is efficient: e / (1 - e) of half, start and the exchange."""
    still = node.start + engine(ITEM * parameters, nodes, node).total
    saved = 1 / (nodes * node.processes)  # one process has half and start once for all rows
    fixed = node.half + node.flops * node.start / (6 * parameters)
    rows = node.half + node.flops * still / (6 * parameters)
    return (wanted * rows - saved * fixed) / (1 - wanted)


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
