"""check_gradients: a hand-written gradient before every oracle that applies to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check import blame, kinks, subjects
from bpengine.check.gradientreport import Report
from bpengine.check.kernelproblem import arguments, find_kernel, is_loss
from bpengine.check.oracles import NAMES, Oracles, OracleUse
from bpengine.check.own import own_gradients
from bpengine.check.problem import Problem
from bpengine.check.reduction import require_reduction
from bpengine.check.subjects import Point
from bpengine.check.verdict import Verdict
from bpengine.errors import ConfigError, unknown
from bpengine.kernels import Kernel
from bpengine.kernels._own import is_pair
from bpengine.layers import CustomActivation, Layer
from bpengine.layers.activation import make_activation
from bpengine.losses import CustomLoss, make_loss
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
        Layer (x is its input; its parameters are those of `init`, the cotangent is random); a Kernel, the name of one, a
        CustomLoss, a CustomActivation or the pair of functions (forward, backward) of either (x gives its arguments by name
        or in order, or None: they are sampled; `options` are the kernel's own).
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
    own = make_loss(subject) if is_loss(subject) else None
    if isinstance(own, CustomLoss):
        given = arguments(own.kernel, x, np.random.default_rng(seed))
        require_reduction(own, given["y"], given["target"])
        subject = own.kernel
    elif isinstance(subject, CustomActivation) or is_pair(subject):
        subject = getattr(make_activation(subject), "kernel", subject)
    if options and not isinstance(subject, (str, Kernel)):
        raise ConfigError(
            f"check_gradients requires options for a kernel only, got {', '.join(options)} for something else."
        )
    if isinstance(subject, Network) or _is_model(subject):
        return _network(subject, subjects.network_point(subject, x, y, weights, seed), seed, names)
    if y is not None or weights is not None:
        raise ConfigError("check_gradients requires y and weights for a network only, got them for a layer or kernel.")
    if isinstance(subject, Layer):
        return _alone(subject, subjects.layer_problem(subject, x, seed), seed, names)
    if isinstance(subject, (str, Kernel)):
        kernel = find_kernel(subject)
        return _alone(kernel, subjects.kernel_problem(kernel, x, options or {}, seed), seed, names)
    raise ConfigError(
        "check_gradients requires a Model, Network, Layer, Kernel or the name of a kernel, CustomLoss, CustomActivation or "
        "pair of functions, "
        f"got {subject!r}.{_hint(subject)}"
    )


def _alone(subject: Layer | Kernel, problem: Problem, seed: int, names: list[str]) -> Report:
    report = _report(problem, Oracles(problem, seed), names, "float64 on numpy")
    if report.passed:
        return report
    inside = blame.guilty_call(problem, names) if isinstance(subject, Layer) else None
    return replace(report, guilty=inside or blame.guilty_subject(subject, report.failures))


def _network(subject: Any, point: Point, seed: int, names: list[str]) -> Report:
    shape = "-".join(map(str, point.network.sizes))
    problem = subjects.network_problem(point, f"network {shape}, {point.network.loss.name}")
    judged, model = Oracles(problem, seed), subject if _is_model(subject) else None
    copied = model is not None and (model.dtype != "float64" or model.backend.xp is not np)
    copy = f", a copy of the {model.dtype} model on {model.backend.name}" if model and copied else ""
    report = _report(problem, judged, names, f"float64 on numpy{copy}")
    if not report.passed:
        found = blame.guilty_call(problem, names) or blame.guilty_layer(*point.walked(), point.ops, names)
        report = replace(report, guilty=found)
    if model is None or not copied:
        return report
    reference = judged.reference or judged.hand
    use, verdicts = own_gradients(model, point, problem, judged.kinks, reference, judged.explained)
    return replace(report, oracles=(*report.oracles, use), verdicts=(*report.verdicts, *verdicts))


def _report(problem: Problem, judged: Oracles, names: list[str], precision: str) -> Report:
    uses: list[OracleUse] = []
    verdicts: list[Verdict] = []
    for name in names:
        use, found = judged.run(name)
        uses.append(use)
        verdicts += found
    counted = replace(
        kinks.count(judged.kinks),
        left_out=sum(v.left_out for v in verdicts),
        aside=sum(v.aside for v in verdicts),
        elements=tuple(dict.fromkeys(e for v in verdicts for e in v.elements)),
    )
    return Report(problem.title, precision, judged.loss, tuple(verdicts), counted, tuple(uses))


def _hint(subject: Any) -> str:
    if isinstance(subject, type):
        return " Make one: call it."
    return " A function belongs into a pair (forward, backward)." if callable(subject) else ""


def _is_model(subject: Any) -> bool:
    """Tell a Model by what it has: this room stands below it."""
    return isinstance(getattr(subject, "network", None), Network) and hasattr(subject, "loss_and_gradients")
