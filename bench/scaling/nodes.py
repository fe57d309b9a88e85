"""The nodes, networks and failures that docs/scaling.md is drawn for; the page says where each figure comes from."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from bench.scaling.model import Node

DAY = 24 * 3600.0
_GPUS = Node(52e12, 9.6e-6, 48e9, 4e12, start=90e-6, processes=8, near_latency=3.4e-6, near=360e9)
NODES = {
    "CPU, 10 GbE": Node(1.5e12, 25e-6, 1.177e9, 100e9, half=200),
    "CPU, 200 Gb/s RDMA": Node(1.5e12, 2e-6, 24e9, 100e9, half=200),
    "8 GPUs, float32": _GPUS,
    "8 GPUs, tf32": replace(_GPUS, flops=218e12),
}
MTBF = {"CPU": 5 * 365 * DAY, "8 GPUs": 2048 * 54 * DAY / 419}  # seconds between failures of one node


def parameters(*widths: int) -> int:
    """Return the parameters of a network of dense layers, biases included.

    >>> parameters(784, 1024, 1024, 10)
    1863690
    """
    return sum((a + 1) * b for a, b in pairwise(widths))


SMALL, LARGE = (784, 1024, 1024, 10), (4096, 8192, 8192, 1000)
NETWORKS = {"-".join(map(str, widths)): parameters(*widths) for widths in (SMALL, LARGE)}
