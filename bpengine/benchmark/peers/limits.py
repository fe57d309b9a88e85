"""Matrix products and copies timed in a process of its own: `python -m bpengine.benchmark.peers.limits DEVICE DTYPE`.

Reads {"products": [[rows, inner, columns, form], ...], "copies": [bytes, ...]} from standard input; prints the shortest
seconds of each. NumPy on the CPU, where all usable cores copy together; CuPy on a GPU.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

SECONDS, REPEATS = 0.03, 4  # a piece of work is repeated for at least so long, and so often


class Limits:
    """The two measurements, with NumPy or CuPy."""

    def __init__(self, device: str, dtype: str) -> None:
        self.device, self.dtype = device, dtype
        self.xp: Any = import_module("cupy" if device == "gpu" else "numpy")
        self._threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)

    def product(self, rows: int, inner: int, columns: int, form: str) -> float:
        """Return the shortest seconds of a product."""
        a = self._full((inner, rows)).T if form[0] == "t" else self._full((rows, inner))
        b = self._full((columns, inner)).T if form[1] == "t" else self._full((inner, columns))
        out = self._full((rows, columns))
        return self._shortest(lambda: self.xp.matmul(a, b, out=out))

    def copy(self, size: int) -> float:
        """Return the shortest seconds of copying so many bytes, alone or cut among threads, whichever is faster."""
        source, target = (self._full((size // self.xp.dtype(self.dtype).itemsize,)) for _ in range(2))
        alone = self._shortest(lambda: self._copy(source, target))
        if self.device == "gpu" or self._threads == 1:
            return alone
        parts = list(zip(*(self.xp.array_split(a, self._threads) for a in (source, target)), strict=True))
        return min(alone, self._shortest(lambda: list(self._pool.map(lambda pair: self._copy(*pair), parts))))

    def _copy(self, source: Any, target: Any) -> None:
        target[...] = source

    def _full(self, shape: tuple[int, ...]) -> Any:
        return self.xp.full(shape, 0.5, self.dtype)

    def _shortest(self, work: Callable[[], Any]) -> float:
        work()
        self._wait()
        times: list[float] = []
        while len(times) < REPEATS or sum(times) < SECONDS:
            began = time.perf_counter()
            work()
            self._wait()
            times.append(time.perf_counter() - began)
        return min(times)

    def _wait(self) -> None:
        if self.device == "gpu":
            self.xp.cuda.get_current_stream().synchronize()


def main(device: str, dtype: str) -> None:
    """Measure and print."""
    limits, asked = Limits(device, dtype), json.load(sys.stdin)
    products = [limits.product(*given) for given in asked["products"]]
    copies = [limits.copy(size) for size in asked["copies"]]
    library = f"{limits.xp.__name__} {limits.xp.__version__}"
    print(json.dumps({"library": library, "products": products, "copies": copies}))


if __name__ == "__main__":
    main(*sys.argv[1:])
