"""Which kernels state a kink, and ops that meet it: to note where it is, or to step a little off it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any, get_args

import numpy as np

from bpengine.check import rounding
from bpengine.check.binding import CallOps
from bpengine.check.kinks import Kink
from bpengine.check.problem import Problem
from bpengine.errors import ConfigError
from bpengine.kernels import Kernel
from bpengine.kernels._functions import penalty_factor
from bpengine.kernels._kernel import Array, Namespace, Side
from bpengine.ops import Direction, Ops


def _l1(
    xp: Namespace, w: Array, weights: Array | None = None, *, strength: float = 1.0, bias_row: str | None = None
) -> tuple[Side, Array] | None:
    kept = penalty_factor(xp, w, None, 1.0, bias_row)
    return ("middle", w * kept + (1.0 - kept)) if strength != 0 else None


KINKS: dict[str, Callable[..., tuple[Side, Array] | None]] = {
    "relu": lambda xp, x: ("left", x),
    "leaky_relu": lambda xp, x, **_: ("left", x),
    "selu": lambda xp, x: ("left", x),
    "elu": lambda xp, x, *, alpha=1.0: ("none" if alpha == 1.0 else "left", x),
    "mean_absolute_error": lambda xp, y, target, *_, **__: ("middle", y - target),
    "huber": lambda xp, y, target, *_, delta=1.0, **__: ("none", abs(y - target) - delta),
    "l1": _l1,
}


def stated(kernel: Kernel, xp: Namespace, args: tuple[Any, ...], options: dict[str, Any]) -> list[tuple[Side, Array]]:
    """Return (side, distances) for each kink of one call of a forward."""
    kink_at = kernel.kink_at or KINKS.get(kernel.name)
    found = kink_at(xp, *args, **options) if kink_at else None
    return [] if found is None else found if isinstance(found, list) else [found]


class Recording(CallOps):
    """NumPy ops that append every kink met to `log`."""

    def __init__(self, log: list[Kink]) -> None:
        super().__init__(Ops(np))
        self._log = log

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Any:
        if direction == "forward":
            kinks = (Kink(kernel.name, *found, args[0]) for found in stated(kernel, np, args, options))
            self._log += [_checked(kernel, kink) for kink in kinks]
        return function(*args, **options)


def with_noise(problem: Problem, met: list[Kink], eps: float) -> list[Kink]:
    """Return the kinks met at a problem's point with the noise of their distances, as runs with random rounding show."""
    if all(kink.side == "none" for kink in met):
        return met
    noise = [np.zeros(np.shape(kink.distance)) for kink in met]
    for draw in range(rounding.DRAWS):
        log: list[Kink] = []
        ops = rounding.RoundedOps(Recording(log), eps, draw)
        problem.value(ops, {name: ops.rounded(a) for name, a in problem.at.items()})
        for k, (kink, moved) in enumerate(zip(met, log, strict=True)):
            noise[k] = np.maximum(noise[k], np.nan_to_num(np.abs(moved.distance - kink.distance)))
    return [replace(kink, noise=most) for kink, most in zip(met, noise, strict=True)]


class Shifted(CallOps):
    """Ops in which calls that may meet kinks have amounts added to their first argument, one for each kink in the order met.

    With `taken`, the change in value that this makes is taken from its output: the slope is that beside the kink, and the
    value the one at it. After the last amount comes the first again: a backward may go through the forward more than once.
    """

    def __init__(self, xp: Namespace, amounts: list[Any], taken: list[Any] | None = None) -> None:
        super().__init__(Ops(xp))
        self._waiting: Iterator[Any] = cycle(zip(amounts, taken or [None] * len(amounts), strict=True))

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Any:
        kinks = stated(kernel, self.xp, args, options) if direction == "forward" else []
        if not kinks:
            return function(*args, **options)
        amounts, changes = zip(*(next(self._waiting) for _ in kinks), strict=True)
        y, residual = function(args[0] + self.xp.asarray(sum(amounts)), *args[1:], **options)
        return (y if changes[0] is None else y - self.xp.asarray(sum(changes))), residual


def corrections(run: Callable[[Ops], Any], amounts: list[Any]) -> list[Any]:
    """Return by how much each amount changes the output of its call, at the values that `run` gives."""
    found: list[Any] = []
    run(_Measuring(amounts, found))
    return found


class _Measuring(CallOps):
    """NumPy ops that note what a shift would change, and make every call as it is."""

    def __init__(self, amounts: list[Any], found: list[Any]) -> None:
        super().__init__(Ops(np))
        self._waiting, self._found = iter(amounts), found

    def _call(
        self, kernel: Kernel, function: Callable[..., Any], direction: Direction, *args: Any, **options: Any
    ) -> Any:
        result = function(*args, **options)
        at = args[0]
        for _ in stated(kernel, np, args, options) if direction == "forward" else []:
            before, at = at, at + next(self._waiting)
            first, second = (function(x, *args[1:], **options)[0] for x in (before, at))
            self._found.append(second - first)
        return result


def _checked(kernel: Kernel, kink: Kink) -> Kink:
    if kink.side not in get_args(Side) or np.shape(kink.distance) != np.shape(kink.x):
        raise ConfigError(
            f"kernel {kernel.name!r} requires kink_at to return a side ({', '.join(get_args(Side))}) and distances of "
            f"shape {np.shape(kink.x)}, got {kink.side!r} and {np.shape(kink.distance)}."
        )
    return kink
