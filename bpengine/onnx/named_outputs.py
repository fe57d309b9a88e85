"""The outputs of a graph: predictions in their own unit, or probabilities and the name of the most probable class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bpengine.data.validation.class_names import name_text
from bpengine.onnx.onnx_graph import ML, OnnxGraph, OnnxNode
from bpengine.onnx.recorded_array import XP, RecordedArray
from bpengine.trained import TrainedNetwork
from bpengine.training.rows import classes_of

NO_CLASS = -1  # the class number of a row whose outputs are not finite


class GraphOutput(NamedTuple):
    """One output of a graph, and a description of its values."""

    node: OnnxNode
    gives: str


def named_outputs(
    graph: OnnxGraph, model: TrainedNetwork, y: RecordedArray, valid: RecordedArray | None
) -> Iterator[GraphOutput]:
    """Record the outputs for predictions y (rows, outputs): "label" and "probabilities", or "prediction".

    valid: which rows are valid (rows, 1), or None for all; the others are NaN. The label of NaN is "" or -1.
    """
    graph.place, network = "", model.network
    if model.features is not None:
        y = model.features.decode(y)
    if valid is not None:
        y = XP.where(valid, y, np.nan)
    if network.loss.target == "values":
        yield _output(graph, "prediction", y, _values(model))
        return
    names = model.class_names if len(model.class_names or ()) == classes_of(network) else None
    texts = [name_text(name) for name in (names or range(classes_of(network)))]
    number = _class(network.loss.target, network.outputs, y)
    if number is not None:
        yield _output(graph, "label", _label(number, texts) if names else number, f"the class: {', '.join(texts[:8])}")
    of = texts[1:] if network.outputs == 1 else texts
    yield _output(graph, "probabilities", y, f"a column for each of: {', '.join(of[:8])}")


def _output(graph: OnnxGraph, name: str, array: RecordedArray, gives: str) -> GraphOutput:
    return GraphOutput(graph.add("Identity", [array.node], array.dtype, array.shape, name=name), gives)


def _values(model: TrainedNetwork) -> str:
    target = getattr(model.features, "target", None)
    names = ", ".join(target.columns) if target is not None else ""
    return f"a column for each of: {names}" if names else "a column for each output of the network"


def _class(target: str, outputs: int, y: RecordedArray) -> RecordedArray | None:
    """Return the number of each row's class, or None where each output is a separate decision."""
    if target == "classes":
        number: RecordedArray = XP.argmax(y, axis=1)
    elif outputs == 1:
        number = XP.astype(y[:, 0] > 0.5, np.dtype(np.int64))
    else:
        return None
    known: RecordedArray = XP.where(XP.isfinite(XP.sum(y, axis=1)), number, np.array(NO_CLASS, np.int64))
    return known


def _label(number: RecordedArray, texts: list[str]) -> RecordedArray:
    return number.noted(
        "LabelEncoder", dtype=object, domain=ML, keys_int64s=list(range(len(texts))), values_strings=texts,
        default_string="",
    )  # fmt: skip
