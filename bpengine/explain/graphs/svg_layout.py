"""The boxes of a graph's picture: the text, size and position of each, in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bpengine.explain.graphs.dot_mermaid import edge_label
from bpengine.explain.graphs.elements import Edge, GraphData, Node
from bpengine.explain.network_columns import beside

CHARACTER, SMALL, LINE, PAD = 6.7, 6.1, 15.0, 8.0  # widths of a character of 11 and of 10 px, height of a line, padding
MARGIN, GAP, WRAP = 24.0, 26.0, 34
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A node with its lines of text, its position and its size."""

    node: Node
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The x of its middle."""
        return self.x + self.width / 2

    @property
    def centre(self) -> float:
        """The y of its middle."""
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """The y of its lower side."""
        return self.y + self.height


def layout(graph: GraphData) -> dict[str, Box]:
    """Return a box for every node: columns as wide as their widest box, with room for labels between; rows below rows."""
    cells: dict[tuple[int, int], list[Box]] = {}
    for node in graph.nodes:
        cells.setdefault((node.column, node.row), []).append(_box(node))
    left = _columns(graph, cells)
    boxes: dict[str, Box] = {}
    top = 40.0
    for row in sorted({row for _, row in cells}):
        lowest = top
        for (column, here), cell in cells.items():
            if here == row:
                for box in (_beside if row == -1 else _stacked)(cell, *left[column], top):
                    boxes[box.node.id] = box
                    lowest = max(lowest, box.bottom)
        top = lowest + (46 if row == -1 else 70)
    return boxes


def _box(node: Node) -> Box:
    """Return a node's box, as large as its lines need, not yet placed."""
    lines = _lines(node)
    width, height = max(map(len, lines)) * CHARACTER + 2 * PAD, len(lines) * LINE + 2 * PAD
    return Box(node=node, lines=lines, x=0.0, y=0.0, width=width, height=height)


def _columns(graph: GraphData, cells: dict[tuple[int, int], list[Box]]) -> dict[int, tuple[float, float]]:
    """Return where each column begins and how wide it is."""
    numbers = sorted({column for column, _ in cells})
    wide = dict.fromkeys(numbers, 0.0)
    for (column, row), boxes in cells.items():
        each = [box.width for box in boxes]
        wide[column] = max(wide[column], sum(each) + GAP * (len(each) - 1) if row == -1 else max(each))
    columns = {n.id: n.column for n in graph.nodes}
    between = dict.fromkeys(numbers, 0.0)
    for edge in graph.edges:
        first, second = sorted((columns[edge.start], columns[edge.end]))
        if second == first + 1:
            between[first] = max(between[first], label_width(edge))
    left = beside([wide[n] for n in numbers], [between[n] + 2 * GAP for n in numbers], MARGIN)
    return {column: (at, wide[column]) for column, at in zip(numbers, left, strict=True)}


def _beside(boxes: Sequence[Box], at: float, width: float, top: float) -> Iterator[Box]:
    widths, gaps = [box.width for box in boxes], [GAP] * (len(boxes) - 1)
    for box, x in zip(boxes, beside(widths, gaps, at + (width - sum(widths) - sum(gaps)) / 2), strict=True):
        yield replace(box, x=x, y=top)


def _stacked(boxes: Sequence[Box], at: float, width: float, top: float) -> Iterator[Box]:
    for box in boxes:
        yield replace(box, x=at + (width - box.width) / 2, y=top)
        top += box.height + 40


def _lines(node: Node) -> tuple[str, ...]:
    head = [node.title, *([node.place] if node.kind == "call" and node.place else [])]
    return (*head, *(piece for text in node.formula for piece in _wrapped(text)))


def _wrapped(text: str) -> Iterator[str]:
    """Cut a formula into lines at its spaces."""
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > WRAP:
            yield line
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    yield line


def label_width(edge: Edge) -> float:
    """Return how wide an edge's label is."""
    return max(map(len, edge_label(edge))) * SMALL + 6
