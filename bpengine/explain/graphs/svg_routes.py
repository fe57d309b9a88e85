"""The edges of a graph's SVG: the corners of each edge, which avoids the boxes in between."""

from __future__ import annotations

from collections.abc import Sequence

from bpengine.explain.graphs.elements import Edge
from bpengine.explain.graphs.svg_layout import Box, Point, label_width


def along_side(way: Sequence[Point]) -> bool:
    """Say whether an edge leaves a box on its left and enters another from the left, down the side of a column."""
    return len(way) == 4 and way[1][0] < min(way[0][0], way[3][0]) and way[1][0] == way[2][0]


def beside_line(edge: Edge, way: Sequence[Point]) -> float:
    """Return the position where the label of such an edge begins."""
    return way[1][0] - label_width(edge) - 3


def way_of(edge: Edge, number: int, boxes: dict[str, Box]) -> list[Point]:
    """Return the corners of an edge: straight to a neighbour, else around the boxes in between."""
    a, b = boxes[edge.start], boxes[edge.end]
    offset = 5.0 * (number % 5)  # edges around boxes get distinct tracks, so that they do not overlap
    if a.node.column == b.node.column:
        return _down(a, b, min(box.x for box in boxes.values() if box.node.column == a.node.column) - 12 - offset)
    if a.node.row == -1:
        level = a.bottom + 14 + offset
        return [(a.middle, a.bottom), (a.middle, level), (b.middle - 8, level), (b.middle - 8, b.y)]
    if abs(a.node.column - b.node.column) == 1 and a.node.row == b.node.row:
        return _across(a, b)
    row = [box.bottom for box in boxes.values() if box.node.row == a.node.row]
    level = max(row) + 16 + 2 * offset
    if b.node.row > a.node.row:
        return [(a.middle + 12, a.bottom), (a.middle + 12, level), (b.middle + 12, level), (b.middle + 12, b.y)]
    return [(a.middle + 12, a.bottom), (a.middle + 12, level), (b.middle + 12, level), (b.middle + 12, b.bottom)]


def _across(a: Box, b: Box) -> list[Point]:
    """Return the corners of an edge to the next column: a straight line when both boxes reach its level."""
    sign = 1 if b.x > a.x else -1
    start, end = (a.x + a.width, b.x) if sign > 0 else (a.x, b.x + b.width)
    level = (max(a.y, b.y) + min(a.bottom, b.bottom)) / 2
    if a.y < level < a.bottom and b.y < level < b.bottom:
        return [(start, level), (end, level)]
    turn = end - sign * 14
    return [(start, a.centre), (turn, a.centre), (turn, b.centre), (end, b.centre)]


def _down(a: Box, b: Box, side: float) -> list[Point]:
    """Return the corners of an edge down a column: straight to the box below, else along the left side."""
    if a.node.row == -1 and b.node.row == 0:
        x = min(max(a.middle, b.x + 8), b.x + b.width - 8)
        return [(a.middle, a.bottom), (a.middle, b.y - 14), (x, b.y - 14), (x, b.y)]
    if a.node.row + b.node.row == 1:
        x = (max(a.x, b.x) + min(a.x + a.width, b.x + b.width)) / 2
        return [(x, a.bottom), (x, b.y)]
    if 0 < b.y - a.bottom < 75:
        return [(a.middle, a.bottom), (a.middle, b.y)]
    return [(a.x, a.centre), (side, a.centre), (side, b.centre), (b.x, b.centre)]
