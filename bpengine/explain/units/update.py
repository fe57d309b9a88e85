"""The step of a parameter: slope x learning rate = step size, old value - step size = new value; or the rule's formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpengine.backend import HostArray
from bpengine.explain.terms.sums import as_float64
from bpengine.explain.trace.rule import whole_update
from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS


@dataclass(frozen=True, kw_only=True)
class Update:
    """One step of P parameters: old (P,), slope (P,), step_size (P,) = old - new, new (P,).

    rule: the update kernel; formula: its lines; options: its constants. slots: the rule's state, {"m": (old, new)}.
    For plain descent step_size is learning_rate times slope. Of a custom rule that computes outside of kernels, `rule` is the
    class's name; formula and slots are empty.
    """

    rule: str
    formula: Mapping[str, str]
    options: Mapping[str, float]
    learning_rate: float
    old: HostArray
    slope: HostArray
    step_size: HostArray
    new: HostArray
    slots: Mapping[str, tuple[HostArray, HostArray]]

    @property
    def plain(self) -> bool:
        """True for plain gradient descent."""
        return self.rule == "sgd" and bool(self.formula)


def update_of(trace: Trace, name: str, pick: tuple[Any, ...]) -> Update:
    """Return the step of some elements of a parameter, from the call of the update kernel.

    A custom rule need not call one, and may change what a kernel returns: then the step is read from the trace's arrays.
    """
    call = whole_update(trace, name)
    if call is None:
        return _outside_kernels(trace, name, pick)
    inputs = dict(zip(call.kernel.arguments, call.args, strict=True))
    outputs = call.named_results()
    old, slope, new = (as_float64(a[pick]) for a in (inputs["w"], inputs["dw"], outputs["new_w"]))
    rate = trace.learning_rate
    slots = {
        slot: (as_float64(inputs[slot][pick]), as_float64(outputs[f"new_{slot}"][pick]))
        for slot in inputs
        if f"new_{slot}" in outputs and slot != "w"
    }
    step = rate * slope if call.kernel.name == "sgd" else old - new
    return Update(
        rule=call.kernel.name,
        formula=KERNELS[call.kernel.name].formula,
        options=dict(call.options),
        learning_rate=rate,
        old=old,
        slope=slope,
        step_size=step,
        new=new,
        slots=slots,
    )


def _outside_kernels(trace: Trace, name: str, pick: tuple[Any, ...]) -> Update:
    """Return the step of a rule that computes outside of kernels: its numbers, without a formula or slots."""
    held = (trace.parameters[name], trace.gradients[name], trace.updated[name])
    old, slope, new = (as_float64(array[pick]) for array in held)
    return Update(
        rule=type(trace.optimizer).__name__,
        formula={},
        options=trace.optimizer.options(),
        learning_rate=trace.learning_rate,
        old=old,
        slope=slope,
        step_size=old - new,
        new=new,
        slots={},
    )
