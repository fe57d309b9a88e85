"""Access patterns: how the elements of an operand correspond to those that a pass runs over."""

from __future__ import annotations

from typing import NamedTuple

from bpengine_steps.ir import StepNode, Untraceable, c_order_strides


class AccessPattern(NamedTuple):
    """How a pass reads an operand: "full" in C order, "row" one number per column, "column" one per row, "one", "steps".

    `down` and `along` are the distances in elements from one row, and from one column, to the next; "full" has none.
    """

    name: str
    down: int = 0
    along: int = 0


FULL, ROW, COLUMN = AccessPattern("full"), AccessPattern("row", 0, 1), AccessPattern("column", 1, 0)
ONE = AccessPattern("one")


def access(node: StepNode, shape: tuple[int, ...]) -> AccessPattern:
    """Return how a pass of this shape reads `node`; axes of length 1 are left out.

    Raises Untraceable where there is no such pattern: broadcasting over three axes or more.
    """
    padded = (0,) * (len(shape) - len(node.shape))
    strides = padded + tuple(0 if n == 1 else s for n, s in zip(node.shape, node.strides, strict=True))
    long = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if long and [s for _, s in long] == list(c_order_strides(tuple(n for n, _ in long))):
        return FULL
    if not any(s for _, s in long):
        return ONE
    if len(long) == 1:
        return AccessPattern("steps", 0, long[0][1])
    if len(long) != 2:
        raise Untraceable(f"broadcasting to {shape}")
    down, along = long[0][1], long[1][1]
    return {(0, 1): ROW, (1, 0): COLUMN}.get((down, along)) or AccessPattern("steps", down, along)
