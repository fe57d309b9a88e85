"""A matrix product timed in a new process: `python -m bpengine.system.matmul_probe` prints BLAS kernel and seconds."""

from __future__ import annotations

import json
import time

import numpy as np

from bpengine.system import blas

SIZE, REPEATS = 768, 6


def seconds() -> float:
    """Return the shortest time of a float32 product of two square matrices."""
    a = np.full((SIZE, SIZE), 0.5, np.float32)
    a @ a  # the first product starts the threads
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    print(json.dumps({"kernel": blas.library()["kernel"], "seconds": seconds()}))
