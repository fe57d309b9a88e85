"""A network's forward, outside training, as nodes of a graph. A separate file, as inputs and outputs have."""

from __future__ import annotations

from typing import Any

from bpengine.errors import ConfigError
from bpengine.layers import Layer
from bpengine.layers.contract import name_of
from bpengine.network import Network
from bpengine.onnx.onnx_graph import NoOnnxForm, OnnxGraph
from bpengine.onnx.recorded_array import RecordedArray
from bpengine.onnx.recording_namespace import RecordingOps
from bpengine.trained import TrainedNetwork

LINK = "link"


def predictions(graph: OnnxGraph, model: TrainedNetwork, x: RecordedArray) -> RecordedArray:
    """Record the predictions (rows, outputs) of a model for x (rows, inputs), after the loss's link function.

    Parameters and running statistics have the model's names.
    Raises: ConfigError naming a layer that uses an operation without an ONNX form.
    """
    network = model.network
    params, running = (
        {name: RecordedArray(graph, graph.parameter(name, array)) for name, array in arrays.items()}
        for arrays in (model.parameters, model.running)
    )
    ops = RecordingOps(graph)
    try:
        y: RecordedArray = network.forward(ops, params, running, x).y
        graph.place = LINK
        return ops.forward(network.loss.link)(y)[0] if network.loss.link else y
    except NoOnnxForm as missing:
        raise ConfigError(
            f"{_who(network, graph.place)} cannot be exported: {missing} has no ONNX form. Write it in other functions of xp, "
            "or leave it out of the model."
        ) from None


def _who(network: Network, place: str) -> str:
    """Return "layer 1 (Dense)" for "1"; places count from 0."""
    layer: Any = network
    for part in place.split("."):
        inner = getattr(layer, "layers", ())
        layer = inner[int(part)] if part.isdecimal() and int(part) < len(inner) else getattr(layer, part, None)
    return name_of(layer, place) if isinstance(layer, Layer) else f"the {place}" if place == LINK else f"layer {place}"
