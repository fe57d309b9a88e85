"""Ops that intercept every kernel call of a check, for kernels of the table and custom ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._trees import Tree
from bpengine.ops import Direction, Ops


class InterceptedOps(Ops):
    """Ops around other ops; a subclass says in `_call` how each call is made."""

    def __init__(self, ops: Ops) -> None:
        self.xp, self.scope, self.inner = ops.xp, ops.scope, ops
        for kernel in KERNELS.values():
            for direction in ("forward", "backward"):
                if function := getattr(kernel, direction):
                    setattr(self, function.__name__, self.bind(kernel, getattr(ops, function.__name__), direction))

    def bind(self, kernel: Kernel, function: Callable[..., Any], direction: Direction) -> Callable[..., Any]:
        """Return a kernel's function, bound to the namespace, whose calls go through `_call`."""
        return partial(self._call, kernel, function, direction)

    def own(self, kernel: Kernel, direction: Direction) -> Callable[..., Any]:
        """Return the function of a custom kernel, whose calls go through `_call`."""
        return self.bind(kernel, self.inner.own(kernel, direction), direction)

    @abstractmethod
    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Tree:
        """Call the function, with its arguments unchanged or changed."""


def bound(ops: Ops, kernel: Kernel, direction: Direction) -> Callable[..., Any]:
    """Return a kernel's function as bound in `ops`; one that is not in the table is bound to the namespace of `ops`."""
    return ops.forward(kernel) if direction == "forward" else ops.backward(kernel)
