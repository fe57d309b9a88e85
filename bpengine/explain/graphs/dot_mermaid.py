"""The computational graph as text for Graphviz (DOT) and Mermaid."""

from __future__ import annotations

from collections.abc import Iterator

from bpengine.explain.graphs.elements import Edge, GraphData, Node

MERMAID = str.maketrans({
    "&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "#": "#35;", "%": "#37;", "`": "#96;",
})  # fmt: skip
COLOURS = {"forward": "#dbeafe", "backward": "#fde2e2", "update": "#dcfce7", "given": "#f3f4f6"}


def dot(graph: GraphData) -> str:
    """Return the graph in the DOT language: `dot -Tsvg`."""
    return "\n".join([*_dot_lines(graph), ""])


def _dot_lines(graph: GraphData) -> Iterator[str]:
    yield "digraph step {"
    yield f"  label={_dot_text([graph.title])}; rankdir=LR; node [shape=box, style=filled, fontname=Helvetica];"
    yield "  edge [fontname=Helvetica, fontsize=10];"
    for node in graph.nodes:
        shape = ", shape=ellipse" if node.kind == "given" else ""
        yield f'  "{_plain(node.id)}" [label={_dot_text(_label(node))}, fillcolor="{colour(node)}"{shape}];'
    for edge in graph.edges:
        style = ", style=dashed, constraint=false" if edge.kept else ""
        yield f'  "{_plain(edge.start)}" -> "{_plain(edge.end)}" [label={_dot_text(edge_label(edge))}{style}];'
    yield "}"


def mermaid(graph: GraphData) -> str:
    """Return the graph as a Mermaid flowchart."""
    return "\n".join([*_mermaid_lines(graph), ""])


def _mermaid_lines(graph: GraphData) -> Iterator[str]:
    yield "flowchart LR"
    names = {node.id: f"v{i}" for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        left, right = ("([", "])") if node.kind == "given" else ("[", "]")
        yield f"  {names[node.id]}{left}{_mermaid_text(_label(node))}{right}"
    for edge in graph.edges:
        arrow = "-.->" if edge.kept else "-->"
        yield f"  {names[edge.start]} {arrow}|{_mermaid_text(edge_label(edge))}| {names[edge.end]}"
    for kind, fill in COLOURS.items():
        members = ",".join(names[n.id] for n in graph.nodes if (n.kind if n.kind == "given" else n.phase) == kind)
        if members:
            yield f"  classDef {kind} fill:{fill},stroke:#374151,color:#111827"
            yield f"  class {members} {kind}"


def colour(node: Node) -> str:
    """Return the fill of a node: given arrays, forward, backward, update."""
    return COLOURS["given" if node.kind == "given" else node.phase]


def edge_label(edge: Edge) -> list[str]:
    """Return an edge's lines: the array's name and shape, and the values of a small one."""
    if edge.kept:
        return [edge.name]
    shape = " x ".join(map(str, edge.shape)) or "1"
    return [f"{edge.name} ({shape})", *([edge.values] if edge.values else [])]


def _label(node: Node) -> list[str]:
    return [node.title, *([node.place] if node.kind == "call" and node.place else []), *node.formula]


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _dot_text(lines: list[str]) -> str:
    """Return a label; Graphviz reads the entities of HTML in labels, and cuts them at newlines."""
    return '"' + "\\n".join(_plain(line.replace("&", "&amp;")) for line in _cut(lines)) + '"'


def _mermaid_text(lines: list[str]) -> str:
    """Return a label. Mermaid reads HTML in it, codes of its own (#35;), Markdown after a `, and settings after %%."""
    return '"' + "<br/>".join(line.translate(MERMAID) for line in _cut(lines)) + '"'


def _cut(lines: list[str]) -> list[str]:
    return [piece for line in lines for piece in line.split("\n")]
