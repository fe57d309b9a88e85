"""Explain a training step: every gradient as a sum of terms, with the engine's own numbers.

The package can be called as a function: `bpengine.explain(model, x, y, layer=0, unit=3)`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING

from bpengine.explain.chain_rule.path_result import Paths
from bpengine.explain.chain_rule.paths import paths
from bpengine.explain.forward_pass import ForwardPass, forward
from bpengine.explain.gradient_flow.sensitivity import Sensitivity, sensitivity
from bpengine.explain.graphs.build import graph
from bpengine.explain.graphs.graph import Graph
from bpengine.explain.receipts.verified import Verified
from bpengine.explain.receipts.verify import verify
from bpengine.explain.receipts.write import receipt, write_receipt
from bpengine.explain.sweeps.sweep import Sweep, sweep
from bpengine.explain.sweeps.trajectory import Descent, Walk
from bpengine.explain.terms.sums import Sums
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.nonfinite import NonFiniteValue
from bpengine.explain.trace.trace import Trace
from bpengine.explain.units.explain import explain
from bpengine.explain.units.explanation import Explanation

if TYPE_CHECKING:
    from bpengine.explain import figures, page

__all__ = [
    "Cause",
    "Descent",
    "Explanation",
    "ForwardPass",
    "Graph",
    "LayerTrace",
    "NonFiniteValue",
    "Paths",
    "Sensitivity",
    "Sums",
    "Sweep",
    "Trace",
    "Verified",
    "Walk",
    "explain",
    "figures",
    "forward",
    "graph",
    "page",
    "paths",
    "receipt",
    "sensitivity",
    "sweep",
    "verify",
    "write_receipt",
]


Cause = NonFiniteValue  # its earlier name


def __getattr__(name: str) -> ModuleType:
    """Return the packages for figures and pages, which are imported on first use."""
    if name in ("figures", "page"):
        return import_module(f"bpengine.explain.{name}")
    raise AttributeError(f"module 'bpengine.explain' has no attribute {name!r}")


class _CallablePackage(ModuleType):
    """A module that can be called as a function.

    Importing any part of the package sets `bpengine.explain` to this module, and the function has the same name. Both are one
    object, so `bpengine.explain` means the same whatever was imported before.
    """

    __call__ = staticmethod(explain)
    __signature__ = signature(explain)
    explain = property(lambda package: package)


vars().pop("explain")  # the class's property returns the package instead
sys.modules[__name__].__class__ = _CallablePackage
