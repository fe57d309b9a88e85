"""Follower: a backend whose arrays are followed. It computes with NumPy and the unchanged kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from bpengine.backend import ArrayLike, Availability, Backend, HostArray
from bpengine.explain.page.program.activations import Activated, Swappable
from bpengine.explain.page.program.followed import FollowedArray, followed, tree, unfollowed
from bpengine.explain.page.program.operations import Operations
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._trees import Tree


class _FollowingNamespace:
    """NumPy, with an `asarray` that keeps a followed array followed."""

    __name__ = "numpy"

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)

    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> HostArray:
        """Return an array; a followed one stays followed."""
        if not isinstance(x, FollowedArray):
            return np.asarray(x, dtype=dtype, copy=copy)
        return np.astype(x, dtype or x.dtype, copy=bool(copy))


class Follower(Backend):
    """Record every computation in `operations`. An elementwise activation is one operation.

    `uses` are these activations in the order of their calls: another of `swappable` can replace each.
    """

    name = "numpy"

    def __init__(self, precision: str, swappable: Swappable) -> None:
        super().__init__(precision)
        self.xp, self.device = _FollowingNamespace(), "cpu"
        self.operations, self.swappable, self.uses = Operations(), swappable, list[str]()

    @classmethod
    def availability(cls) -> Availability:
        """NumPy is always there."""
        return Availability("ready", f"NumPy {np.__version__}")

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Record reads of single values while a step runs."""
        before, self.operations.running = self.operations.running, True
        try:
            yield
        finally:
            self.operations.running = before

    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool = True) -> HostArray:
        """Return a followed array as it is, and anything else as a NumPy array."""
        followed_or_plain: HostArray = self.xp.asarray(x, dtype, copy=copy or None)
        return followed_or_plain

    def to_numpy(self, x: HostArray) -> HostArray:
        """Return the array itself, so that explanations of it are followed as well."""
        return x

    def copy(self, state: Tree) -> Tree:
        """Copy every array of a tree."""
        return tree(state, lambda x: x.copy() if isinstance(x, np.ndarray) else x)

    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Return the function unchanged."""
        return step

    def take(self, array: HostArray, rows: HostArray) -> HostArray:
        """Return the given rows of an array."""
        return array[rows]

    def synchronize(self, *arrays: Any) -> None:
        """Wait for nothing: NumPy has computed."""

    def replacements(self) -> dict[str, Callable[..., Any]]:
        """Return the forward and backward of each activation that can be exchanged, as one operation each."""
        functions: dict[str, Callable[..., Any]] = {}
        for name in self.swappable.names:
            row = KERNELS[name]
            assert row.backward is not None
            functions[row.forward.__name__] = self._forward(row)
            functions[row.backward.__name__] = self._backward(row)
        return functions

    def _forward(self, row: Kernel) -> Callable[..., Any]:
        def forward(z: HostArray, **options: Any) -> tuple[FollowedArray, Activated]:
            key = self.swappable.key(row.name, options)
            use = len(self.uses)
            self.uses.append(key)
            values, _ = row.forward(np, unfollowed(z), **options)
            number = self.operations.add("activation", z.dtype, z.shape, [getattr(z, "number", None)], use)
            return followed(self.operations, values, number), Activated(z, use, options)

        return forward

    def _backward(self, row: Kernel) -> Callable[..., Any]:
        def backward(residual: Activated, dy: HostArray) -> FollowedArray:
            assert row.backward is not None
            z, use, options = residual
            _, kept = row.forward(np, unfollowed(z), **options)
            values = row.backward(np, kept, unfollowed(dy))
            arguments = [getattr(array, "number", None) for array in (z, dy)]
            return followed(self.operations, values, self.operations.add("slope", z.dtype, z.shape, arguments, use))

        return backward


def input_tree(operations: Operations, values: Tree) -> tuple[Tree, list[int]]:
    """Return a tree of arrays as inputs of the operations, and their numbers in order."""
    inputs: list[int] = []

    def one(array: npt.ArrayLike) -> FollowedArray:
        inputs.append(operations.input(np.asarray(array)))
        return followed(operations, np.array(array), inputs[-1])

    return tree(values, one), inputs
