"""Kinks: elements where a kernel on the path has no derivative, or so near to one that an oracle would step over it.

Autodiff must not be asked there: it has conventions of its own. The oracle therefore sees such an element moved by a few
roundings to the side that the kernel's convention states (or, where that is the mean of both sides, both in turn); its
value does not change by more than that. Differences are not taken across a kink at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bpengine.kernels import KERNELS
from bpengine.ops import Ops

Side = Literal["left", "middle", "none"]  # which derivative the kernel takes at the kink; "none": it is only bent there
ROUNDINGS = 64.0  # an element is at the kink when it is this many roundings of the largest element away from it
NEAR = 1e-5  # "near": a difference with the usual step would cross


@dataclass(frozen=True)
class Kink:
    """The signed distances of one kernel call's elements to its kink, its convention, and the argument they are of."""

    kernel: str
    side: Side
    distance: Any
    x: Any

    @property
    def scale(self) -> float:
        """The largest number that the distances are made from."""
        return float(max(np.max(np.abs(self.distance), initial=0.0), np.max(np.abs(self.x), initial=0.0)))

    def within(self, relative: float) -> Any:
        """Return which elements are at the kink, up to a part of the largest number."""
        return np.abs(self.distance) <= relative * self.scale


@dataclass(frozen=True)
class Counts:
    """Kinks found at a point: elements exactly on one, elements nearer than a usual step, differences left out."""

    exact: int = 0
    near: int = 0
    left_out: int = 0


def find(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Kink | None:
    """Return the kink of one call of a forward kernel, or None when it has none."""
    if name in ("relu", "leaky_relu", "selu"):
        return Kink(name, "left", args[0], args[0])
    if name == "elu":
        return Kink(name, "none" if options.get("alpha", 1.0) == 1.0 else "left", args[0], args[0])
    if name == "mean_absolute_error":
        return Kink(name, "middle", args[0] - args[1], args[0])
    if name == "huber":
        return Kink(name, "none", np.abs(args[0] - args[1]) - options.get("delta", 1.0), args[0])
    if name == "l1" and options.get("strength", 1.0) != 0:
        distance = np.array(args[0])
        if row := options.get("bias_row"):
            distance[-1 if row == "last" else 0] = np.inf if distance.size == 0 else 1.0
        return Kink(name, "middle", distance, args[0])
    return None


WATCHED = ("relu", "leaky_relu", "selu", "elu", "mean_absolute_error", "huber", "l1")


def recording(log: list[Kink]) -> Ops:
    """Return NumPy ops that append every kink met to `log`."""

    def wrap(name: str) -> Callable[..., Any]:
        def forward(*args: Any, **options: Any) -> Any:
            if found := find(name, args, options):
                log.append(found)
            return KERNELS[name].forward(np, *args, **options)

        return forward

    return Ops(np, {KERNELS[name].forward.__name__: wrap(name) for name in WATCHED})


def count(kinks: list[Kink]) -> Counts:
    """Count the elements on a kink and near one; where a kernel is only bent, nothing is ambiguous."""
    sharp = [k for k in kinks if k.side != "none"]
    exact = sum(int(np.sum(k.distance == 0)) for k in sharp)
    return Counts(exact, sum(int(np.sum(k.within(NEAR))) for k in sharp) - exact)


def ambiguous(kinks: list[Kink], eps: float) -> bool:
    """Tell whether rounding alone decides on which side of a kink some element lies."""
    return any(k.side != "none" and bool(k.within(ROUNDINGS * eps).any()) for k in kinks)


def shifts(kinks: list[Kink], eps: float, exact: float, *, all_to: float | None = None) -> list[Any]:
    """Return, per call, what to add to the elements at a kink so that they lie clearly on the side the kernel takes.

    Elements exactly on it go to the left, or to the side of `exact` where the convention is the middle; the others stay
    on their own side. With `all_to` every one goes to that side.
    """
    found: list[Any] = []
    for kink in kinks:
        at = kink.within(ROUNDINGS * eps)
        away = max(2.0 * ROUNDINGS * eps * kink.scale, 1e-300)
        side = np.where(kink.distance == 0, exact if kink.side == "middle" else -1.0, np.sign(kink.distance))
        side = side if all_to is None else np.full_like(side, all_to)
        found.append(np.where(at, side * away, 0.0) if kink.side != "none" else np.zeros_like(at, dtype=float))
    return found


def shifted(xp: Any, amounts: list[Any]) -> Ops:
    """Return ops in which the n-th call that may meet a kink has `amounts[n]` added to its first argument."""
    waiting: Iterator[Any] = iter(amounts)

    def wrap(name: str) -> Callable[..., Any]:
        def forward(x: Any, *args: Any, **options: Any) -> Any:
            if name != "l1" or options.get("strength", 1.0) != 0:
                x = x + xp.asarray(next(waiting))
            return KERNELS[name].forward(xp, x, *args, **options)

        return forward

    return Ops(xp, {KERNELS[name].forward.__name__: wrap(name) for name in WATCHED})
