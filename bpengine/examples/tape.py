"""Tape: a graph of scalars, forward and backward by the engine's kernels.

A scalar is an array (1, 1); a product of two scalars is a dense kernel without bias; where a value is used several times,
its cotangents are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bpengine.examples.tools import Desk
from bpengine.kernels._kernel import Array

Backward = Callable[[Any], Iterable[tuple[int, Any]]]


class Tape:
    """Operations take and return positions on the tape; each adds a function that passes its cotangent to its inputs."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._values, self._backward = desk, list[Any](), list[Backward]()

    def leaves(self, *values: float) -> list[int]:
        """Put numbers on the tape."""
        return [self._put(self._desk.array([[value]]), lambda dy: ()) for value in values]

    def add(self, i: int, j: int) -> int:
        """Add two values."""
        y, residual = self._desk.ops.add_fwd(self._values[i], self._values[j])
        return self._put(y, lambda dy: zip((i, j), self._desk.ops.add_bwd(residual, dy), strict=True))

    def times(self, i: int, j: int) -> int:
        """Multiply two values: x w of a dense layer with one input and one unit."""
        y, residual = self._desk.ops.dense_no_bias_fwd(self._values[i], self._values[j])
        return self._put(y, lambda dy: zip((i, j), self._desk.ops.dense_no_bias_bwd(residual, dy), strict=True))

    def over(self, i: int, j: int) -> int:
        """Divide a value by another."""
        y, residual = self._desk.ops.divide_fwd(self._values[i], self._values[j])
        return self._put(y, lambda dy: zip((i, j), self._desk.ops.divide_bwd(residual, dy), strict=True))

    def scale(self, i: int, factor: float) -> int:
        """Multiply a value by a number."""
        return self.times(i, *self.leaves(factor))

    def bend(self, activation: str, i: int) -> int:
        """Apply an activation kernel."""
        y, residual = self._desk.ops.forward(activation)(self._values[i])
        return self._put(y, lambda dy: ((i, self._desk.ops.backward(activation)(residual, dy)),))

    def values(self, *places: int) -> list[float]:
        """Return the numbers at these positions."""
        return [self._desk.number(self._values[place]) for place in places]

    def slopes(self, last: int, *places: int) -> list[float]:
        """Return the derivatives of the value at `last` with respect to the values at these positions."""
        cotangents = {last: self._desk.array([[1.0]])}
        for place in range(last, -1, -1):
            if place in cotangents:
                for i, dx in self._backward[place](cotangents[place]):
                    cotangents[i] = self._desk.ops.add_fwd(cotangents[i], dx)[0] if i in cotangents else dx
        return [self._desk.number(cotangents[place]) for place in places]

    def _put(self, value: Array, backward: Backward) -> int:
        self._values.append(value)
        self._backward.append(backward)
        return len(self._values) - 1
