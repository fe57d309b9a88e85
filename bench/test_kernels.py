"""Every kernel of the KERNELS table, forward and backward, on every backend: checked, synchronised, timed."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import numpy as np
import pytest

from bpengine.backend import Backend
from bpengine.kernels import KERNELS, Kernel
from tests.kernels.kernel_samples import Case, cotangent, has_pair, leaves, longest_sum, outputs, relative_error
from tests.tolerances import agreement_rtol

SIZES = {
    "tiny": {"B": 4, "I": 2, "O": 2},
    "row": {"B": 1, "I": 1024, "O": 1024},
    "small": {"B": 128, "I": 256, "O": 256},
    "medium": {"B": 1024, "I": 1024, "O": 1024},
    "wide": {"B": 256, "I": 4096, "O": 4096},
    "tall": {"B": 65536, "I": 64, "O": 64},
}
KERNEL_NAMES, WITH_BACKWARD = sorted(KERNELS), sorted(name for name, kernel in KERNELS.items() if kernel.backward)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each size in turn, or with --tiny the smallest."""
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", ["tiny"] if metafunc.config.getoption("--tiny") else SIZES)


class Subject:
    """A kernel with sample arguments, on NumPy and on a backend."""

    def __init__(self, name: str, size: str, dtype: str, backend: Backend) -> None:
        self.kernel, self.backend, self.dims = KERNELS[name], backend, SIZES[size]
        rng = np.random.default_rng(zlib.crc32(f"{name}-{size}".encode()))
        self.options = dict(self.kernel.variants[0])
        self.host = Case(self.kernel, self.options, optional=False).arguments(rng, self.dims, np.dtype(dtype))
        self.expected = self.kernel.forward(np, *self.host.values(), **self.options)
        self.rng, self.limit = rng, agreement_rtol(dtype, longest_sum(self.kernel, self.dims))

    def device(self, value: Any) -> Any:
        """Bring the arrays of nested tuples to the backend."""
        if isinstance(value, tuple):
            moved = [self.device(item) for item in value]
            return type(value)(*moved) if hasattr(value, "_fields") else tuple(moved)
        return self.backend.asarray(value) if isinstance(value, np.ndarray | np.generic) else value

    def check(self, result: Any, expected: Any) -> None:
        """Hold every array that came out against NumPy's."""
        for got, wanted in zip(leaves(result), leaves(expected), strict=True):
            if np.asarray(wanted).dtype.kind == "f":
                assert relative_error(self.backend.to_numpy(got), wanted) <= self.limit

    def time(self, benchmark: Any, function: Any, *args: Any) -> Any:
        """Time a compiled call until its arrays are there; return them."""
        call = self.backend.compile(function)

        def once() -> Any:
            result = call(*args)
            self.backend.synchronize(*(leaf for leaf in leaves(result) if hasattr(leaf, "shape")))
            return result

        once()
        return benchmark(once)


def describe(benchmark: Any, subject: Subject, kernel: Kernel, way: Any, size: str, dtype: str) -> None:
    letters = {str(d).partition("+")[0] for shape in kernel.shapes.values() for d in shape}
    cost = kernel.cost(way, **{letter: extent for letter, extent in subject.dims.items() if letter in letters})
    benchmark.group = f"{kernel.name} {way}, {size}, {dtype}"
    benchmark.extra_info |= {"flops": cost.flops, "bytes": cost.bytes(np.dtype(dtype).itemsize), **subject.dims}
    benchmark.extra_info |= {"backend": subject.backend.name, "device": subject.backend.device}


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_forward(benchmark: Any, name: str, size: str, dtype: str, backend: Backend) -> None:
    subject = Subject(name, size, dtype, backend)
    kernel = subject.kernel
    describe(benchmark, subject, kernel, "forward", size, dtype)
    bound = partial(getattr(backend.ops(), kernel.forward.__name__), **subject.options)
    result = subject.time(benchmark, bound, *(backend.asarray(a) for a in subject.host.values()))
    subject.check(outputs(kernel, result), outputs(kernel, subject.expected))


@pytest.mark.parametrize("name", WITH_BACKWARD)
def test_backward(benchmark: Any, name: str, size: str, dtype: str, backend: Backend) -> None:
    subject = Subject(name, size, dtype, backend)
    kernel = subject.kernel
    assert kernel.backward is not None
    assert has_pair(kernel)
    describe(benchmark, subject, kernel, "backward", size, dtype)
    output, residual = subject.expected
    dy = cotangent(subject.rng, output)
    expected = kernel.backward(np, residual, dy)
    bound = getattr(backend.ops(), kernel.backward.__name__)
    gradients = subject.time(benchmark, bound, subject.device(residual), backend.asarray(dy))
    subject.check(gradients, expected)
