"""Broken backwards: every way to get a kernel wrong that people get kernels wrong, alone and in a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import numpy as np
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.check import Report, check_gradients
from bpengine.kernels import KERNELS, Kernel
from tests.kernels.kernel_samples import Case, as_tuple

BATCH = 4
QUICK = ("inner products", "differences")
ENCODER = bp.Dense(4, "tanh")
LAYERS = {
    "dense": [bp.Dense(4)],
    "dense_no_bias": [bp.Dense(4, bias=False)],
    "dense_bias_column": [bp.Dense(4, bias="column")],
    "dense_transposed": [ENCODER, bp.Dense(4, tie=ENCODER)],
    "dense_transposed_no_bias": [ENCODER, bp.Dense(4, bias=False, tie=ENCODER)],
    "dropout": [bp.Dropout(0.4)],
    "batch_norm": [bp.BatchNorm(), bp.Activation("tanh")],
    "layer_norm": [bp.LayerNorm(), bp.Activation("tanh")],
    "add": [bp.Residual([bp.Dense(4, "tanh")])],
}
NOT_IN_TRAINING = ("batch_norm_inference", "divide")  # what no layer calls there


def lost_term(d: Any) -> Any:
    broken = np.array(d)
    broken.flat[int(np.argmax(np.round(np.abs(d), 8)))] = 0.0  # rounding must not decide which of equal ones
    return broken


WAYS: dict[str, Callable[[Any], Any]] = {
    "a factor 2": lambda d: 2.0 * d,
    "a sign": lambda d: -d,
    "a lost term": lost_term,
    "a wrong axis": lambda d: np.broadcast_to(np.sum(d, axis=-1, keepdims=True), d.shape),
    "a dropped mean": lambda d: BATCH * d,
    "transposed": lambda d: d.T if d.ndim == 2 and d.shape[0] == d.shape[1] else d,
}


@dataclass
class Mutant:
    """One kernel with one gradient broken in one way; `alive` once that changed a number."""

    kernel: str
    argument: int
    way: str
    alive: bool = False

    @property
    def row(self) -> Kernel:
        return KERNELS[self.kernel]

    @property
    def gradient(self) -> str:
        return f"d{self.row.differentiable[self.argument]}"

    @property
    def id(self) -> str:
        return f"{self.kernel}-{self.gradient}-{self.way}"

    def broken(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*args: Any, **options: Any) -> Any:
            result = backward(*args, **options)
            parts = list(result) if isinstance(result, tuple) else [result]
            if parts[self.argument] is not None:
                right, parts[self.argument] = parts[self.argument], WAYS[self.way](parts[self.argument])
                self.alive |= not np.allclose(right, parts[self.argument], rtol=1e-3, atol=0)
            return tuple(parts) if isinstance(result, tuple) else parts[0]

        wrong.__name__ = backward.__name__ if hasattr(backward, "__name__") else f"{self.kernel}_bwd"
        return wrong

    def escaped(self, report: Report) -> str | None:
        """Return in what way a report fails to catch and name this mutant; None when it is caught."""
        guilty = report.guilty
        if not self.alive:
            return "it breaks nothing"
        if report.passed or guilty is None:
            return "the check passed" if report.passed else "no kernel was found guilty"
        named = (guilty.function, guilty.argument)
        return None if named == (f"{self.kernel}_bwd", self.gradient) else f"guilty was found {named}"


def mutants(*, trained: bool = False) -> Iterator[Mutant]:
    """Return every mutant; with `trained`, those that a network meets in training."""
    for kernel in KERNELS.values():
        for argument in range(len(kernel.differentiable)):
            for way in WAYS:
                if way == "transposed" and not square(kernel, kernel.differentiable[argument]):
                    continue
                if not (trained and kernel.name in NOT_IN_TRAINING):
                    yield Mutant(kernel.name, argument, way)


def square(kernel: Kernel, argument: str) -> bool:
    """Tell whether an argument is a matrix that is square when all dimensions are equal."""
    shape = kernel.shapes[argument]
    return len(shape) == 2 and not any("+" in str(d) for d in shape)


def check_alone(mutant: Mutant, oracles: Any = QUICK) -> Report:
    """Check the broken kernel by itself, on square matrices."""
    right = mutant.row.backward
    assert right
    arrays = Case(mutant.row, {}, optional=True).arguments(np.random.default_rng(0), {"B": BATCH, "I": 4, "O": 4})
    return check_gradients(replace(mutant.row, backward=mutant.broken(right)), arrays, oracles=oracles)


def check_in_network(mutant: Mutant, oracles: Any = QUICK) -> Report:
    """Check a network that trains on a backend with the broken kernel."""
    broken = model(mutant)
    return check_gradients(broken, *data(broken), oracles=oracles)


class Broken(NumpyBackend):
    """NumPy with one kernel's backward replaced by a wrong one."""

    mutant: Mutant

    def replacements(self) -> Any:
        right = self.mutant.row.backward
        assert right
        return {right.__name__: self.mutant.broken(lambda *a, **o: right(np, *a, **o))}


