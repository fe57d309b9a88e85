"""See it: every gradient of a training step taken apart, term by term, with the engine's own numbers.

The room is a function, too: `bpengine.explain(model, x, y, layer=0, unit=3)`.
"""

from __future__ import annotations

import sys
from inspect import signature
from types import ModuleType

from bpengine.explain.descent import Descent, Walk
from bpengine.explain.forward import ForwardPass, forward
from bpengine.explain.graph import Graph, graph
from bpengine.explain.layertrace import LayerTrace
from bpengine.explain.paths import Paths, paths
from bpengine.explain.receipt import receipt, write_receipt
from bpengine.explain.sensitivity import Sensitivity, sensitivity
from bpengine.explain.sums import Sums
from bpengine.explain.sweep import Sweep, sweep
from bpengine.explain.trace import Trace
from bpengine.explain.unit import Explanation, explain
from bpengine.explain.verify import Verified, verify

__all__ = [
    "Descent",
    "Explanation",
    "ForwardPass",
    "Graph",
    "LayerTrace",
    "Paths",
    "Sensitivity",
    "Sums",
    "Sweep",
    "Trace",
    "Verified",
    "Walk",
    "explain",
    "forward",
    "graph",
    "paths",
    "receipt",
    "sensitivity",
    "sweep",
    "verify",
    "write_receipt",
]


class _Room(ModuleType):
    """A module that can be called.

    Importing any part of the room puts the module in the package's attribute `explain`, where the function is looked for;
    so both are one object, and `bpengine.explain` means the same whatever was imported before.
    """

    __call__ = staticmethod(explain)
    __signature__ = signature(explain)
    explain = property(lambda room: room)


vars().pop("explain")  # the property answers for it
sys.modules[__name__].__class__ = _Room
