"""The faster of two libraries for each product, measured once on this machine.

Products whose sizes have the same powers of two share a verdict, so that predictions of ever other numbers of rows are not
measured anew; the product that is met first is the one that is measured. Verdicts are kept in the process and on disk, with
the libraries, the processor and the number of threads. A verdict never depends on anything else: a step that is recorded
gets the same library as the step that runs as it is written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from statistics import median, quantiles
from threading import RLock
from typing import Any

import numpy as np
from bpengine_steps.disk import Cache, user_cache
from bpengine_steps.ir import DType, HostArray

from bpengine.system import blas, hardware
from bpengine.system.blas_pool import BLAS_POOL
from bpengine_numpy.blas.blas_library import BlasLibrary
from bpengine_numpy.blas.product_call import TRANSPOSED, ProductCall
from bpengine_numpy.forking import renewed_in_children

LEAST = 2**18  # multiplications: smaller products take a few microseconds, of which a choice gains next to nothing
SECONDS = 0.005  # of the measurement of a product, for each library
PAIRS = (7, 25)  # the fewest and the most pairs of turns that are compared
MARGIN = 1.05  # how many times as fast another library has to be
OWN, OTHER = "own", "other"
_FORMAT = "fastest 1"
_CHOOSE = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # variables that change how NumPy's OpenBLAS multiplies


class Fastest:
    """Chooses between NumPy's own library and another one, in so many threads (None: each library's own number)."""

    def __init__(self, chosen: BlasLibrary, threads: int | None) -> None:
        self.chosen, self._threads = chosen, threads
        self._verdicts: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"Fastest({self.chosen.name!r}, threads={self._threads})"

    def library(self, call: ProductCall, dtype: DType) -> BlasLibrary | None:
        """Return the faster library, None for NumPy's own."""
        if call.operations < LEAST or not self.chosen.takes(call, dtype):
            return None
        kind = kind_of(call, dtype)
        faster = self._verdicts.get(kind)
        if faster is None:
            faster = self._verdicts[kind] = _is_faster(self.chosen, call, dtype, f"{kind} threads {self._threads}")
        return self.chosen if faster else None

    def facts(self) -> dict[str, Any]:
        """Return the other library's facts."""
        return {"library": self.chosen.facts()}


def kind_of(call: ProductCall, dtype: DType) -> str:
    """Return what products have in common that share a verdict: dtype, how factors lie, and the powers of two of sizes."""
    powers = "x".join(str(size.bit_length()) for size in call.sizes)
    return f"{dtype.str} {powers} {call.left} {call.right}"


def _is_faster(other: BlasLibrary, call: ProductCall, dtype: DType, kind: str) -> bool:
    """Return whether the other library is the faster one, from the process, from disk, or measured now."""
    key = json.dumps([_FORMAT, kind, _surroundings(), other.file, other.facts()], sort_keys=True)
    with _lock:  # so that threads which meet the same product agree
        if key not in _known:
            store = verdict_store()
            kept = store.get(key) if store else None
            said = kept.decode("ascii", "replace") if kept is not None else None
            if said not in (OWN, OTHER):
                said = OTHER if measured(other, call, dtype) else OWN
                if store:
                    store.put(key, said.encode("ascii"))
            _known[key] = said == OTHER
        return _known[key]


def measured(other: BlasLibrary, call: ProductCall, dtype: DType) -> bool:
    """Return whether the other library multiplies faster than NumPy's own, by more than the measurement varies.

    Both multiply in turns, each for about `SECONDS` together. The other one is faster where the median of the ratios is above
    `MARGIN` and three quarters of them favour it.
    """
    a, b = _factors(call, dtype)
    y = np.empty((call.sizes[0], call.sizes[2]), dtype)
    clock = time.thread_time if BLAS_POOL.threads == 1 else time.perf_counter
    pair: tuple[Callable[[], object], Callable[[], object]] = (
        lambda: np.matmul(a, b, out=y),
        lambda: other.multiply(call, a, b, y),
    )
    for run in pair:  # the first product loads code and starts threads
        run()
    first = max(_seconds(run, 1, clock) for run in pair)
    turns = int(min(max(SECONDS / max(first, 1e-7), PAIRS[0]), PAIRS[1]))
    repeats = max(1, int(SECONDS / turns / max(first, 1e-7)))
    ratios = []
    for number in range(turns):
        order = pair if number % 2 else pair[::-1]
        taken = {run: _seconds(run, repeats, clock) for run in order}
        ratios.append(taken[pair[0]] / max(taken[pair[1]], 1e-9))
    return median(ratios) > MARGIN and quantiles(ratios, n=4)[0] > 1.0


def _seconds(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(repeats):
        run()
    return clock() - began


def _factors(call: ProductCall, dtype: DType) -> tuple[HostArray, HostArray]:
    """Return factors that lie as those of the call do."""
    rows, terms, columns = call.sizes
    draw = np.random.default_rng(call.sizes)

    def factor(shape: tuple[int, int], how: int) -> HostArray:
        lies = draw.standard_normal(shape[::-1] if how == TRANSPOSED else shape).astype(dtype)
        return lies.T if how == TRANSPOSED else lies

    return factor((rows, terms), call.left), factor((terms, columns), call.right)


def verdict_store() -> Cache | None:
    """Return the cache on disk, None where the package that knows its folder is missing."""
    return user_cache("loops") if find_spec("platformdirs") else None


@cache
def _surroundings() -> list[object]:
    """Return what a verdict depends on besides the other library: NumPy, its BLAS, the processor and the threads."""
    own = blas.library()
    features = import_module("numpy._core._multiarray_umath").__cpu_features__
    processor = [hardware.cpu()["model"], hardware.cpu()["usable"], sorted(name for name, on in features.items() if on)]
    return [np.__version__, own, processor, [os.environ.get(name) for name in _CHOOSE]]


_known: dict[str, bool] = {}
_lock = RLock()
renewed_in_children(globals(), "_lock")
