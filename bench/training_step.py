"""What the checks of the layers' contract cost a training step: microseconds with them and without, side by side.

    python bench/training_step.py [--backends numpy,jax] [--rounds 15] [--steps 400]

"numpy" is timed as its kernels are written and, with the extra `fast`, compiled. Each network is trained twice: with what
the engine looks at in every layer and loss (shapes, dtypes, names, arguments unchanged), and with that taken out. The two
take turns; the figures are medians of the rounds, and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

import bpengine as bp
from bpengine.layers import contract
from bpengine.layers.layer import Layer

RULE = bp.SGD(0.01)


@dataclass(frozen=True)
class Gain(bp.Layer):
    """A layer of one's own: y = gain * x."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        """Start with factors of 1."""
        return {"gain": np.ones(inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        """Scale every feature."""
        return x * params["gain"], (x, params["gain"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        """Return the gradients of the input and of the factors."""
        x, gain = residual
        return dy * gain, {"gain": ops.xp.sum(dy * x, axis=0)}


@dataclass(frozen=True)
class Case:
    """A network, with or without layers of one's own, and the rows of a step."""

    sizes: tuple[int, ...]
    rows: int
    own: bool

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.rows} rows{', two own layers' * self.own}"

    def network(self) -> bp.Network:
        """Return the network."""
        inputs, *hidden, outputs = self.sizes
        layers = list[bp.Layer]()
        for units in hidden:
            layers += [bp.Dense(units, "relu"), Gain()] if self.own else [bp.Dense(units, "relu")]
        return bp.Network(inputs, [*layers, bp.Dense(outputs)], "mean_squared_error")


SIZES = (((64, 64, 64, 10), 32), ((784, 512, 256, 10), 128))
CASES = [Case(sizes, rows, own) for sizes, rows in SIZES for own in (False, True)]


@contextmanager
def believed() -> Iterator[None]:
    """Take out what the engine looks at: layers are run as if their results could be trusted."""

    def forward(layer: Layer, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return layer.forward(ops, params, running, x, run)

    def backward(layer: Layer, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return layer.backward(ops, residual, dy, need_dx=need_dx)

    with (
        patch("bpengine.layers.chain.run_forward", forward),
        patch("bpengine.layers.chain.run_backward", backward),
        patch.object(contract, "run_forward", forward),
        patch.object(contract, "run_backward", backward),
    ):
        yield


class Contender:
    """A model and its rows, trained a round at a time."""

    def __init__(self, case: Case, backend: Any, steps: int) -> None:
        self.model, self.steps = bp.Model(case.network(), backend=backend, seed=0), steps
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(case.rows * steps, case.sizes[0])).astype(np.float32)
        self.y = rng.normal(size=(case.rows * steps, case.sizes[-1])).astype(np.float32)
        self.rows = case.rows

    def round(self) -> float:
        """Train an epoch; return the microseconds of a step."""
        began = time.perf_counter()
        self.model.fit(self.x, self.y, epochs=1, batch_size=self.rows, optimizer=RULE, shuffle=False)
        return (time.perf_counter() - began) / self.steps * 1e6


def backends(names: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (what it is called, a backend for each of the two contenders)."""
    for name in names.split(","):
        pair = [bp.get_backend(name) for _ in range(2)]
        if getattr(pair[0], "_compiled", None):
            for word, patience in (("as written", float("inf")), ("compiled", float("-inf"))):
                pair = [bp.get_backend(name) for _ in range(2)]
                for backend in pair:
                    backend._compiled._patience = patience
                yield f"{name}, {word}", *pair
        else:
            yield name, *pair


def main() -> None:
    """Time every case on every backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="numpy,jax")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    print(f"{'microseconds of a step':<42}{'backend':<20}{'with':>9}{'without':>9}{'ratio':>8}")
    for case in CASES:
        for name, ours, other in backends(args.backends):
            checked, trusted = Contender(case, ours, args.steps), Contender(case, other, args.steps)
            checked.round()
            with believed():
                trusted.round()
            times = []
            for _ in range(args.rounds):
                first = checked.round()
                with believed():
                    times.append((first, trusted.round()))
            middle = [statistics.median(column) for column in zip(*times, strict=True)]
            ratio = statistics.median(a / b for a, b in times)
            print(f"{case!s:<42}{name:<20}{middle[0]:>9.1f}{middle[1]:>9.1f}{ratio:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
