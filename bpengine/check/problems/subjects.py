"""Turn a user's subject (a model, network, layer or kernel) into a Problem, or refuse it with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine import data
from bpengine.backend import ArrayLike, Backend, HostArray, get_backend
from bpengine.check.intercept import bound
from bpengine.check.problems import kernel_calls, layerwise
from bpengine.check.problems.kernel_calls import Arguments
from bpengine.check.problems.problem import Problem, counter, of_layer, of_network
from bpengine.errors import ConfigError, DataError, NonFiniteError, ShapeError, unknown
from bpengine.kernels import Kernel
from bpengine.kernels._contract import NamedErrors
from bpengine.layers import Dense, Layer
from bpengine.layers.chain import LayerStep
from bpengine.layers.contract import of_shape, run_forward
from bpengine.layers.layer import HostArrays, Run
from bpengine.losses import CustomLoss
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork, input_names
from bpengine.training.nonfinite import first_bad
from bpengine.training.reduction import require_reduction
from bpengine.training.rows import Rows, check_rows, model_rows

WHO = "check_gradients"


@dataclass(frozen=True, kw_only=True)
class NetworkPoint:
    """A network at its parameters and the rows of the check, for its layers and for the model itself."""

    network: Network
    params: HostArrays
    running: HostArrays
    rows: Rows
    seed: int
    ops: Ops
    input_names: tuple[str, ...] = ()

    def layer_steps(self) -> tuple[list[LayerStep], list[Any]]:
        """Return the step layer by layer and the gradient at every layer's output; refuse a layer with wrong shapes."""
        with Quiet():
            steps = layerwise.layer_steps(self.network, self.ops, self.params, self.running, self.rows, self.seed)
            dy = layerwise.loss_cotangent(self.network, self.ops, self.params, steps[-1].y, self.rows)
            return steps, layerwise.cotangents(steps, self.ops, dy)


def network_point(
    subject: Network | TrainedNetwork, x: ArrayLike | None, y: ArrayLike | None, weights: ArrayLike | None, seed: int
) -> NetworkPoint:
    """Return a model's or a network's point in float64; a float32 model sees its rows rounded to float32, as in training."""
    network, model = (subject, None) if isinstance(subject, Network) else (subject.network, subject)
    if x is None or y is None:
        missing = "x, the inputs" if x is None else "y, the targets"
        raise ConfigError(f"{WHO} requires {missing}, for a network, got None. Give rows of inputs and their targets.")
    params, running = (model.parameters, model.running) if model else network.init(seed)
    if not params:
        raise ConfigError(
            f"{WHO} requires at least one trainable parameter, got a network without any. Add a Dense layer."
        )
    rows = model_rows(model, x, y, weights) if model else check_rows(network, x, y, weights, dtype="float64")
    if model and model.dtype == "float32":
        rows = Rows(*(a if a is None or a.dtype.kind != "f" else np.asarray(a, dtype=np.float32) for a in rows))
    ops = _float64_ops(model.backend) if model else Ops(np)
    return NetworkPoint(
        network=network,
        params=_doubles(params),
        running=_doubles(running),
        rows=rows,
        seed=model.seed if model else seed,
        ops=ops,
        input_names=tuple(input_names(model, ())) if model else (),
    )


def network_problem(point: NetworkPoint, title: str) -> Problem:
    """Return the problem of a network; raise NonFiniteError where the loss is not finite, naming the first such number."""
    network, ops = point.network, point.ops
    problem = of_network(network, ops, point.params, point.running, point.rows, point.seed, title)
    problem = replace(problem, input_names=point.input_names)
    steps, _ = point.layer_steps()
    if isinstance(network.loss, CustomLoss):
        require_reduction(network.loss, steps[-1].y, layerwise.targets(point.rows)[0])
    if not np.isfinite(problem.value(Ops(np), problem.at)):
        raise NonFiniteError(
            f"{WHO} requires a finite loss at the point, got {_why(point)}. Scale the data or the weights."
        )
    return problem


