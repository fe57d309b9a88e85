"""The computational graph as an SVG: forward calls from left to right, each backward call below its forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from bpengine.explain.graphs.dot_mermaid import colour, edge_label
from bpengine.explain.graphs.elements import Edge, GraphData
from bpengine.explain.graphs.svg_layout import CHARACTER, LINE, MARGIN, PAD, Box, Point, label_width, layout
from bpengine.explain.graphs.svg_routes import along_side, beside_line, way_of

RULES = (
    "text{font:11px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#111827}", ".t{font-weight:bold}",
    ".k{stroke-dasharray:4 3}", ".e{fill:none;stroke:#6b7280;stroke-width:1.2}", ".l{fill:#374151;font-size:10px}",
    "rect.b{stroke:#374151;stroke-width:1}", "rect.w{fill:#fff;opacity:.9}", "rect.g{fill:#fff}",
)  # fmt: skip
DARK_RULES = (
    "text{fill:#e6e9ef}", ".i{fill:#111827}", ".l{fill:#c3cad6}", ".e{stroke:#9aa4b2}", "rect.g{fill:#14181f}",
    "rect.w{fill:#14181f}",
)  # fmt: skip
NAME = "bpengine-graph"
ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker></defs>'
)


def style() -> str:
    """Return the style sheet, whose rules hold in this drawing alone: a page may have it inline, beside others."""
    light, dark = ("".join(f".{NAME} {rule}" for rule in rules) for rules in (RULES, DARK_RULES))
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def svg(graph: GraphData) -> str:
    """Return a self-contained SVG document."""
    boxes = layout(graph)
    ways = [(edge, way_of(edge, number, boxes)) for number, edge in enumerate(graph.edges)]
    corners = [point for _, way in ways for point in way]
    corners += [(beside_line(edge, way), way[0][1]) for edge, way in ways if along_side(way)]
    right = max(b.x + b.width for b in boxes.values()) + MARGIN
    right = max(right, len(graph.title) * CHARACTER + 2 * MARGIN)
    below = max([b.bottom for b in boxes.values()] + [y for _, y in corners]) + MARGIN
    left = min([0.0, *(x - MARGIN for x, _ in corners)])
    size = f'viewBox="{left:.0f} 0 {right - left:.0f} {below:.0f}" width="{right - left:.0f}" height="{below:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} class="{NAME}" role="img"><title>{escape(graph.title)}</title>',
        f"<style>{style()}</style>{ARROW}",
        f'<rect x="{left:.0f}" width="{right - left:.0f}" height="{below:.0f}" class="g"/>',
        f'<text class="t" x="{MARGIN}" y="18">{escape(graph.title)}</text>',
        *(_path(way, kept=edge.kept) for edge, way in ways),
        *(part for box in boxes.values() for part in _box(box)),
        *(_label(edge, way) for edge, way in ways if boxes[edge.start].node.kind == "call" and not edge.kept),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _box(box: Box) -> Iterator[str]:
    radius = 12 if box.node.kind == "given" else 3
    yield (
        f'<rect class="b" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{radius}" fill="{colour(box.node)}"/>'
    )
    for i, text in enumerate(box.lines):
        weight, y = ' class="i t"' if i == 0 else ' class="i"', box.y + PAD + LINE * (i + 0.75)
        yield f'<text{weight} x="{box.middle:.1f}" y="{y:.1f}" text-anchor="middle" xml:space="preserve">{escape(text)}</text>'


def _path(way: Sequence[Point], *, kept: bool) -> str:
    corners = " L".join(f"{x:.1f} {y:.1f}" for x, y in way)
    return f'<path class="{"e k" if kept else "e"}" d="M{corners}" marker-end="url(#a)"/>'


def _label(edge: Edge, way: Sequence[Point]) -> str:
    """Return an edge's label: above the middle of its longest horizontal stretch, or on its longest stretch."""
    flat = (span for span in pairwise(way) if abs(span[0][1] - span[1][1]) < 1 and abs(span[0][0] - span[1][0]) > 40)
    level = [] if along_side(way) else list(flat)
    (x0, y0), (x1, y1) = max(level or pairwise(way), key=lambda s: abs(s[0][0] - s[1][0]) + abs(s[0][1] - s[1][1]))
    text, width = edge_label(edge), label_width(edge)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2 - 13 * len(text) + (7 if level else 13 * len(text) / 2 + 4)
    if along_side(way):  # left of the line, where it ends
        x, y = beside_line(edge, way) + width / 2, way[-1][1] - 13 * len(text) / 2 + 9
    parts = [
        f'<rect class="w" x="{x - width / 2:.1f}" y="{y - 10:.1f}" width="{width:.1f}" height="{13 * len(text) - 1:.1f}"/>'
    ]
    parts += [
        f'<text class="l" x="{x:.1f}" y="{y + 13 * i:.1f}" text-anchor="middle">{escape(line)}</text>'
        for i, line in enumerate(text)
    ]
    return "".join(parts)
