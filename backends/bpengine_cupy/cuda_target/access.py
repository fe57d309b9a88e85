"""How an operand lies under a pass."""

from __future__ import annotations

from dataclasses import dataclass

from bpengine_steps.ir import Node, Unrecordable, contiguous


@dataclass(frozen=True)
class Access:
    """How an operand lies under a pass: "full" in C order, "row" one number per column, "column" one per row, "one", "steps".

    `down` and `along` are the distances in elements from a row, and from a column, to the next.
    """

    name: str
    down: int = 0
    along: int = 0


FULL, ROW, COLUMN, ONE = Access("full"), Access("row", 0, 1), Access("column", 1, 0), Access("one")


def access(node: Node, shape: tuple[int, ...]) -> Access:
    """Return how `node` lies under a consumer of this shape, axes of length 1 left out."""
    padded = (0,) * (len(shape) - len(node.shape))
    strides = padded + tuple(0 if n == 1 else s for n, s in zip(node.shape, node.strides, strict=True))
    long = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if long and [s for _, s in long] == list(contiguous(tuple(n for n, _ in long))):
        return FULL
    if not any(s for _, s in long):
        return ONE
    if len(long) == 1:
        return Access("steps", 0, long[0][1])
    if len(long) != 2:
        raise Unrecordable(f"broadcasting to {shape}")
    down, along = long[0][1], long[1][1]
    return {(0, 1): ROW, (1, 0): COLUMN}.get((down, along)) or Access("steps", down, along)


def in_order(node: Node) -> bool:
    """Say whether the elements lie in C order."""
    return node.strides == contiguous(node.shape)
