"""The computational graph as an SVG: forward calls from left to right, each backward call below its forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from bpengine.explain.drawing import colour, edge_label
from bpengine.explain.graph import Edge, Graph, Node

CHARACTER, SMALL, LINE, PAD = 6.7, 6.1, 15.0, 8.0  # widths of a character of 11 and of 10 px, height of a line, padding
MARGIN, GAP, WRAP = 24.0, 26.0, 34
Point = tuple[float, float]
STYLE = (
    "text{font:11px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#111827}"
    ".t{font-weight:bold}.k{stroke-dasharray:4 3}.e{fill:none;stroke:#6b7280;stroke-width:1.2}.l{fill:#374151;font-size:10px}"
    "rect.b{stroke:#374151;stroke-width:1}rect.w{fill:#fff;opacity:.9}"
)
ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker></defs>'
)


@dataclass(frozen=True)
class Box:
    """A node with its lines, where it stands and how large it is."""

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


def svg(graph: Graph) -> str:
    """Return a self-contained SVG document."""
    boxes = layout(graph)
    ways = [(edge, _way(edge, number, boxes)) for number, edge in enumerate(graph.edges)]
    corners = [point for _, way in ways for point in way]
    corners += [(_beside_line(edge, way), way[0][1]) for edge, way in ways if _along_side(way)]
    right = max(b.x + b.width for b in boxes.values()) + MARGIN
    right = max(right, len(graph.title) * CHARACTER + 2 * MARGIN)
    below = max([b.bottom for b in boxes.values()] + [y for _, y in corners]) + MARGIN
    left = min([0.0, *(x - MARGIN for x, _ in corners)])
    size = f'viewBox="{left:.0f} 0 {right - left:.0f} {below:.0f}" width="{right - left:.0f}" height="{below:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(graph.title)}</title>',
        f"<style>{STYLE}</style>{ARROW}",
        f'<rect x="{left:.0f}" width="{right - left:.0f}" height="{below:.0f}" fill="#fff"/>',
        f'<text class="t" x="{MARGIN}" y="18">{escape(graph.title)}</text>',
        *(_path(way, kept=edge.kept) for edge, way in ways),
        *(part for box in boxes.values() for part in _box(box)),
        *(_label(edge, way) for edge, way in ways if boxes[edge.start].node.kind == "call" and not edge.kept),
    ]
    return "\n".join([*parts, "</svg>", ""])


def layout(graph: Graph) -> dict[str, Box]:
    """Return a box for every node: columns as wide as their widest box, with room for labels between; rows below rows."""
    lines = {node.id: _lines(node) for node in graph.nodes}
    widths = {n: max(map(len, texts)) * CHARACTER + 2 * PAD for n, texts in lines.items()}
    cells: dict[tuple[int, int], list[Node]] = {}
    for node in graph.nodes:
        cells.setdefault((node.column, node.row), []).append(node)
    left = _columns(graph, cells, widths)
    boxes: dict[str, Box] = {}
    top = 40.0
    for row in sorted({row for _, row in cells}):
        lowest = top
        for (column, here), nodes in cells.items():
            if here == row:
                at, width = left[column]
                placed = _beside if row == -1 else _stacked
                for box in placed(nodes, lines, widths, at, width, top):
                    boxes[box.node.id] = box
                    lowest = max(lowest, box.bottom)
        top = lowest + (46 if row == -1 else 70)
    return boxes


def _columns(
    graph: Graph, cells: dict[tuple[int, int], list[Node]], widths: dict[str, float]
) -> dict[int, tuple[float, float]]:
    """Return where each column begins and how wide it is."""
    numbers = sorted({column for column, _ in cells})
    wide = dict.fromkeys(numbers, 0.0)
    for (column, row), nodes in cells.items():
        each = [widths[n.id] for n in nodes]
        wide[column] = max(wide[column], sum(each) + GAP * (len(each) - 1) if row == -1 else max(each))
    columns = {n.id: n.column for n in graph.nodes}
    between = dict.fromkeys(numbers, 0.0)
    for edge in graph.edges:
        first, second = sorted((columns[edge.start], columns[edge.end]))
        if second == first + 1:
            between[first] = max(between[first], _label_width(edge))
    left, found = MARGIN, {}
    for column in numbers:
        found[column] = (left, wide[column])
        left += wide[column] + between[column] + 2 * GAP
    return found


def _beside(
    nodes: Sequence[Node],
    lines: dict[str, tuple[str, ...]],
    widths: dict[str, float],
    at: float,
    width: float,
    top: float,
) -> Iterator[Box]:
    x = at + (width - sum(widths[n.id] for n in nodes) - GAP * (len(nodes) - 1)) / 2
    for node in nodes:
        yield Box(node, lines[node.id], x, top, widths[node.id], len(lines[node.id]) * LINE + 2 * PAD)
        x += widths[node.id] + GAP


def _stacked(
    nodes: Sequence[Node],
    lines: dict[str, tuple[str, ...]],
    widths: dict[str, float],
    at: float,
    width: float,
    top: float,
) -> Iterator[Box]:
    for node in nodes:
        height = len(lines[node.id]) * LINE + 2 * PAD
        yield Box(node, lines[node.id], at + (width - widths[node.id]) / 2, top, widths[node.id], height)
        top += height + 40


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


def _box(box: Box) -> Iterator[str]:
    radius = 12 if box.node.kind == "given" else 3
    yield (
        f'<rect class="b" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{radius}" fill="{colour(box.node)}"/>'
    )
    for i, text in enumerate(box.lines):
        weight, y = ' class="t"' if i == 0 else "", box.y + PAD + LINE * (i + 0.75)
        yield f'<text{weight} x="{box.middle:.1f}" y="{y:.1f}" text-anchor="middle" xml:space="preserve">{escape(text)}</text>'


def _path(way: Sequence[Point], *, kept: bool) -> str:
    corners = " L".join(f"{x:.1f} {y:.1f}" for x, y in way)
    return f'<path class="{"e k" if kept else "e"}" d="M{corners}" marker-end="url(#a)"/>'


def _label_width(edge: Edge) -> float:
    return max(map(len, edge_label(edge))) * SMALL + 6


def _label(edge: Edge, way: Sequence[Point]) -> str:
    """Return an edge's label: above the middle of its longest horizontal stretch, or on its longest stretch."""
    flat = (span for span in pairwise(way) if abs(span[0][1] - span[1][1]) < 1 and abs(span[0][0] - span[1][0]) > 40)
    level = [] if _along_side(way) else list(flat)
    (x0, y0), (x1, y1) = max(level or pairwise(way), key=lambda s: abs(s[0][0] - s[1][0]) + abs(s[0][1] - s[1][1]))
    text, width = edge_label(edge), _label_width(edge)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2 - 13 * len(text) + (7 if level else 13 * len(text) / 2 + 4)
    if _along_side(way):  # left of the line, where it ends
        x, y = _beside_line(edge, way) + width / 2, way[-1][1] - 13 * len(text) / 2 + 9
    parts = [
        f'<rect class="w" x="{x - width / 2:.1f}" y="{y - 10:.1f}" width="{width:.1f}" height="{13 * len(text) - 1:.1f}"/>'
    ]
    parts += [
        f'<text class="l" x="{x:.1f}" y="{y + 13 * i:.1f}" text-anchor="middle">{escape(line)}</text>'
        for i, line in enumerate(text)
    ]
    return "".join(parts)


