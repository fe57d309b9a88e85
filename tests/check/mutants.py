"""Broken backwards: every way to get a kernel wrong that people get kernels wrong, alone and in a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.check import Report, check_gradients
from bpengine.kernels import KERNELS, Kernel
from tests.kernels.kernel_samples import Case

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
    made: Broken = type("Here", (Broken,), {"mutant": mutant})("float64")
    return made


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
