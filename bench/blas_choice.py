"""What another BLAS would gain: the matrix products of the workloads' training steps, by NumPy's OpenBLAS and by MKL.

`python bench/blas_choice.py /path/to/libmkl_rt.so.3`, the library of the wheel `mkl`. Both are called through ctypes, on the
same arrays, with one thread, in turns; what is compared is CPU seconds, so that other work on the machine changes little.
Printed is MKL's speed as a multiple of OpenBLAS's, the median over the rounds: of the products of the forward pass ("y"), of
those for the gradients of the inputs ("dx") and of the weights ("dw"), and of all of a step. Below 1 a step would take longer
with MKL.
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

SHAPES = {  # rows of a batch, sizes of the layers
    "mlp-b128": (128, (784, 512, 256, 10)),
    "mlp-b1024": (1024, (784, 512, 256, 10)),
    "wide": (1024, (1024, 1024, 1024, 1024, 10)),
    "small": (32, (64, 64, 64, 10)),
    "digits": (100, (64, 32, 10)),
}
ROUNDS = 15
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


def libraries(path: str) -> dict[str, Multiply]:
    """Return both libraries' products, on one thread."""
    numpys, mkl = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__), ctypes.CDLL(path)
    numpys.scipy_openblas_set_num_threads64_(1)
    mkl.MKL_Set_Threading_Layer(1)  # sequential
    return {
        "openblas": multiplier(numpys.scipy_cblas_sgemm64_, ctypes.c_int64),
        "mkl": multiplier(mkl.cblas_sgemm, ctypes.c_int),
    }


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
    parser.add_argument("library", help="the library of MKL")
    both = libraries(parser.parse_args().library)
    print(json.dumps({name: compared(both, *shape) for name, shape in SHAPES.items()}, indent=1))


if __name__ == "__main__":
    main()
