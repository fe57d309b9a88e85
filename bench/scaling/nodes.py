"""The nodes, networks and failures that docs/scaling.md is drawn for, and where each figure comes from.

CPU. One process of 16 cores, 94 GFLOP/s each, and 100 GB/s of memory, assumed: one thread of the measured machine, which was busy,
did 79 GFLOP/s, and half of it at 190 rows (see the page); here at 200.

10 GbE. 1,448 bytes of payload in 1,538 on the wire, of 1.25 GB/s: 1.177 GB/s. Latency 25 us: 20 us from application to application
over TCP (Hurwitz, Feng, "Initial End-to-End Performance Evaluation of 10-Gigabit Ethernet", Hot Interconnects 11, 2003; 10 us at
best by Larsen et al., "Architectural Breakdown of End-to-End Latency in a TCP/IP Network", SBAC-PAD 2007), and 5 us for MPI,
assumed.

RDMA. InfiniBand HDR, 200 Gb/s: 25 GB/s, of which 24 are taken. The adapter's latency is below 0.6 us (NVIDIA, ConnectX-6 user
manual); 2 us with MPI and switches, assumed.

8 GPUs. As in a DGX H100 or H200 (NVIDIA, data sheets): NVLink 450 GB/s in each direction, of which 360 are taken, and a 400 Gb/s
adapter (ConnectX-7) for each GPU, 50 GB/s, of which 48 are taken. Latencies are those by which NCCL itself chooses, 3.4 us by
NVLink and 9.6 us by the network (src/graph/tuning.cc, ring, Simple, commit 01afd20). Products and start of a step as this
engine did them on one H200 (bench/results/2026-11-27-nvidia-h200-compiled): 4096x4-10 with 1,024 rows in 5,943 us, 52 TFLOP/s, or
1,419 us in tf32, 218 TFLOP/s; about 90 us of a step of 784-512-256-10 do not depend on its rows. Memory 4.8 TB/s, of which 4 are
taken.

Failures. 419 unexpected interruptions in 54 days on 16,384 GPUs, 2,048 nodes (Llama team, "The Llama 3 Herd of Models", 2024,
section 3.3.4): one in 264 days for each node. CPU nodes: one in 5 years, assumed; between systems rates differ fifty times
(Schroeder, Gibson, "A large-scale study of failures in high-performance computing systems", DSN 2006).
"""

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
