"""Find the faulty call: every kernel call of a step is replayed and checked on its own actual inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check.oracles.run import NAMES, Oracles
from bpengine.check.problems import layerwise
from bpengine.check.problems.kernel_calls import of_kernel
from bpengine.check.problems.problem import Problem, of_layer
from bpengine.check.reports.results import ArrayResult, FaultyCall
from bpengine.check.tolerance.agreement import EXACT
from bpengine.errors import BpError
from bpengine.kernels import Kernel
from bpengine.kernels._trees import Tree
from bpengine.layers import Layer
from bpengine.layers.chain import LayerStep
from bpengine.ops import Call, ObservedOps, Ops
from bpengine.system.quiet import Quiet


def faulty_kernel_call(problem: Problem, names: Sequence[str] = NAMES) -> FaultyCall | None:
    """Replay the step of a problem and return the first call, forward then backward, that is wrong; None if all agree."""
    calls: list[Call] = []
    problem.gradients(ObservedOps(problem.ops, calls.append))
    for number, call in enumerate(calls):
        check = _backward if call.function.endswith("_bwd") else _forward
        again = any(_same(call, earlier) for earlier in calls[:number])
        if not again and (faulty := check(call, calls[:number], problem, names)):
            return faulty
    return None


def faulty_subject(subject: Kernel | Layer, failures: Sequence[ArrayResult]) -> FaultyCall | None:
    """Return a kernel or layer that is itself the subject of the check, with its first failure."""
    failure = next((v for v in failures if v.array != "value"), None)
    if failure is None:
        return None
    if isinstance(subject, Layer):
        return _layer("", subject, failure)
    function = getattr(subject.backward, "__name__", f"{subject.name}_bwd")
    return FaultyCall("", function, f"d{failure.array}", _words(failure))


def faulty_layer(steps: list[LayerStep], cotangents: list[Any], ops: Ops, names: Sequence[str]) -> FaultyCall | None:
    """Check each layer as a whole, from the last to the first: a custom layer may do more than call kernels.

    For nested layers, the innermost one that is wrong by itself is named.
    """
    for step, dy in reversed(list(zip(steps, cotangents, strict=True))):
        if np.issubdtype(step.x.dtype, np.floating):
            problem = of_layer(step.layer, ops, step.x, step.params, dy, step.running, step.run)
            if failure := first_failure(Oracles(problem), names):
                inside = layerwise.inner_steps(step, ops, dy)
                deeper = faulty_layer([inner for inner, _ in inside], [d for _, d in inside], ops, names)
                return deeper or _layer(step.run.place, step.layer, failure)
    return None


def first_failure(oracles: Oracles, names: Sequence[str]) -> ArrayResult | None:
    """Return the first result that says that a problem's gradient is wrong, by the oracles named."""
    for name in names:
        failures = [v for v in oracles.run(name)[1] if not v.passed and v.array != "value"]
        if failures:
            return failures[0]
    return next((v for v in oracles.at_unstated_kinks() if not v.passed), None)


def _forward(call: Call, before: list[Call], problem: Problem, names: Sequence[str]) -> FaultyCall | None:
    """Compare a forward with the definition in the table: a backend may have replaced it."""
    with Quiet():
        expected = call.kernel.forward(np, *call.args, **call.options)
    got, wanted = call.named_results(), replace(call, result=expected).named_results()
    for name, value in wanted.items():
        reference, ours = np.asarray(value, dtype=np.float64), np.asarray(got[name], dtype=np.float64)
        if ours.shape != reference.shape or not np.allclose(
            ours, reference, rtol=0, atol=EXACT * max(float(np.max(np.abs(reference), initial=0)), 1.0)
        ):
            return FaultyCall(call.place, call.function, name, "not what the kernel in the table computes")
    return None


def _backward(call: Call, before: list[Call], problem: Problem, names: Sequence[str]) -> FaultyCall | None:
    """Check a backward as a problem of its own, with the arguments of the forward that made its residual."""
    forward = _forward_call_of(call, before)
    if forward is None:
        return None
    kernel, dy = call.kernel, np.asarray(call.args[1])
    arrays = dict(zip(kernel.arguments, forward.args, strict=False))
    results = call.result if isinstance(call.result, tuple) else (call.result,)
    if len(results) != len(kernel.differentiable):
        numbers = f"{len(results)} of {len(kernel.differentiable)} gradients"
        return FaultyCall(call.place, call.function, "results", numbers)
    gradients = dict(zip(kernel.differentiable, results, strict=True))
    wanted = tuple(name for name, value in gradients.items() if value is not None)
    for name in wanted:
        if np.shape(gradients[name]) != np.shape(arrays[name]):
            shapes = f"shape {np.shape(gradients[name])}, must be {np.shape(arrays[name])}"
            return FaultyCall(call.place, call.function, f"d{name}", shapes)
    local = of_kernel(kernel, problem.ops, arrays, forward.options, dy, wanted)
    failure = _unless_refused(lambda: first_failure(Oracles(local), names))
    if failure is None:
        return None
    return FaultyCall(call.place, call.function, f"d{failure.array}", _words(failure))


def _layer(place: str, layer: Layer, failure: ArrayResult) -> FaultyCall:
    return FaultyCall(place, f"{type(layer).__name__}.backward", f"gradient of {failure.array}", _words(failure))


def _words(failure: ArrayResult) -> str:
    return failure.worst.text(failure.oracle) if failure.worst else ""


def _same(call: Call, other: Call) -> bool:
    """Tell whether two calls call the same function with equal arguments."""
    return (call.function, call.place, call.options) == (other.function, other.place, other.options) and _equal(
        call.args, other.args
    )


def _equal(a: Tree, b: Tree) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))


def _forward_call_of(call: Call, before: list[Call]) -> Call | None:
    """Return the forward call whose residual a backward was given."""
    own = [c for c in before if c.kernel is call.kernel and not c.function.endswith("_bwd")]
    matching = [c for c in own if isinstance(c.result, tuple) and c.result[1] is call.args[0]]
    here = [c for c in matching if c.place == call.place]
    return next(iter(reversed(here or matching)), None)


def _unless_refused(check: Callable[[], ArrayResult | None]) -> ArrayResult | None:
    try:
        return check()
    except BpError:
        return None
