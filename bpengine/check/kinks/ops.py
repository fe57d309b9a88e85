"""Ops for the kinks that kernels state: they record where a kink is, or move the elements at it off the kink."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, get_args

import numpy as np

from bpengine.check.intercept import InterceptedOps
from bpengine.check.kinks.kinks import Kink
from bpengine.errors import ConfigError
from bpengine.kernels import Kernel
from bpengine.kernels._kernel import Array, Namespace, Side
from bpengine.kernels._trees import Tree
from bpengine.ops import Direction, Ops


def stated(kernel: Kernel, xp: Namespace, args: tuple[Any, ...], options: dict[str, Any]) -> list[tuple[Side, Array]]:
    """Return (side, distances) for each kink of one call of a forward."""
    kinks = kernel.kink_at(xp, *args, **options) if kernel.kink_at else None
    return [] if kinks is None else kinks if isinstance(kinks, list) else [kinks]


class KinkRecorder(InterceptedOps):
    """NumPy ops that append the kinks of every call to `log`."""

    def __init__(self, log: list[Kink]) -> None:
        super().__init__(Ops(np))
        self._log = log

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Tree:
        if direction == "forward":
            kinks = (Kink(kernel.name, side, distance, args[0]) for side, distance in stated(kernel, np, args, options))
            self._log += [_checked(kernel, kink) for kink in kinks]
        return function(*args, **options)


class OffKinkOps(InterceptedOps):
    """Ops that add shifts to the first argument of calls with kinks, one for each kink in the order of the calls.

    `changes`, if given, are how much each shift changes its call's output; they are subtracted from it. Then the slope is that
    beside the kink, and the value is that at the kink. After the last shift the first one is used again, since a backward may
    run the forward more than once.
    """

    def __init__(self, xp: Namespace, shifts: list[Any], changes: list[Any] | None = None) -> None:
        super().__init__(Ops(xp))
        self._waiting: Iterator[Any] = cycle(zip(shifts, changes or [None] * len(shifts), strict=True))

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Tree:
        kinks = stated(kernel, self.xp, args, options) if direction == "forward" else []
        if not kinks:
            return function(*args, **options)
        # One call may have several kinks (hard_tanh has two), each with its own shift; their sum is applied.
        shifts, changes = zip(*(next(self._waiting) for _ in kinks), strict=True)
        y, residual = function(args[0] + self.xp.asarray(sum(shifts)), *args[1:], **options)
        return (y if changes[0] is None else y - self.xp.asarray(sum(changes))), residual


def output_changes(run: Callable[[Ops], Any], shifts: list[Any]) -> list[Any]:
    """Return by how much each shift changes the output of its call, with the arguments that `run` gives."""
    changes: list[Any] = []
    run(_ChangeRecorder(shifts, changes))
    return changes


class _ChangeRecorder(InterceptedOps):
    """NumPy ops that record how a shift would change each call's output, and run every call unchanged."""

    def __init__(self, shifts: list[Any], changes: list[Any]) -> None:
        super().__init__(Ops(np))
        self._waiting, self._changes = iter(shifts), changes

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Tree:
        result = function(*args, **options)
        at = args[0]
        for _ in stated(kernel, np, args, options) if direction == "forward" else []:
            # Shifts are applied one after another, so each change is measured from where the previous shift led.
            before, at = at, at + next(self._waiting)
            first, second = (function(x, *args[1:], **options)[0] for x in (before, at))
            self._changes.append(second - first)
        return result


def _checked(kernel: Kernel, kink: Kink) -> Kink:
    if kink.side not in get_args(Side) or np.shape(kink.distance) != np.shape(kink.x):
        raise ConfigError(
            f"kernel {kernel.name!r} requires kink_at to return a side ({', '.join(get_args(Side))}) and distances of "
            f"shape {np.shape(kink.x)}, got {kink.side!r} and {np.shape(kink.distance)}."
        )
    return kink