def layer_problem(layer: Layer, x: Arguments, seed: int) -> Problem:
    """Return the problem of a layer with its initial parameters, the input x and a random cotangent."""
    if x is None:
        raise ConfigError(f"{WHO} requires x, the input (rows, features), for a layer, got None.")
    features = np.asarray(x)
    features = np.asarray(data.check_features(x, features.shape[1] if features.ndim == 2 else 1), dtype=np.float64)
    rng, inputs = stream("check arguments", seed), features.shape[1]
    initial = layer.init(rng, inputs)
    # as in a network, a tied layer uses the weight of another layer
    if isinstance(layer, Dense) and layer.tie is not None:
        initial = {"weight": layer.tie.init(rng, layer.units)["weight"], **initial}
    params = _doubles(initial, f"layer {type(layer).__name__} requires")
    running, run = _doubles(layer.init_running(inputs)), Run(True, counter(np, seed), "0")
    ops = Ops(np)
    with Quiet():
        y, residual, seen = run_forward(layer, ops, params, running, features, run)
        dy = rng.standard_normal(np.shape(y))
        step = LayerStep(
            layer=layer, params=params, running=running, run=run, x=features, y=y, residual=residual, seen=seen
        )
        layerwise.cotangents([step], ops, dy)  # raises where shapes are wrong
    return _finite(of_layer(layer, ops, features, params, dy, running, run))


def kernel_problems(
    kernel: Kernel, x: Arguments, options: Mapping[str, Any], seed: int, *, perturbed: bool = True
) -> list[Problem]:
    """Return the problem of a kernel and, where it has options that can be changed, a second one with changed options."""
    problem = kernel_problem(kernel, x, options, seed)
    chosen = {**kernel.options, **options}
    moved = moved_options(chosen)
    if not perturbed or moved == chosen:
        return [problem]
    changed = {name: value for name, value in moved.items() if name in options or value != chosen[name]}
    try:
        return [problem, kernel_problem(kernel, x, changed, seed)]
    except Exception:  # an option must not be so small: the kernel is checked with the given options only
        return [problem]


def moved_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a kernel's options with every number reduced, and 0 replaced by a quarter."""
    return {n: (0.7 * v if v else 0.25) if isinstance(v, float) else v for n, v in options.items()}


def kernel_problem(subject: str | Kernel, x: Arguments, options: Mapping[str, Any], seed: int) -> Problem:
    """Return the problem of a kernel with the given or sampled arguments and a random cotangent."""
    kernel, rng, ops = kernel_calls.find_kernel(subject), stream("check arguments", seed), Ops(np)
    arrays = kernel_calls.arguments(kernel, x, rng)
    for option in options:
        if option not in kernel.options:
            raise unknown(f"option of kernel {kernel.name!r}:", option, kernel.options or ["none"])
    with NamedErrors(f"kernel {kernel.name!r}", "forward"):
        y, residual = bound(ops, kernel, "forward")(*arrays.values(), **options)
    dy = rng.standard_normal(np.shape(y))
    with NamedErrors(f"kernel {kernel.name!r}", "backward"):
        result = bound(ops, kernel, "backward")(residual, dy)
    for name, value in kernel_calls.named_gradients(kernel, result).items():
        if np.shape(value) != arrays[name].shape:
            wanted = of_shape(name, np.asarray(value), arrays[name].shape)
            raise ShapeError(f"kernel {kernel.name!r} requires {wanted}")
    return _finite(of_kernel_named(kernel, ops, arrays, options, dy))


def of_kernel_named(kernel: Kernel, ops: Ops, arrays: HostArrays, options: Mapping[str, Any], dy: HostArray) -> Problem:
    """Return the problem of a kernel, its options in the title."""
    problem = kernel_calls.of_kernel(kernel, ops, arrays, options, dy)
    chosen = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return replace(problem, title=f"{problem.title}({chosen})") if chosen else problem


def _finite(problem: Problem) -> Problem:
    value = problem.value(Ops(np), problem.at)
    if not np.isfinite(value):
        raise NonFiniteError(f"{WHO} requires a finite value at the point, got {value}. Give other inputs.")
    return problem


def _float64_ops(backend: Backend) -> Ops:
    """Return the ops of the same NumPy backend in float64, with its replacements; plain NumPy's for any other."""
    return type(backend)("float64").ops() if backend.xp is np else Ops(np)


def _doubles(arrays: Mapping[str, Any], who: str = f"{WHO} requires") -> HostArrays:
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind != "f":
            raise DataError(
                f"{who} parameters of floating-point numbers, got {name!r} of {np.asarray(array).dtype}. "
                "Nothing can be differentiated by whole numbers; make it float64."
            )
    return {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}


def _why(point: NetworkPoint) -> str:
    state = {"params": point.params, "running": point.running, "counter": counter(np, point.seed)}
    pairs = zip(point.rows.arrays, point.rows.dtypes("float64"), strict=True)
    rows = tuple(np.asarray(a, dtype=d) for a, d in pairs)
    return first_bad(point.network, get_backend("numpy", precision="float64"), state, rows) or "one that is not"
