"""What another BLAS gains: a training step's matrix products by NumPy's OpenBLAS and by MKL, and whole steps by each choice.

`python bench/blas_choice.py`, where the extra `mkl` is installed. Everything runs on one thread, in turns; what is compared is
CPU seconds, so that other work on the machine changes little. All numbers are speeds as multiples of those with NumPy's own
library, medians over the rounds: below 1 a step takes longer.

"products": those of the forward pass ("y"), for the gradients of the inputs ("dx") and of the weights ("dw"), and all of a
step, called through ctypes on the same arrays. "steps": compiled steps of Adam with `NumpyBackend(blas="mkl")` and
`blas="fastest"`; a round trains each choice for as many epochs, after one that compiles and measures.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from bpengine_numpy.blas import mkl

import bpengine as bp
from bpengine.system import hardware
from bpengine.system.blas_pool import BLAS_POOL
from bpengine.system.busy import load

SHAPES = {  # rows of a batch, sizes of the layers
    "mlp-b128": (128, (784, 512, 256, 10)),
    "mlp-b1024": (1024, (784, 512, 256, 10)),
    "wide": (1024, (1024, 1024, 1024, 1024, 10)),
    "small": (32, (64, 64, 64, 10)),
    "digits": (100, (64, 32, 10)),
}
ROUNDS = 15
ROWS = 8192  # of an epoch, about
FIT = 0.15  # CPU seconds of a fit, about
WARM = 4.0  # seconds before the first fit that is measured
TURN = 0.02  # CPU seconds of a turn, about
RATE = 1e11  # operations per second, about
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # CBLAS's names of them
Multiply = Callable[["Product"], None]


class Product(NamedTuple):
    """y = a b, with a or b transposed; kind: "y", "dx" or "dw"."""

    kind: str
    a: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]


def products(batch: int, sizes: tuple[int, ...]) -> list[Product]:
    """Return the products of a training step; the first layer has no gradient of its input."""
    draw = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray[Any, Any]:
        return draw.standard_normal(shape).astype(np.float32)

    step = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        x, w, dy = array(batch, inputs), array(inputs, outputs), array(batch, outputs)
        step += [Product("y", x, w, array(batch, outputs)), Product("dw", x, dy, array(inputs, outputs))]
        step += [Product("dx", dy, w, array(batch, inputs))] if layer else []
    return step


def multiplier(function: Any, whole: Any) -> Multiply:
    """Return a call of a `cblas_sgemm` whose whole numbers have this type."""

    def run(one: Product) -> None:
        left, right = TRANSPOSED if one.kind == "dw" else PLAIN, TRANSPOSED if one.kind == "dx" else PLAIN
        sizes = map(whole, (*one.y.shape, _inner(one)))
        a, b, y = (ctypes.c_void_p(array.ctypes.data) for array in one[1:])
        widths = [whole(array.shape[1]) for array in one[1:]]
        factors = ctypes.c_float(1), ctypes.c_float(0)
        function(ROW_MAJOR, left, right, *sizes, factors[0], a, widths[0], b, widths[1], factors[1], y, widths[2])

    return run


def _inner(one: Product) -> int:
    """Return the length of the sums of a product."""
    return int(one.a.shape[0 if one.kind == "dw" else 1])


def libraries() -> dict[str, Multiply]:
    """Return both libraries' products; the pool of the process limits their threads."""
    numpys = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    return {
        "openblas": multiplier(numpys.scipy_cblas_sgemm64_, ctypes.c_int64),
        "mkl": multiplier(mkl.library(sleeps=True).functions[np.dtype(np.float32)], ctypes.c_int64),
    }


def trainer(batch: int, sizes: tuple[int, ...], choice: str | None) -> Callable[[int], float]:
    """Return what trains for so many epochs and returns the CPU seconds of one of them."""
    draw, rows = np.random.default_rng(0), ROWS // batch * batch
    x, y = draw.standard_normal((rows, sizes[0])).astype(np.float32), draw.integers(0, sizes[-1], rows)
    layers = [*(bp.Dense(units, "relu") for units in sizes[1:-1]), bp.Dense(sizes[-1])]
    backend = bp.get_backend("numpy", threads=1, blas=choice)
    model = bp.Model(bp.Network(sizes[0], layers, "softmax_cross_entropy"), backend, seed=0)

    def run(epochs: int) -> float:
        began = time.process_time()
        model.fit(x, y, epochs=epochs, batch_size=batch, optimizer="adam")
        return (time.process_time() - began) / epochs

    return run


def steps(batch: int, sizes: tuple[int, ...]) -> dict[str, float]:
    """Return the speed of whole steps by each choice as a multiple of that by NumPy's own library."""
    runs = {name: trainer(batch, sizes, name) for name in (None, "mkl", "fastest")}
    for run in runs.values():  # until the step is compiled, which a thread beside the fit does
        began = time.perf_counter()
        while time.perf_counter() - began < WARM:
            run(1)
    epochs = max(1, int(FIT / runs[None](1)))
    ratios = []
    for number in range(ROUNDS):
        order = list(runs) if number % 2 else [*runs][::-1]
        taken = {name: runs[name](epochs) for name in order}
        ratios.append({name: taken[None] / taken[name] for name in ("mkl", "fastest")})
    return {name: round(statistics.median(ratio[name] for ratio in ratios), 2) for name in ("mkl", "fastest")}


def seconds(multiply: Multiply, step: list[Product], times: int) -> dict[str, float]:
    """Return the CPU seconds of a turn, by kind."""
    taken = dict.fromkeys(("y", "dx", "dw"), 0.0)
    for one in step:
        began = time.process_time()
        for _ in range(times):
            multiply(one)
        taken[one.kind] += time.process_time() - began
    return {**taken, "all": sum(taken.values())}


def compared(both: dict[str, Multiply], batch: int, sizes: tuple[int, ...]) -> dict[str, float]:
    """Return MKL's speed as a multiple of OpenBLAS's, by kind."""
    step, ratios = products(batch, sizes), list[dict[str, float]]()
    for one in step:
        results = []
        for multiply in both.values():
            multiply(one)
            results.append(one.y.copy())
        np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-2)
    operations = sum(2 * one.y.size * _inner(one) for one in step)
    times = max(1, int(TURN * RATE / operations))
    for number in range(ROUNDS):
        order = list(both) if number % 2 else [*both][::-1]
        taken = {name: seconds(both[name], step, times) for name in order}
        ratios.append({kind: taken["openblas"][kind] / taken["mkl"][kind] for kind in taken["mkl"]})
    return {kind: round(statistics.median(ratio[kind] for ratio in ratios), 2) for kind in ratios[0]}


def main() -> None:
    """Print the ratios of every workload as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    both = libraries()
    with BLAS_POOL.limited(1):
        alone = {name: compared(both, *shape) for name, shape in SHAPES.items()}
        whole = {name: steps(*shape) for name, shape in SHAPES.items()}
    print(json.dumps({"cpu": hardware.cpu()["model"], "load": load(), "products": alone, "steps": whole}, indent=1))


if __name__ == "__main__":
    main()
