"""The computational graph: the calls of a step and the arrays between them, drawn in three ways."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import graph
from bpengine.explain.graphs.build import graph_of
from bpengine.explain.graphs.elements import Edge, Node
from bpengine.explain.graphs.graph import Graph
from bpengine.explain.graphs.svg import layout
from tests.explain.networks import random_case, xor


def residual() -> Graph:
    block = bp.Residual([bp.Dense(3, "tanh")])
    network = bp.Network(2, [bp.Dense(3, "relu"), block, bp.Dense(2)], "softmax_cross_entropy", bp.L2(0.1))
    return graph(bp.Model(network, dtype="float64"), np.eye(2), [0, 1], update=True)


def test_nodes_are_the_calls_and_edges_the_arrays() -> None:
    model, x, y = xor(slice(1, 2))
    drawn = graph(model, x, y)
    calls = [node.title for node in drawn.nodes if node.kind == "call"]
    forward = ["dense_bias_column_fwd", "sigmoid_fwd", "dense_no_bias_fwd", "sigmoid_fwd", "half_sum_squares_fwd"]
    assert calls == [*forward, *(name.replace("_fwd", "_bwd") for name in reversed(forward))]
    assert {node.title for node in drawn.nodes if node.kind == "given"} == {"x", "target", "0.weight", "1.weight"}
    arrays = [edge for edge in drawn.edges if edge.end == "n7" and not edge.kept]
    assert arrays == [Edge(start="n6", end="n7", name="dy", shape=(1, 1), values="[-0.123]")]
    assert "loss 0.121766" in drawn.title
    nodes = {node.id: node for node in drawn.nodes}
    assert nodes["n4"].formula[1] == "(1) [0.122]"
    assert nodes["n9"].formula == (
        "dw = x_ones.T @ dy",
        "(3 x 3) [0 0 0; -0.00427 0.00973 0.00955; -0.00427 0.00973 0.00955]",
    )
    assert "(3 x 1) [-0.111; -0.0732; -0.0467]" in nodes["n7"].formula
    assert json.dumps(drawn.to_json())
    assert len(drawn.to_rows()) == len(drawn.edges)


def test_graph_labels_are_translated_and_names_are_not() -> None:
    model, x, y = xor()
    english, portuguese = (graph(model, x, y, update=True, lang=lang) for lang in ("en", "pt"))
    assert portuguese.title == english.title.replace("rows, loss", "amostras, função de perda")
    assert {node.place for node in english.nodes} >= {"layer 0", "loss", "update of 0.weight"}
    assert {node.place for node in portuguese.nodes} >= {"camada 0", "função de perda", "atualização de 0.weight"}
    assert [node.title for node in english.nodes] == [node.title for node in portuguese.nodes]
    with pytest.raises(bp.ConfigError, match="unknown language 'fr'"):
        graph(model, x, y, lang="fr")


def test_a_backward_call_stands_below_its_forward() -> None:
    drawn = residual()
    nodes = {node.id: node for node in drawn.nodes}
    for edge in (e for e in drawn.edges if e.kept):
        assert nodes[edge.start].column == nodes[edge.end].column
        assert nodes[edge.start].title == nodes[edge.end].title.replace("_bwd", "_fwd")
    adds = [n for n in drawn.nodes if n.title == "add_fwd" and n.place == "layer 1"]
    assert [n.phase for n in adds] == ["forward", "backward"]
    ways = {edge.start for edge in drawn.edges if edge.end == adds[0].id}
    assert len(ways) == 2


@pytest.mark.parametrize("seed", range(8))
def test_the_picture_is_well_formed_and_no_box_lies_on_another(seed: int) -> None:
    network, *case = random_case(np.random.default_rng(seed))
    traced = bp.Model(network, dtype="float64").trace(*case)
    drawn = graph_of(traced, update=True)
    root = ElementTree.fromstring(drawn.svg())
    left, top, width, height = (float(n) for n in root.attrib["viewBox"].split())
    boxes = list(layout(drawn).values())
    assert len(boxes) == len(drawn.nodes)
    for i, a in enumerate(boxes):
        assert left <= a.x <= a.x + a.width <= left + width
        assert top <= a.y <= a.bottom <= top + height
        for b in boxes[i + 1 :]:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.bottom <= b.y or b.bottom <= a.y
            assert apart, (a.node, b.node)
    text = "".join(t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}text"))
    for node in drawn.nodes:
        assert node.title in text


def test_names_that_come_from_outside_are_escaped() -> None:
    evil = '<script>alert("x")</script>\\'
    nodes = (
        Node(id="a", kind="given", phase="forward", title=evil, place="", formula=(), column=0, row=-1),
        Node(id="b", kind="call", phase="forward", title=evil, place=evil, formula=(evil,), column=0, row=0),
    )
    drawn = Graph(nodes, (Edge(start="a", end="b", name=evil, shape=(1,), values=""),), evil)
    ElementTree.fromstring(drawn.svg())
    assert "<script" not in drawn.svg()
    assert "<script" not in drawn.mermaid()
    assert '\\"x\\"' in drawn.dot()
    assert drawn.dot().count('"', 0) % 2 == 0


def test_the_text_forms_name_every_node_and_edge() -> None:
    drawn = residual()
    dot, mermaid = drawn.dot(), drawn.mermaid()
    assert dot.startswith("digraph step {")
    assert dot.count(" -> ") == len(drawn.edges) == mermaid.count("-->|") + mermaid.count("-.->|")
    assert mermaid.startswith("flowchart LR")
    assert "y = x @ w + b" in dot
    assert "y = x @ w + b" in mermaid
