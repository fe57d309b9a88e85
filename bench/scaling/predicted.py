"""What the model predicts for nodes that nobody has: the tables and the findings of docs/scaling.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bench.scaling import model
from bench.scaling.markdown import duration, milliseconds, table
from bench.scaling.model import ITEM, Node
from bench.scaling.nodes import MTBF, NETWORKS, NODES

COUNTS = (8, 64, 256, 1024)
ENDS = ("50 % until", "the largest loss beyond")
BATCHES = (65_536, 1_048_576)  # rows of a step on all nodes together
ROWS = (2_048, 16_384)  # rows of a step on each process
RESTART = 60.0  # seconds
STANDS_STILL = (0.005, 2.0, 30.0)  # seconds of a checkpoint


def strong() -> str:
    """Return efficiencies at one batch for all numbers of nodes, how far half is used, and what takes the most beyond."""
    return table(
        ("node (all predicted)", "network", "rows of a step", *map(str, COUNTS), *ENDS),
        ([n, p, f"{b:,}", *_scaled(NODES[n], NETWORKS[p], b)] for n in NODES for p in NETWORKS for b in BATCHES),
    )


def weak() -> str:
    """Return efficiencies at one number of rows for each process."""
    return table(
        ("node (all predicted)", "network", "rows each", *map(str, COUNTS), *ENDS),
        (
            [n, p, f"{b:,}", *_scaled(NODES[n], NETWORKS[p], b, each=True)]
            for n in NODES
            for p in NETWORKS
            for b in ROWS
        ),
    )


def _scaled(node: Node, parameters: int, rows: int, *, each: bool = False) -> list[str]:
    """Return the cells of one line: efficiencies, the last number of nodes at which half is used, and the loss beyond."""

    def batch(nodes: int) -> int:
        return rows * nodes * node.processes if each else rows

    def used(nodes: int, form: Callable[..., float] = model.step) -> float:
        seconds = form(parameters, batch(nodes), nodes, node)
        return model.efficiency(seconds, parameters, batch(nodes), nodes, node)

    cells = [f"{100 * used(n):.0f} / {100 * used(n, model.bucketed):.0f}" for n in COUNTS]
    last = model.last_efficient(used)
    beyond = 2 * last or 1
    why = model.losses(parameters, batch(beyond), beyond, node)
    until = f"{last:,}" if last else "none"
    return [*cells, until if last < model.MOST else f"more than {until}", max(why, key=why.__getitem__)]


def hiding() -> str:
    """Return how many rows a process needs for its backward to take as long as the exchange, and for 90 % without overlap."""
    head = (
        "node (all predicted)",
        "network",
        *(f"hides, {n} nodes" for n in COUNTS[1:]),
        *(f"90 %, {n} nodes" for n in COUNTS[1:]),
    )
    return table(head, ([n, p, *_hiding(NODES[n], NETWORKS[p])] for n in NODES for p in NETWORKS))


def _hiding(node: Node, parameters: int) -> list[str]:
    hides = [model.rows_to_hide(parameters, n, node) for n in COUNTS[1:]]
    wanted = [model.rows_for(0.9, parameters, n, node) for n in COUNTS[1:]]
    return [f"{rows:,.0f}" for rows in (*hides, *wanted)]


LINKS = {name.removesuffix(", float32"): node for name, node in NODES.items() if "tf32" not in name}


def price() -> str:
    """Return the seconds of the engine's exchange and of those that keep no order, or add inside a node first."""
    head = ("node (all predicted)", "network", "nodes", "slices", "ring", "halving and doubling", "tree in two levels")
    cases = [(n, p, count) for n in LINKS for p in NETWORKS for count in (COUNTS[0], COUNTS[-1])]
    return table(head, ([n, p, f"{count:,}", *_price(LINKS[n], NETWORKS[p], count)] for n, p, count in cases))


def _price(node: Node, parameters: int, count: int) -> list[str]:
    forms = (model.slices, model.ring, model.halving_doubling, model.two_level)
    return [f"{milliseconds(form(ITEM * parameters, count, node).total)} ms" for form in forms]


def shards() -> str:
    """Return how much longer a step on 64 nodes takes with more shards than processes."""
    counts = (1, 2, 4, 16)
    head = (
        "node (all predicted)",
        "network",
        "rows each",
        *(f"{s} a process" for s in counts[1:]),
        "3 for 2 processes",
    )
    cases = [(n, p, b) for n in NODES for p in NETWORKS for b in ROWS]
    return table(head, ([n, p, f"{b:,}", *_shards(NODES[n], NETWORKS[p], b, counts[1:])] for n, p, b in cases))


