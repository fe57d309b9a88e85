"""The guilty kernel: every kernel call of a step is replayed and judged on its own actual inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.check.oracles.run import NAMES, Oracles
from bpengine.check.problems import layerwise
from bpengine.check.problems.kernel_calls import of_kernel
from bpengine.check.problems.problem import Problem, of_layer
from bpengine.check.reports.results import GIVEN, Verdict
from bpengine.check.tolerance import agreement
from bpengine.errors import BpError
from bpengine.kernels import Kernel
from bpengine.layers import Layer
from bpengine.layers.chain import Stage
from bpengine.ops import Call, ObservedOps, Ops


@dataclass(frozen=True)
class Guilty:
    """The first call that does not agree with its oracle: where, which function, which result, in words, at which point."""

    place: str
    function: str
    argument: str
    words: str
    point: str = GIVEN

    def __str__(self) -> str:
        where = f"layer {self.place}" if self.place[:1].isdigit() else f"the {self.place}" if self.place else ""
        there = "" if self.point == GIVEN else f" at the {self.point} point"
        return f"{self.function}{' in ' + where if where else ''}, {self.argument}{there}: {self.words}"


def guilty_call(problem: Problem, names: Sequence[str] = NAMES) -> Guilty | None:
    """Replay the step of a problem and return the first call, forward then backward, that is wrong; None if all agree."""
    calls: list[Call] = []
    problem.gradients(ObservedOps(problem.ops, calls.append))
    for number, call in enumerate(calls):
        judged = _backward if call.function.endswith("_bwd") else _forward
        again = any(_same(call, earlier) for earlier in calls[:number])
        if not again and (found := judged(call, calls[:number], problem, names)):
            return found
    return None


def guilty_subject(subject: Kernel | Layer, failures: Sequence[Verdict]) -> Guilty | None:
    """Return a kernel or layer that was checked itself."""
    bad = next((v for v in failures if v.array != "value"), None)
    if bad is None:
        return None
    if isinstance(subject, Layer):
        return _layer("", subject, bad)
    return Guilty("", getattr(subject.backward, "__name__", f"{subject.name}_bwd"), f"d{bad.array}", _words(bad))


def guilty_layer(walked: list[Stage], cotangents: list[Any], ops: Ops, names: Sequence[str]) -> Guilty | None:
    """Judge each layer as a whole, from the last to the first: a layer of one's own may do more than call kernels.

    Of layers that hold layers, the innermost one that is wrong by itself is named.
    """
    for stage, dy in reversed(list(zip(walked, cotangents, strict=True))):
        if np.issubdtype(stage.x.dtype, np.floating):
            problem = of_layer(stage.layer, ops, stage.x, stage.params, dy, stage.running, stage.run)
            if bad := first_failure(Oracles(problem), names):
                inside = layerwise.inner(stage, ops, dy)
                deeper = guilty_layer([inner for inner, _ in inside], [d for _, d in inside], ops, names)
                return deeper or _layer(stage.run.place, stage.layer, bad)
    return None


def first_failure(oracles: Oracles, names: Sequence[str]) -> Verdict | None:
    """Return the first verdict against a problem's gradient, by the oracles named."""
    for name in names:
        failures = [v for v in oracles.run(name)[1] if not v.passed and v.array != "value"]
        if failures:
            return failures[0]
    return next((v for v in oracles.sides() if not v.passed), None)


def _forward(call: Call, before: list[Call], problem: Problem, names: Sequence[str]) -> Guilty | None:
    """Compare a forward with the definition in the table: a backend may have replaced it."""
    with np.errstate(all="ignore"):
        expected = call.kernel.forward(np, *call.args, **call.options)
    got, wanted = call.named_results(), replace(call, result=expected).named_results()
    for name, value in wanted.items():
        reference, ours = np.asarray(value, dtype=np.float64), np.asarray(got[name], dtype=np.float64)
        if ours.shape != reference.shape or not np.allclose(
            ours, reference, rtol=0, atol=agreement.EXACT * max(float(np.max(np.abs(reference), initial=0)), 1.0)
        ):
            return Guilty(call.place, call.function, name, "not what the kernel in the table computes")
    return None


def _backward(call: Call, before: list[Call], problem: Problem, names: Sequence[str]) -> Guilty | None:
    source = _source(call, before)
    if source is None:
        return None
    kernel, dy = call.kernel, np.asarray(call.args[1])
    arrays = dict(zip(kernel.arguments, source.args, strict=False))
    results = call.result if isinstance(call.result, tuple) else (call.result,)
    if len(results) != len(kernel.differentiable):
        return Guilty(call.place, call.function, "results", f"{len(results)} of {len(kernel.differentiable)} gradients")
    given = dict(zip(kernel.differentiable, results, strict=True))
    wanted = tuple(name for name, value in given.items() if value is not None)
    for name in wanted:
        if np.shape(given[name]) != np.shape(arrays[name]):
            shapes = f"shape {np.shape(given[name])}, must be {np.shape(arrays[name])}"
            return Guilty(call.place, call.function, f"d{name}", shapes)
    local = of_kernel(kernel, problem.ops, arrays, source.options, dy, wanted)
    bad = _tried(lambda: first_failure(Oracles(local), names))
    if bad is None:
        return None
    return Guilty(call.place, call.function, f"d{bad.array}", _words(bad))


def _layer(place: str, layer: Layer, bad: Verdict) -> Guilty:
    return Guilty(place, f"{type(layer).__name__}.backward", f"gradient of {bad.array}", _words(bad))


def _words(bad: Verdict) -> str:
    return bad.worst.text(bad.oracle) if bad.worst else ""


def _same(call: Call, other: Call) -> bool:
    """Tell whether two calls are one call made twice, with equal arguments."""
    return (call.function, call.place, call.options) == (other.function, other.place, other.options) and _equal(
        call.args, other.args
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))


def _source(call: Call, before: list[Call]) -> Call | None:
    """Return the forward call whose residual a backward was given."""
    own = [c for c in before if c.kernel is call.kernel and not c.function.endswith("_bwd")]
    matching = [c for c in own if isinstance(c.result, tuple) and c.result[1] is call.args[0]]
    here = [c for c in matching if c.place == call.place]
    return next(iter(reversed(here or matching)), None)


def _tried(judged: Callable[[], Verdict | None]) -> Verdict | None:
    try:
        return judged()
    except BpError:
        return None