def backend(mutant: Mutant) -> Broken:
    broken: Broken = type("Here", (Broken,), {"mutant": mutant})("float64")
    return broken


def model(mutant: Mutant) -> bp.Model:
    """Return a small network that has the kernel in its middle, or at its end, on the broken backend."""
    kernel = mutant.row
    middle = LAYERS.get(kernel.name, [bp.Activation(kernel.name)] if kernel.kind == "activation" else [])
    loss = kernel.name if kernel.kind == "loss" else "half_sum_squares"
    last = {"probabilities": "softmax" if kernel.target == "classes" else "sigmoid"}
    end = last.get(kernel.output, "identity") if kernel.kind == "loss" else "identity"
    penalties = {"l1": [bp.L1(0.5)], "l2": [bp.L2(0.5)]}.get(kernel.name, [])
    layers = [bp.Dense(4, bias=kernel.name != "dense"), *middle, bp.Dense(4, end, bias=False)]
    if kernel.name in ("dense", "dense_no_bias"):
        layers = [*middle, bp.Activation("tanh"), bp.Dense(4, bias=kernel.name == "dense")]
    return bp.Model(bp.Network(4, layers, loss, penalties), backend(mutant), "float64", seed=3)


def data(model: bp.Model) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(BATCH, 4))
    kinds = {"values": rng.normal(size=(BATCH, 4)), "classes": np.array([0, 1, 3, 1])}
    return x, kinds.get(model.network.loss.target, (rng.random((BATCH, 4)) < 0.5).astype(float))


@dataclass
class Forgetful:
    """A kernel whose backward takes one argument or option for its special value, 0 or 1: right there and wrong elsewhere."""

    kernel: str
    parameter: str
    value: float
    alive: bool = False

    @property
    def row(self) -> Kernel:
        return KERNELS[self.kernel]

    @property
    def id(self) -> str:
        return f"{self.kernel}-{self.parameter} taken for {self.value:g}"

    def broken(self) -> Kernel:
        """Return the kernel with both residuals kept: the right one, to see whether the mutant differs, and its own."""
        right, backward = self.row.forward, self.row.backward
        assert backward

        @wraps(right)  # a kernel's arguments are read from its signature
        def forward(xp: Any, *args: Any, **options: Any) -> Any:
            y, residual = right(xp, *args, **options)
            return y, (residual, right(xp, *self._special(xp, args, options), **self._options(options))[1])

        def forgetful(xp: Any, residuals: Any, dy: Any) -> Any:
            true, taken = (backward(xp, residual, dy) for residual in residuals)
            pairs = zip(as_tuple(true), as_tuple(taken), strict=True)
            self.alive |= any(not np.allclose(a, b, rtol=1e-3, atol=0) for a, b in pairs)
            return taken

        forgetful.__name__ = backward.__name__
        return replace(self.row, forward=forward, backward=forgetful)

    def _special(self, xp: Any, args: tuple[Any, ...], options: Any) -> list[Any]:
        names = self.row.arguments
        return [self.value * xp.ones_like(a) if n == self.parameter else a for n, a in zip(names, args, strict=False)]

    def _options(self, options: Any) -> Any:
        return {**options, self.parameter: self.value} if self.parameter in self.row.options else options

    def arguments(self) -> tuple[Any, Any]:
        """Return arguments and options at the special value."""
        rng = np.random.default_rng(0)
        arrays = Case(self.row, {}, optional=True).arguments(rng, {"B": BATCH, "I": 4, "O": 3})
        special = {n: np.full_like(a, self.value) if n == self.parameter else a for n, a in arrays.items()}
        return special, {self.parameter: self.value} if self.parameter in self.row.options else {}

    def escaped(self, report: Report) -> str | None:
        """Return in what way a report fails to catch and name this mutant; None when it is caught."""
        guilty = report.guilty
        if not self.alive:
            return "it breaks nothing"
        if report.passed or guilty is None:
            return "the check passed" if report.passed else "no kernel was found guilty"
        if not (report.verdict().startswith("FAILED at the perturbed point only") or "nearby point" in guilty.words):
            return "it is not told that it fails at the perturbed point only, or beside a kink"
        return None if guilty.function == f"{self.kernel}_bwd" else f"guilty was found {guilty}"


def forgetful_mutants() -> Iterator[Forgetful]:
    """Return every one for which a function exists at the special value, and whose gradient depends on the parameter."""
    for kernel in KERNELS.values():
        numbers = [name for name, value in kernel.options.items() if isinstance(value, float)]
        for parameter in (*kernel.differentiable, *numbers):
            for value in (0.0, 1.0):
                mutant = Forgetful(kernel.name, parameter, value)
                if kernel.backward and _matters(mutant):
                    yield mutant


