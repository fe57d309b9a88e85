"""check_gradients: compare a hand-written gradient with every oracle that applies to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, cast

from bpengine.backend import ArrayLike
from bpengine.check.oracles.run import NAMES
from bpengine.check.points.network_check import NetworkCheck
from bpengine.check.points.subject_check import SingleCheck
from bpengine.check.problems import subjects
from bpengine.check.problems.kernel_calls import Arguments, arguments, find_kernel
from bpengine.check.reports.gradient_report import Report
from bpengine.errors import ConfigError, flag, items, unknown, whole
from bpengine.kernels import Kernel
from bpengine.kernels._own import Pair, is_pair, takes
from bpengine.layers import CustomActivation, Layer
from bpengine.layers.activation import make_activation
from bpengine.losses import CustomLoss, make_loss
from bpengine.network import Network
from bpengine.streams import stream
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork
from bpengine.training.reduction import require_reduction

Subject = TrainedNetwork | Network | Layer | Kernel | str | CustomLoss | CustomActivation | Pair


@Quiet()  # numbers that are not finite are reported; NumPy's warnings would repeat it
def check_gradients(
    subject: Subject,
    x: Arguments = None,
    y: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    *,
    seed: int = 0,
    oracles: str | Sequence[str] = NAMES,
    options: Mapping[str, Any] | None = None,
    perturbed: bool = True,
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
    perturbed: check a second time at a perturbed point, where every parameter and every input is moved at random by about
    its own size: a forgotten term or factor has no effect where a bias is 0 or a gain 1, and the report names such values.
    A kernel's options are made smaller there; targets, weights and labels stay the same.

    With "autodiff", a network's per-sample gradients, Jacobian, input gradients and a product with the Hessian, outside
    training, are compared with JAX's as well: the part `derivatives` of the report.

    The check is made in float64 on NumPy; a float32 model, or one on another backend, is checked on a copy, and its own
    gradients are then compared with the copy's, with the tolerance of its dtype.
    Raises ConfigError, DataError, ShapeError or NonFiniteError for what cannot be checked.

    >>> report = check_gradients("tanh", [[0.5, -2.0]])
    >>> report.verdict()
    'passed: gradients of kernel tanh, value 1.38292'
    """
    names = [oracles] if isinstance(oracles, str) else items(oracles, "check_gradients", "oracles")
    for name in names:
        if name not in NAMES:
            raise unknown("oracle", name, NAMES)
    seed = whole(seed, "check_gradients", "seed", low=0)
    perturbed = flag(perturbed, "check_gradients", "perturbed")
    if not names:
        raise ConfigError(f"check_gradients requires at least one oracle, got none. Known: {', '.join(NAMES)}.")
    if (y is not None or weights is not None) and not (isinstance(subject, Network) or _is_model(subject)):
        raise ConfigError(
            "check_gradients requires y and weights for a network only, got them for a layer or kernel. A loss takes its "
            "arguments together: x={'y': ..., 'target': ...}."
        )
    subject = _as_kernel(subject, x, seed)
    if options and not isinstance(subject, (str, Kernel)):
        raise ConfigError(
            f"check_gradients requires options for a kernel only, got {', '.join(options)} for something else."
        )
    if isinstance(subject, Network) or _is_model(subject):
        point = subjects.network_point(subject, cast(ArrayLike | None, x), y, weights, seed)
        return NetworkCheck(subject, point, seed, names).report(perturbed)
    return _check_alone(subject, x, seed, names, options or {}, perturbed=perturbed)


def _as_kernel(subject: Subject, x: Arguments, seed: int) -> Subject:
    """Return the kernel of a CustomLoss, a CustomActivation or a pair of functions; anything else as it is."""
    own = make_loss(subject) if _is_loss(subject) else None
    if isinstance(own, CustomLoss):
        arrays = arguments(own.kernel, x, stream("check arguments", seed))
        require_reduction(own, arrays["y"], arrays["target"])
        return own.kernel
    if isinstance(subject, CustomActivation) or is_pair(subject):
        return getattr(make_activation(subject), "kernel", subject)
    return subject


def _check_alone(
    subject: Subject, x: Arguments, seed: int, names: list[str], options: Mapping[str, Any], *, perturbed: bool
) -> Report:
    """Return the report of a layer or a kernel."""
    if isinstance(subject, Layer):
        return SingleCheck(subject, [subjects.layer_problem(subject, x, seed)], seed, names).report(perturbed)
    if isinstance(subject, (str, Kernel)):
        kernel = find_kernel(subject)
        problems = subjects.kernel_problems(kernel, x, options, seed, perturbed=perturbed)
        every_option = {**kernel.options, **options}
        return SingleCheck(kernel, problems, seed, names, kernel.domain, every_option).report(perturbed)
    raise ConfigError(
        "check_gradients requires a Model, Network, Layer, Kernel or the name of a kernel, CustomLoss, CustomActivation or "
        "pair of functions, "
        f"got {subject!r}.{_hint(subject)}"
    )


def _hint(subject: object) -> str:
    if isinstance(subject, type):
        return " Make one: call it."
    return " A function belongs into a pair (forward, backward)." if callable(subject) else ""


def _is_model(subject: object) -> TypeGuard[TrainedNetwork]:
    """Tell a Model by its attributes: its module imports this package, so its class cannot be imported here."""
    return isinstance(getattr(subject, "network", None), Network) and hasattr(subject, "loss_and_gradients")


def _is_loss(subject: object) -> bool:
    """Tell whether something is a CustomLoss, or a pair of functions that can only be a loss."""
    return isinstance(subject, CustomLoss) or (is_pair(subject) and takes(subject[0], "a pair of functions") > 2)