def _shards(node: Node, parameters: int, rows: int, several: Iterable[int]) -> list[str]:
    count = 64 * node.processes
    once = model.step(parameters, rows * count, 64, node)
    totals = [*(s * count for s in several), count * 3 // 2]
    return [f"{100 * (model.step(parameters, rows * count, 64, node, total) / once - 1):+.1f} %" for total in totals]


def intervals() -> str:
    """Return checkpoint intervals."""
    head = ("nodes (all predicted)", "between failures", "a checkpoint takes", "Young", "Daly", "time lost")
    return table(head, (_interval(k, n, c) for k in MTBF for n in (1, 64, 1024) for c in STANDS_STILL))


def _interval(kind: str, nodes: int, cost: float) -> list[str]:
    mtbf = MTBF[kind] / nodes
    young, daly = model.young(cost, mtbf), model.daly(cost, mtbf)
    lost = f"{100 * model.lost(daly, cost, mtbf, RESTART):.3f} %"
    return [f"{nodes:,} x {kind}", duration(mtbf), f"{cost:g} s", duration(young), duration(daly), lost]


def assumed() -> str:
    """Return the figures of the nodes."""
    head = ("one process of", "TFLOP/s", "latency", "GB/s", "memory GB/s", "h, rows", "start", "in a node")
    return table(head, ([name, *_assumed(node)] for name, node in NODES.items()))


def _assumed(node: Node) -> list[str]:
    inside = f"{node.processes} processes, {1e6 * node.near_latency:g} us, {node.near / 1e9:g} GB/s"
    return [
        f"{node.flops / 1e12:g}", f"{1e6 * node.latency:g} us", f"{node.bandwidth / 1e9:g}", f"{node.memory / 1e9:,g}",
        f"{node.half:g}" if node.half else "-", f"{1e6 * node.start:g} us" if node.start else "-",
        inside if node.processes > 1 else "1 process",
    ]  # fmt: skip


def findings() -> str:
    """Return what the tables come to, in words."""
    slow, fast, gpus, tf32 = NODES.values()
    small, large = NETWORKS.values()
    halving = model.halving_doubling
    lines = (
        f"10 GbE needs many rows. With 16,384 on each of 1,024 nodes the efficiency is {_used(slow, large, 16384)} with the "
        f"large network and {_used(slow, small, 16384)} with the small one; with 2,048 rows {_used(slow, large, 2048)} and "
        f"{_used(slow, small, 2048)}. Bandwidth limits both.",
        f"200 Gb/s RDMA is enough for both: {_used(fast, large, 2048)} and {_used(fast, small, 2048)} with 2,048 rows on each "
        "of 1,024 nodes. At a fixed batch the limit is mostly the number of rows per process, not the links.",
        f"Nodes of 8 GPUs are enough for the large network: {_used(gpus, large, 16384)} in float32, "
        f"{_used(tf32, large, 16384)} in tf32 with 16,384 rows on each GPU of 1,024 nodes; with 2,048 rows "
        f"{_used(gpus, large, 2048)} and {_used(tf32, large, 2048)}. The small network needs many rows there: "
        f"{_used(gpus, small, 16384)} and {_used(tf32, small, 16384)} with 16,384, {_used(gpus, small, 2048)} and "
        f"{_used(tf32, small, 2048)} with 2,048.",
        "The fixed order costs nothing where processes and shards are powers of two: by halving and doubling, neighbours "
        f"first, the small network's exchange on 1,024 nodes with 10 GbE takes {_exchange(halving, small, slow)}, a ring's "
        f"{_exchange(model.ring, small, slow)}; with other numbers it takes what a ring takes.",
        f"On nodes of 8 GPUs halving and doubling saves most: {_exchange(halving, large, gpus)} (1,024 nodes, large network) "
        f"where a ring takes {_exchange(model.ring, large, gpus)} and slices {_exchange(model.slices, large, gpus)}: each "
        "GPU sends a slice to all 8,191 others before any is added, and these messages are counted one after the other.",
    )
    return "\n".join(f"- {line}" for line in lines)


def _used(node: Node, parameters: int, rows: int, exchange: Callable[..., Any] = model.engine) -> str:
    """Return the efficiency on 1,024 nodes with so many rows on each process."""
    batch, size = rows * 1024 * node.processes, ITEM * parameters
    more = exchange(size, 1024, node).total - model.engine(size, 1024, node).total
    seconds = model.step(parameters, batch, 1024, node) + more
    return f"{100 * model.efficiency(seconds, parameters, batch, 1024, node):.0f} %"


def _exchange(form: Callable[..., Any], parameters: int, node: Node) -> str:
    return f"{milliseconds(form(ITEM * parameters, 1024, node).total)} ms"
