"""ONNX files: a model's graph as `onnx.ModelProto`, checked, and written completely or not at all."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bpengine.data.validation.options import optional
from bpengine.errors import ConfigError
from bpengine.onnx.feature_inputs import GraphInput, encoded_inputs_of, plain_inputs
from bpengine.onnx.named_outputs import GraphOutput, named_outputs
from bpengine.onnx.network_form import predictions
from bpengine.onnx.onnx_graph import ML, OnnxGraph, OnnxNode, needed
from bpengine.onnx.recording_namespace import FORMS
from bpengine.output.writing import write_whole
from bpengine.trained import TrainedNetwork

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

VERSIONS: Final = {"": 17, ML: 3}  # version of the operator set: servers of 2022 and later run it
FILE_VERSION: Final = 8  # the file format version of that operator set
MOST_BYTES: Final = 2**31 - 2**20  # bytes of all numbers: protobuf, the file's encoding, allows no more
TYPES: Final = {"float32": 1, "int32": 6, "int64": 7, "object": 8, "bool": 9, "float64": 11}  # onnx.TensorProto's


class ExportedGraph(NamedTuple):
    """A model as a graph: its nodes, inputs and outputs."""

    nodes: list[OnnxNode]
    inputs: list[GraphInput]
    outputs: list[GraphOutput]


def write_onnx(path: str | os.PathLike[str], model: TrainedNetwork) -> ExportedGraph:
    """Write a model as an ONNX file, and return its graph.

    Raises: ConfigError without the package onnx, for an operation without an ONNX form, for names that are not text, and for
    more than 2 GiB; WriteError where the file cannot be written.
    """
    onnx = optional("onnx", "export_onnx", "onnx")
    exported = graph_of(model)
    try:
        proto = onnx_model(onnx, exported, _about(model, exported))
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"an ONNX file requires names of columns, values and classes in Unicode, got {error.object!r}. Rename it."
        ) from None
    write_whole(path, proto.SerializeToString())
    return exported


def graph_of(model: TrainedNetwork) -> ExportedGraph:
    """Return a model as a graph: its Features, its network outside training with the link function, its outputs."""
    graph, features = OnnxGraph(FORMS), model.features
    encoding = (
        plain_inputs(graph, model.network.inputs, model.dtype)
        if features is None
        else encoded_inputs_of(graph, features, model.dtype)
    )
    y = predictions(graph, model, encoding.x)
    outputs = list(named_outputs(graph, model, y, encoding.valid))
    return ExportedGraph(list(needed([o.node for o in outputs], graph.nodes)), encoding.entries, outputs)


def onnx_model(onnx: ModuleType, exported: ExportedGraph, about: dict[str, str]) -> ModelProto:
    """Return the graph as a ModelProto of the package onnx, checked by it, types and shapes included.

    Raises: ConfigError for numbers that a file cannot hold.
    """
    helper, constants = onnx.helper, [node for node in exported.nodes if node.array is not None]
    size = sum(node.array.nbytes for node in constants if node.array is not None)
    if size > MOST_BYTES:
        raise ConfigError(f"an ONNX file holds at most {MOST_BYTES:,} bytes of numbers, got a model of {size:,}.")
    graph = helper.make_graph(
        [_operation(helper, node) for node in exported.nodes if node.op not in ("input", "constant")],
        "network",
        [_value(helper, entry.array.node, entry.takes) for entry in exported.inputs],
        [_value(helper, output.node, output.gives) for output in exported.outputs],
        [onnx.numpy_helper.from_array(node.array, node.name) for node in constants],
    )
    domains = {node.domain for node in exported.nodes}
    versions = [helper.make_opsetid(domain, version) for domain, version in VERSIONS.items() if domain in domains]
    proto: ModelProto = helper.make_model(
        graph,
        opset_imports=versions,
        ir_version=FILE_VERSION,
        producer_name="bpengine",
        producer_version=version("bpengine"),
    )
    helper.set_model_props(proto, about)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _operation(helper: ModuleType, node: OnnxNode) -> NodeProto:
    names = [source.name for source in node.inputs]
    to = {"to": TYPES[node.dtype.name]} if node.op == "Cast" else {}
    operation: NodeProto = helper.make_node(
        node.op, names, [node.name], name=node.name, domain=node.domain, **node.attributes, **to
    )
    return operation


def _value(helper: ModuleType, node: OnnxNode, said: str) -> ValueInfoProto:
    value: ValueInfoProto = helper.make_tensor_value_info(node.name, TYPES[node.dtype.name], _shape(node), said)
    return value


def _about(model: TrainedNetwork, exported: ExportedGraph) -> dict[str, str]:
    """Return the metadata of a file: names as JSON."""
    features, names = model.features, model.class_names
    about: dict[str, Any] = {
        "inputs": {entry.array.node.name: entry.takes for entry in exported.inputs},
        "outputs": {output.node.name: output.gives for output in exported.outputs},
    }
    if features is not None:
        about["feature_names"] = list(features.input_names)
        about["target_names"] = list(features.target.columns) if features.target is not None else []
    if names is not None:
        about["class_names"] = list(names)
    return {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()}


class ArrayLine(NamedTuple):
    """One input or output of a graph for display: its name, "input" or "output", type, shape, and content."""

    name: str
    role: str
    kind: str
    shape: list[int | str]
    holds: str

    @property
    def axes(self) -> str:
        """Its shape as text: "(rows, 1)"."""
        return f"({', '.join(map(str, self.shape))}{',' * (len(self.shape) == 1)})"


def described(exported: ExportedGraph) -> list[ArrayLine]:
    """Return one line for each input and output of a graph."""
    parts = [("input", entry.array.node, entry.takes) for entry in exported.inputs]
    parts += [("output", output.node, output.gives) for output in exported.outputs]
    return [ArrayLine(node.name, role, _type(node), _shape(node), holds) for role, node, holds in parts]


def _type(node: OnnxNode) -> str:
    return "text" if node.dtype == object else node.dtype.name


def _shape(node: OnnxNode) -> list[int | str]:
    return [n if isinstance(n, int) else repr(n) for n in node.shape]
