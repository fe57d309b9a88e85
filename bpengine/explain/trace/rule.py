"""The rule of a traced update: the kernel that makes it, or a custom rule that computes outside of kernels."""

from __future__ import annotations

from collections.abc import Mapping

from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS
from bpengine.ops import Call
from bpengine.training.optimizers import is_own


def rule_of(trace: Trace) -> tuple[str, Mapping[str, str]]:
    """Return the name and the formula of the update kernel; of a rule outside of kernels, its class's name and no formula."""
    call = whole_update(trace, next(iter(trace.parameters), ""))
    if call is None and is_own(trace.optimizer):
        return type(trace.optimizer).__name__, {}
    kernel = KERNELS[trace.optimizer.kernel] if call is None else call.kernel
    return kernel.name, kernel.formula


def whole_update(trace: Trace, name: str) -> Call | None:
    """Return the call of an update kernel that makes the whole step of a parameter, or None."""
    for call in trace.update:
        if call.kernel.kind == "update" and call.args[0] is trace.parameters.get(name):
            whole = not is_own(trace.optimizer) or call.named_results()["new_w"] is trace.updated[name]
            return call if whole else None
    return None