def _matters(mutant: Forgetful) -> bool:
    """Tell whether the function is finite at the special value, and the mutant another one elsewhere."""
    if (mutant.parameter, mutant.value) == ("rate", 1.0):
        return False  # no dropout rate is 1
    if (mutant.kernel, mutant.parameter) == ("hard_sigmoid", "x"):
        return False  # one line from -3 to 3: around 0 and 1 it is right that its slope does not depend on x
    probe, (arrays, options) = replace(mutant), mutant.arguments()
    elsewhere = Case(mutant.row, {}, optional=True).arguments(np.random.default_rng(1), {"B": BATCH, "I": 4, "O": 3})
    moved = {n: elsewhere[n] if n == mutant.parameter else a for n, a in arrays.items()}
    kernel, finite = probe.broken(), True
    assert kernel.backward
    for at, chosen in ((moved, dict.fromkeys(options, 0.6)), (arrays, options)):
        with np.errstate(all="ignore"):
            y, residual = kernel.forward(np, *at.values(), **chosen)
            gradients = as_tuple(kernel.backward(np, residual, np.ones_like(y)))
        finite &= all(bool(np.all(np.isfinite(part))) for part in (y, *gradients))
    return probe.alive and finite


def check_forgetful(mutant: Forgetful, oracles: Any = QUICK) -> Report:
    """Check a forgetful kernel at the special value of what it forgets."""
    arrays, options = mutant.arguments()
    return check_gradients(mutant.broken(), arrays, options=options, oracles=oracles)


@dataclass(frozen=True)
class Forgets(bp.Layer):
    """A layer whose backward takes one parameter for the special value that it starts at."""

    layer: bp.Layer
    parameter: str
    value: float

    def outputs(self, inputs: int) -> int:
        return self.layer.outputs(inputs)

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        params = self.layer.init(rng, inputs)
        return {**params, self.parameter: np.full_like(params[self.parameter], self.value)}

    def init_running(self, inputs: int) -> Any:
        return self.layer.init_running(inputs)

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        y, _, seen = self.layer.forward(ops, params, running, x, run)
        taken = {**params, self.parameter: self.value * ops.xp.ones_like(params[self.parameter])}
        return y, self.layer.forward(ops, taken, running, x, run)[1], seen

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return self.layer.backward(ops, residual, dy, need_dx=need_dx)


@dataclass(frozen=True)
class Curve(bp.Layer):
    """y = gain tanh(x rate + shift): a layer of one's own with every kind of parameter that starts at 0 or 1."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"gain": np.ones(inputs), "rate": np.ones(1), "shift": np.zeros(inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        bent = ops.xp.tanh(x * params["rate"] + params["shift"])
        return params["gain"] * bent, (x, bent, params["gain"], params["rate"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        xp, (x, bent, gain, rate) = ops.xp, residual
        dz = dy * gain * (1.0 - bent * bent)
        sums = {
            "gain": xp.sum(dy * bent, axis=0),
            "rate": xp.sum(dz * x, keepdims=True)[0],
            "shift": xp.sum(dz, axis=0),
        }
        return dz * rate, sums


FORGETS = [
    *[Forgets(Curve(), name, value) for name, value in (("gain", 1.0), ("gain", 0.0), ("rate", 1.0), ("shift", 0.0))],
    *[Forgets(layer, "gamma", value) for layer in (bp.BatchNorm(), bp.LayerNorm()) for value in (1.0, 0.0)],
    *[Forgets(bp.Dense(4, "tanh"), name, value) for name, value in (("weight", 0.0), ("weight", 1.0), ("bias", 0.0))],
    Forgets(bp.Dense(4, bias=False), "weight", 1.0),
    Forgets(bp.Dense(4, bias="column"), "weight", 0.0),
    Forgets(bp.Residual([bp.Dense(4, "tanh")]), "0.bias", 0.0),
    Forgets(bp.Residual([bp.Dense(4, "tanh"), bp.LayerNorm()]), "1.gamma", 1.0),
]


def layer_escaped(report: Report) -> str | None:
    """Return in what way a report fails to catch and name a forgetful layer; None when it is caught."""
    if report.passed or report.guilty is None:
        return "the check passed" if report.passed else "no layer was found guilty"
    if not report.verdict().startswith("FAILED at the perturbed point only"):
        return "it is not told that it fails at the perturbed point only"
    return None if report.guilty.function == "Forgets.backward" else f"guilty was found {report.guilty}"


def check_forgets(layer: Forgets, oracles: Any = QUICK) -> Report:
    """Check a forgetful layer by itself."""
    return check_gradients(layer, np.random.default_rng(2).normal(size=(BATCH, 4)), oracles=oracles)


def check_forgets_in_network(layer: Forgets, oracles: Any = QUICK) -> Report:
    """Check a network with a forgetful layer in its middle."""
    rng = np.random.default_rng(1)
    network = bp.Network(4, [bp.Dense(4, "tanh"), layer, bp.Activation("tanh"), bp.Dense(2)], "half_sum_squares")
    x, y = rng.normal(size=(BATCH + 2, 4)), rng.normal(size=(BATCH + 2, 2))
    return check_gradients(bp.Model(network, dtype="float64", seed=3), x, y, oracles=oracles)
