"""Matrix products and copies timed in a separate process: `python -m bpengine.benchmark.peers.limits DEVICE PRECISION`.

Reads {"products": [[rows, inner, columns, form], ...], "copies": [bytes, ...]} from standard input; prints the shortest
seconds of each. NumPy on the CPU, where all usable cores copy together; on a GPU PyTorch, its calls in a CUDA graph, or
else CuPy.

The operands are random: products of constants flip fewer bits, draw less power and run at a higher clock. Several calls
are made between two waits for the device; otherwise the time of a short call would be mostly waiting.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

SECONDS, REPEATS = 0.03, 4  # the least time of all repetitions, and the least number of waits
TOGETHER, MOST = 0.001, 64  # calls between two waits: about this many seconds of them, at most this many
CUPY_TF32 = 7  # cupy._core.COMPUTE_TYPE_TF32, which has no public name
Array: TypeAlias = Any  # of the library whose products are timed


class NumpyLimits:
    """The two measurements, with NumPy."""

    def __init__(self, device: str, precision: str) -> None:
        self.device, self.precision = device, precision
        self.dtype = "float64" if precision == "float64" else "float32"
        self.xp: Any = self._library()
        self._threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)

    @property
    def library(self) -> str:
        """Name and version of the library that is measured."""
        return f"{self.xp.__name__} {self.xp.__version__}"

    def product(self, rows: int, inner: int, columns: int, form: str) -> float:
        """Return the shortest seconds of a product."""
        a = self._factor(inner, rows).T if form[0] == "t" else self._factor(rows, inner)
        b = self._factor(columns, inner).T if form[1] == "t" else self._factor(inner, columns)
        out = self._factor(rows, columns)
        return self._shortest(lambda: self.xp.matmul(a, b, out=out))

    def copy(self, size: int) -> float:
        """Return the shortest seconds of copying so many bytes, in one thread or several, whichever is faster."""
        source, target = (self._random((size // (8 if self.dtype == "float64" else 4),)) for _ in range(2))
        alone = self._shortest(lambda: self._copy(source, target))
        if self.device == "gpu" or self._threads == 1:
            return alone
        parts = list(zip(*(self.xp.array_split(a, self._threads) for a in (source, target)), strict=True))
        return min(alone, self._shortest(lambda: list(self._pool.map(lambda pair: self._copy(*pair), parts))))

    def _library(self) -> ModuleType:
        """Import the library and set the precision of its products; raise ValueError where it lacks that precision."""
        if self.precision != self.dtype:
            raise ValueError(f"NumPy multiplies in float32 or float64, not in {self.precision}")
        return import_module("numpy")

    def _copy(self, source: Array, target: Array) -> None:
        target[...] = source

    def _factor(self, rows: int, columns: int) -> Array:
        """Return a random matrix in the dtype of the products."""
        return self._random((rows, columns))

    def _random(self, shape: tuple[int, ...]) -> Array:
        return self.xp.random.default_rng(0).standard_normal(shape, self.dtype)

    def _shortest(self, work: Callable[[], Any]) -> float:
        """Return the shortest seconds of a call; several calls are made between two waits."""
        self._timed(work)
        calls = max(1, min(MOST, math.ceil(TOGETHER / self._timed(work))))
        together = self._together(work, calls)
        self._timed(together)
        times: list[float] = []
        while len(times) < REPEATS or sum(times) < SECONDS:
            times.append(self._timed(together))
        return min(times) / calls

    def _timed(self, work: Callable[[], Any]) -> float:
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def _together(self, work: Callable[[], Any], calls: int) -> Callable[[], Any]:
        """Return a function that makes so many calls in a row."""

        def run() -> None:
            for _ in range(calls):
                work()

        return run

    def _wait(self) -> None:
        """Wait until the device has finished all calls."""


class CupyLimits(NumpyLimits):
    """The same with CuPy; in tf32 by a setting that CuPy does not document."""

    def _library(self) -> ModuleType:
        if self.precision == "bfloat16":
            raise ValueError("products in bfloat16 are not measured with CuPy: install PyTorch to measure them")
        if self.precision == "tf32":
            import_module("cupy")._core.set_compute_type("float32", CUPY_TF32)
        return import_module("cupy")

    def _wait(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()


class TorchLimits(NumpyLimits):
    """The same with PyTorch; on a GPU all calls between two waits are one CUDA graph, so that launching them costs nothing."""

    def _library(self) -> ModuleType:
        torch = import_module("torch")
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        torch.manual_seed(0)
        self._place = "cuda" if self.device == "gpu" else "cpu"
        torch.empty(1, device=self._place)
        return torch

    def _copy(self, source: Array, target: Array) -> None:
        target.copy_(source)

    def _factor(self, rows: int, columns: int) -> Array:
        matrix = self._random((rows, columns))
        return matrix.bfloat16() if self.precision == "bfloat16" else matrix

    def _random(self, shape: tuple[int, ...]) -> Array:
        return self.xp.randn(shape, device=self._place, dtype=getattr(self.xp, self.dtype))

    def _together(self, work: Callable[[], Any], calls: int) -> Callable[[], Any]:
        run = super()._together(work, calls)
        if self.device != "gpu":
            return run
        graph = self.xp.cuda.CUDAGraph()
        with self.xp.cuda.graph(graph):
            run()
        replay: Callable[[], Any] = graph.replay
        return replay

    def _wait(self) -> None:
        if self.device == "gpu":
            self.xp.cuda.synchronize()


def measuring(device: str, precision: str) -> NumpyLimits:
    """Return the measurements for a device and precision."""
    if device == "cpu":
        return NumpyLimits(device, precision)
    return (TorchLimits if find_spec("torch") else CupyLimits)(device, precision)


def main(device: str, precision: str) -> None:
    """Measure and print."""
    limits, asked = measuring(device, precision), json.load(sys.stdin)
    products = [limits.product(*product) for product in asked["products"]]
    copies = [limits.copy(size) for size in asked["copies"]]
    print(json.dumps({"library": limits.library, "products": products, "copies": copies}))


if __name__ == "__main__":
    main(*sys.argv[1:])
