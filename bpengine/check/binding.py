"""Ops through which every kernel call of a check passes: those of the table, and those of a kernel that is in no table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from bpengine.kernels import KERNELS, Kernel
from bpengine.ops import Ops

Direction = Literal["forward", "backward"]


class CallOps(Ops):
    """Ops around other ops; `_call` makes each call."""

    def __init__(self, ops: Ops) -> None:
        self.xp, self.inner = ops.xp, ops
        for kernel in KERNELS.values():
            for direction in ("forward", "backward"):
                if function := getattr(kernel, direction):
                    setattr(self, function.__name__, self.bind(kernel, getattr(ops, function.__name__), direction))

    def bind(self, kernel: Kernel, function: Callable[..., Any], direction: Direction) -> Callable[..., Any]:
        """Return a kernel's function, its namespace already given, as one whose calls pass through here."""
        return partial(self._call, kernel, function, direction)

    @abstractmethod
    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Any:
        """Call the function with what it was given, or with something a little different."""


def known(kernel: Kernel, direction: Direction = "forward") -> bool:
    """Tell whether a kernel's function is the one in the KERNELS table."""
    return kernel.name in KERNELS and getattr(KERNELS[kernel.name], direction) is getattr(kernel, direction)


def bound(ops: Ops, kernel: Kernel, direction: Direction) -> Callable[..., Any]:
    """Return a kernel's function as bound in `ops`; one that is not in the table is bound to their namespace."""
    function: Callable[..., Any] = getattr(kernel, direction)
    if known(kernel, direction):
        found: Callable[..., Any] = getattr(ops, function.__name__)
        return found
    return _through(ops, kernel, partial(function, ops.xp), direction)


def _through(ops: Ops, kernel: Kernel, plain: Callable[..., Any], direction: Direction) -> Callable[..., Any]:
    """Return a function whose calls pass through ops and those that they are around."""
    if not isinstance(ops, CallOps):
        return plain
    return ops.bind(kernel, _through(ops.inner, kernel, plain, direction), direction)
