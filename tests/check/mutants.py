"""Broken backwards: every way to get a kernel wrong that people get kernels wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.kernels import KERNELS, Kernel

BATCH = 4


def lost_term(d: Any) -> Any:
    broken = np.array(d)
    broken.flat[int(np.argmax(np.round(np.abs(d), 8)))] = 0.0  # rounding must not decide which of equal ones
    return broken


WAYS: dict[str, Callable[[Any], Any]] = {
    "a factor 2": lambda d: 2.0 * d,
    "a sign": lambda d: -d,
    "a lost term": lost_term,
    "a wrong axis": lambda d: np.broadcast_to(np.sum(d, axis=-1, keepdims=True), d.shape),
    "a dropped mean": lambda d: BATCH * d,
    "transposed": lambda d: d.T if d.ndim == 2 and d.shape[0] == d.shape[1] else d,
}


@dataclass
class Mutant:
    """One kernel with one gradient broken in one way; `alive` once that changed a number."""

    kernel: str
    argument: int
    way: str
    alive: bool = False

    @property
    def id(self) -> str:
        return f"{self.kernel}-d{KERNELS[self.kernel].differentiable[self.argument]}-{self.way}"

    def broken(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*args: Any, **options: Any) -> Any:
            result = backward(*args, **options)
            parts = list(result) if isinstance(result, tuple) else [result]
            if parts[self.argument] is not None:
                right, parts[self.argument] = parts[self.argument], WAYS[self.way](parts[self.argument])
                self.alive |= not np.allclose(right, parts[self.argument], rtol=1e-3, atol=0)
            return tuple(parts) if isinstance(result, tuple) else parts[0]

        wrong.__name__ = backward.__name__ if hasattr(backward, "__name__") else f"{self.kernel}_bwd"
        return wrong


def mutants() -> Iterator[Mutant]:
    for kernel in KERNELS.values():
        for argument in range(len(kernel.differentiable)):
            for way in WAYS:
                if way != "transposed" or square(kernel, kernel.differentiable[argument]):
                    yield Mutant(kernel.name, argument, way)


def square(kernel: Kernel, argument: str) -> bool:
    """Tell whether an argument is a matrix that is square when all dimensions are equal."""
    shape = kernel.shapes[argument]
    return len(shape) == 2 and not any("+" in str(d) for d in shape)
