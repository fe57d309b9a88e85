"""Training on a file larger than the memory it may use: 1,000,000 rows of 784 features, read through a memory map.

    python bench/memory_mapped.py [--rows 1000000] [--features 784] [--backend numpy] [--folder DIR]

Writes the synthetic file if it is not there, trains one epoch in batches of 1024, and prints the time, the loss, and the
most resident memory the process ever had (it must stay below 1.5 GiB for a 3 GiB file).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import bpengine as bp

NAME = "teacher_classification"


def peak_mib() -> float:
    """Return the most resident memory of this process so far, in MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=784)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    args = parser.parse_args()
    prefix = Path(args.folder) / f"{NAME}-{args.rows}x{args.features}"
    files = Path(f"{prefix}_x.npy"), Path(f"{prefix}_y.npy")
    if not files[0].exists():
        files = bp.data.write(NAME, args.rows, prefix, features=args.features)
    x, y = np.load(files[0], mmap_mode="r"), np.load(files[1], mmap_mode="r")
    print(
        f"{files[0]}: {x.shape[0]:,} x {x.shape[1]}, {x.nbytes / 2**30:.2f} GiB; resident before: {peak_mib():.0f} MiB"
    )
    network = bp.Network(args.features, [bp.Dense(64, "relu"), bp.Dense(int(y.max()) + 1)], "softmax_cross_entropy")
    model = bp.Model(network, args.backend)
    began = time.perf_counter()
    history = model.fit(x, y, batch_size=1024, epochs=1)
    seconds = time.perf_counter() - began
    print(f"{model}")
    print(f"{seconds:.1f} s with the checks, {history.rows_per_second:,.0f} rows/s")
    print(f"loss {history.loss[0]:.3f} -> {history.loss[-1]:.3f}")
    print(f"peak resident memory: {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