def _along_side(way: Sequence[Point]) -> bool:
    """Say whether a way leaves a box to the left and comes back from there: down the side of a column."""
    return len(way) == 4 and way[1][0] < min(way[0][0], way[3][0]) and way[1][0] == way[2][0]


def _beside_line(edge: Edge, way: Sequence[Point]) -> float:
    """Return where the label of such a way begins."""
    return way[1][0] - _label_width(edge) - 3


def _way(edge: Edge, number: int, boxes: dict[str, Box]) -> list[Point]:
    """Return the corners of an edge: straight to a neighbour, else around the boxes in between."""
    a, b = boxes[edge.start], boxes[edge.end]
    aside = 5.0 * (number % 5)  # edges that go around do not lie on each other
    if a.node.column == b.node.column:
        return _down(a, b, min(box.x for box in boxes.values() if box.node.column == a.node.column) - 12 - aside)
    if a.node.row == -1:
        level = a.bottom + 14 + aside
        return [(a.middle, a.bottom), (a.middle, level), (b.middle - 8, level), (b.middle - 8, b.y)]
    if abs(a.node.column - b.node.column) == 1 and a.node.row == b.node.row:
        return _across(a, b)
    row = [box.bottom for box in boxes.values() if box.node.row == a.node.row]
    level = max(row) + 16 + 2 * aside
    if b.node.row > a.node.row:
        return [(a.middle + 12, a.bottom), (a.middle + 12, level), (b.middle + 12, level), (b.middle + 12, b.y)]
    return [(a.middle + 12, a.bottom), (a.middle + 12, level), (b.middle + 12, level), (b.middle + 12, b.bottom)]


def _across(a: Box, b: Box) -> list[Point]:
    """Return the way to the next column, on one level when both boxes reach it."""
    sign = 1 if b.x > a.x else -1
    start, end = (a.x + a.width, b.x) if sign > 0 else (a.x, b.x + b.width)
    level = (max(a.y, b.y) + min(a.bottom, b.bottom)) / 2
    if a.y < level < a.bottom and b.y < level < b.bottom:
        return [(start, level), (end, level)]
    turn = end - sign * 14
    return [(start, a.centre), (turn, a.centre), (turn, b.centre), (end, b.centre)]


def _down(a: Box, b: Box, side: float) -> list[Point]:
    """Return the way down a column: straight to the box below, else along its left side."""
    if a.node.row == -1 and b.node.row == 0:
        x = min(max(a.middle, b.x + 8), b.x + b.width - 8)
        return [(a.middle, a.bottom), (a.middle, b.y - 14), (x, b.y - 14), (x, b.y)]
    if a.node.row + b.node.row == 1:
        x = (max(a.x, b.x) + min(a.x + a.width, b.x + b.width)) / 2
        return [(x, a.bottom), (x, b.y)]
    if 0 < b.y - a.bottom < 75:
        return [(a.middle, a.bottom), (a.middle, b.y)]
    return [(a.x, a.centre), (side, a.centre), (side, b.centre), (b.x, b.centre)]
