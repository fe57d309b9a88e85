"""The layers of a network, and the cost of a training step.

call_costs       operations and matrix products of one kernel call, from its row of KERNELS
network_summary  a table of layers: outputs, parameters, operations, memory
"""

from bpengine.summary.network_summary import LayerSummary, Summary

__all__ = ["LayerSummary", "Summary"]
