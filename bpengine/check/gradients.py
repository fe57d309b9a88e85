"""check_gradients: a hand-written gradient before every oracle that applies to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check import blame, kinks, subjects
from bpengine.check.gradientreport import Report
from bpengine.check.kernelproblem import find_kernel
from bpengine.check.oracles import NAMES, Oracles, OracleUse
from bpengine.check.own import own_gradients
from bpengine.check.problem import Problem
from bpengine.check.subjects import Point
from bpengine.errors import ConfigError, unknown
from bpengine.kernels import Kernel
from bpengine.layers import Layer
from bpengine.network import Network


@np.errstate(all="ignore")  # what is not finite is judged, not warned of
def check_gradients(
    subject: Any,
    x: Any = None,
    y: Any = None,
    weights: Any = None,
    *,
    seed: int = 0,
    oracles: str | Sequence[str] = NAMES,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Check a hand-written gradient against independent oracles and return the Report.

    subject: a bp.Model or bp.Network (x, y and perhaps weights are rows to take the loss over, in training mode); a
        Layer (x is its input; its parameters are those of `init`, the cotangent is random); a Kernel or the name of one
        (x gives its arguments by name or in order, or None: they are sampled; `options` are the kernel's own).
    seed: draws a network's or layer's parameters, cotangents, sampled elements and directions; a model has its own.
    oracles: "autodiff" (JAX, float64), "differences", "complex step", "inner products"; all of them by default. With up
        to 256 numbers differences and complex steps are taken element by element, with more on 8 elements of each array;
        inner products cost the same for any number.

    The check is made in float64 on NumPy; a float32 model, or one on another backend, is checked on a copy, and its own
    gradients are then judged against that with the tolerance of its dtype.
    Raises ConfigError, DataError, ShapeError or NonFiniteError for what cannot be checked.
    """
    names = [oracles] if isinstance(oracles, str) else list(oracles)
    for name in names:
        if name not in NAMES:
            raise unknown("oracle", name, NAMES)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ConfigError(f"check_gradients requires seed to be a whole number of at least 0, got {seed!r}.")
    if not names:
        raise ConfigError(f"check_gradients requires at least one oracle, got none. Known: {', '.join(NAMES)}.")
    if isinstance(subject, Network) or _is_model(subject):
        return _network(subject, subjects.network_point(subject, x, y, weights, seed), seed, names)
    if y is not None or weights is not None:
        raise ConfigError("check_gradients requires y and weights for a network only, got them for a layer or kernel.")
    if isinstance(subject, Layer):
        problem = subjects.layer_problem(subject, x, seed)
    elif isinstance(subject, (str, Kernel)):
        kernel = find_kernel(subject)
        problem = subjects.kernel_problem(kernel, x, options or {}, seed)
        report = _report(problem, Oracles(problem, seed), names, "float64 on numpy")
        return replace(report, guilty=blame.guilty_kernel(kernel, report.failures))
    else:
        hint = (
            " Make one: call it."
            if isinstance(subject, type)
            else " A function belongs into a Kernel."
            if callable(subject)
            else ""
        )
        raise ConfigError(
            f"check_gradients requires a Model, Network, Layer, Kernel or the name of a kernel, got {subject!r}.{hint}"
        )
    return _report(problem, Oracles(problem, seed), names, "float64 on numpy")


def _network(subject: Any, point: Point, seed: int, names: list[str]) -> Report:
    shape = "-".join(map(str, point.network.sizes))
    problem = subjects.network_problem(point, f"network {shape}, {point.network.loss.name}")
    judged, model = Oracles(problem, seed), subject if _is_model(subject) else None
    copied = model is not None and (model.dtype != "float64" or model.backend.xp is not np)
    precision = (
        f"float64 on numpy, a copy of the {model.dtype} model on {model.backend.name}" if model and copied else ""
    )
    report = _report(problem, judged, names, precision or "float64 on numpy", point)
    if model is None or not copied:
        return report
    reference = judged.reference or judged.hand
    use, verdicts = own_gradients(model, point, problem, judged.kinks, reference)
    return replace(report, oracles=(*report.oracles, use), verdicts=(*report.verdicts, *verdicts))


def _report(problem: Problem, judged: Oracles, names: list[str], precision: str, point: Point | None = None) -> Report:
    uses: list[OracleUse] = []
    verdicts = []
    for name in names:
        use, found = judged.run(name)
        uses.append(use)
        verdicts += found
    left = (sum(v.left_out for v in verdicts), sum(v.aside for v in verdicts))
    elements = tuple(dict.fromkeys(e for v in verdicts for e in v.elements))
    counted = replace(kinks.count(judged.kinks), left_out=left[0], aside=left[1], elements=elements)
    report = Report(problem.title, precision, judged.loss, tuple(verdicts), counted, tuple(uses))
    return report if report.passed else replace(report, guilty=_guilty(problem, point, names))


def _guilty(problem: Problem, point: Point | None, names: list[str]) -> blame.Guilty | None:
    """Return the kernel that is wrong, or the layer where every kernel it calls is right."""
    found = blame.guilty_call(problem, names)
    if found or point is None:
        return found
    return blame.guilty_layer(*point.walked(), point.ops, names)


def _is_model(subject: Any) -> bool:
    """Tell a Model by what it has: this room stands below it."""
    return isinstance(getattr(subject, "network", None), Network) and hasattr(subject, "loss_and_gradients")
