"""Graphs and models run by ONNX Runtime, as a server does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import bpengine as bp
from bpengine.onnx.feature_inputs import GraphInput
from bpengine.onnx.named_outputs import GraphOutput
from bpengine.onnx.onnx_file import ExportedGraph, onnx_model
from bpengine.onnx.onnx_graph import OnnxGraph, needed
from bpengine.onnx.recorded_array import RecordedArray
from tests.tolerances import exported_rtol


def session(file: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        file if isinstance(file, bytes) else str(file), options, providers=["CPUExecutionProvider"]
    )


def served(graph: OnnxGraph, inputs: list[RecordedArray], outputs: dict[str, RecordedArray]) -> Any:
    """Return a function of the inputs' numbers by name, for a graph that was recorded by hand."""
    ends = [
        GraphOutput(graph.add("Identity", [array.node], array.dtype, array.shape, name=name), "")
        for name, array in outputs.items()
    ]
    nodes = list(needed([end.node for end in ends], graph.nodes))
    exported = ExportedGraph(nodes, [GraphInput(array, "") for array in inputs], ends)
    running = session(onnx_model(onnx, exported, {}).SerializeToString())
    return lambda numbers: dict(zip(outputs, running.run(None, numbers), strict=True))


def exported(model: bp.Model, folder: Path) -> onnxruntime.InferenceSession:
    model.export_onnx(folder / "model.onnx")
    return session(folder / "model.onnx")


def outputs(running: onnxruntime.InferenceSession, inputs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip((end.name for end in running.get_outputs()), running.run(None, inputs), strict=True))


def assert_same(got: Any, wanted: Any) -> None:
    """Check dtype, shape and numbers, these relative to the largest; NaN and infinity where they are wanted."""
    wanted = np.asarray(wanted)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    usual = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~usual], wanted[~usual])
    scale = np.abs(wanted[usual]).max(initial=1e-30)
    np.testing.assert_allclose(got[usual], wanted[usual], rtol=0, atol=exported_rtol(wanted.dtype) * scale)
