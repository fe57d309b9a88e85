"""ONNX: a model as a graph that other programs run, with its Features and without this engine.

There is no table of kernels here. A kernel takes its array namespace, so the forward is run once on arrays without values
that record every operation: all code in functions that ONNX has is exported, custom code too.

onnx_graph: nodes and constants. recorded_array: arrays that record. ufunc_forms, array_forms: NumPy's functions as nodes.
recording_namespace: NumPy with arrays of any number of rows. network_form: the network. feature_inputs: columns to inputs.
named_outputs: predictions and classes by name. onnx_file: the file.
"""

from bpengine.onnx.onnx_file import described, write_onnx

__all__ = ["described", "write_onnx"]
