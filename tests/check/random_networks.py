"""Random networks, with every kind of layer, activation, loss, reduction and penalty, and rows for them.

This is the one description of what a random network is: the property tests and `tests.sweep` draw from it. Networks are
built from Hypothesis' draws, so that a failing one shrinks to a small one; the numbers come from a seed, so that what is
printed can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from bpengine.layers.chain import sizes
from bpengine.layers.dense import BIASES
from bpengine.layers.layer import Run
from bpengine.losses import LOSSES
from bpengine.ops import Ops

Maker = Callable[[int], bp.Layer]  # makes a layer for the number of features that reaches it
SPECIAL = ("zero biases and unit gains", "a perfect fit", "all zero", "all one", "zero inputs", "equal rows")


@dataclass(frozen=True)
class Sample:
    """A network, and what its rows are drawn from; the simplest is one row of one number."""

    network: bp.Network
    rows: int = 1
    weighted: bool = False
    soft: bool = False  # targets anywhere between 0 and 1; classes as rows of zeros with a one
    seed: int = 0
    special: str | None = None  # one of SPECIAL: values at which much is 0, 1, equal, or on a kink

    def data(self) -> tuple[Any, Any, Any]:
        """Return x with some zeros and at times a row of them, targets, and weights with some zeros, or None.

        Of the simplest sample, seed 0, the number of x is none of the zeros.
        """
        rng, shape = np.random.default_rng([self.seed, 1]), (self.rows, self.network.outputs)
        x = rng.normal(size=(self.rows, self.network.inputs))
        x *= (rng.random(x.shape) > 0.2) & (rng.random((self.rows, 1)) > 0.05)
        shares, labels = rng.random(shape), rng.integers(0, shape[1], self.rows)
        targets = {
            "values": rng.normal(size=shape),
            "binary": shares if self.soft else np.round(shares),
            "classes": np.eye(shape[1])[labels] if self.soft and shape[1] > 1 else labels,
        }
        weights = rng.uniform(0.1, 2.0, self.rows) * (np.arange(self.rows) % 4 != 3)
        x = {"zero inputs": 0.0 * x, "equal rows": np.broadcast_to(x[:1], x.shape)}.get(str(self.special), x)
        y = targets[self.network.loss.target]
        return x, self._fitted(x, y) if self.special == "a perfect fit" else y, weights if self.weighted else None

    def model(self, backend: str | bp.Backend = "numpy", dtype: str = "float64") -> bp.Model:
        """Return the network with its parameters."""
        model = bp.Model(self.network, backend, dtype, self.seed)
        model.parameters = {name: self._value(name, array) for name, array in model.parameters.items()}
        return model

    def _value(self, name: str, array: Any) -> Any:
        """Return a parameter with its special values."""
        if self.special in ("all zero", "all one"):
            return np.full_like(array, float(self.special == "all one"))
        start = {"bias": 0.0, "beta": 0.0, "gamma": 1.0}.get(name.rpartition(".")[2])
        return array if start is None or self.special != SPECIAL[0] else np.full_like(array, start)

    def _fitted(self, x: Any, y: Any) -> Any:
        """Return the targets that the network's own outputs in training are, as near as there are such."""
        model = self.model()
        run = Run(True, np.array([self.seed % 2**32, 0], dtype=np.uint32))
        out = self.network.forward(Ops(np), model.parameters, model.running, np.asarray(x, dtype=np.float64), run).y
        if self.network.loss.target == "classes":
            return np.argmax(out, axis=1)
        if self.network.loss.target == "values":
            return out
        link = self.network.loss.link
        return np.clip(Ops(np).forward(link)(out)[0] if link else out, 0.0, 1.0)


def from_table(make: Any, names: Sequence[str]) -> list[Any]:
    """Return one object for each kernel named and each variant that its row says is worth testing."""
    return [make(name, **options) for name in names for options in KERNELS[name].variants]


BENT = from_table(bp.Activation, [name for name in ACTIVATIONS if KERNELS[name].backward])
REDUCED = from_table(bp.Loss, LOSSES)
SIZES = st.integers(1, 6)
EPS = st.sampled_from([1e-5, 1e-3])


def denses(ends: Sequence[bp.Activation] = BENT) -> st.SearchStrategy[Callable[[int], bp.Dense]]:
    """Return dense layers that lack only the number of units."""
    weights = st.sampled_from(["auto", "zeros", "normal", "orthogonal", "uniform"])
    options = st.tuples(
        st.sampled_from(ends), st.sampled_from([True, False, *BIASES]), weights, st.sampled_from(["zeros", "uniform"])
    )
    return options.map(
        lambda chosen: lambda units: bp.Dense(units, *chosen[:2], weight_init=chosen[2], bias_init=chosen[3])
    )


def any_size(layers: st.SearchStrategy[bp.Layer]) -> st.SearchStrategy[Maker]:
    return layers.map(lambda layer: lambda size: layer)


def chain(makers: Sequence[Maker], size: int) -> list[bp.Layer]:
    layers = list[bp.Layer]()
    for make in makers:
        layers.append(make(size))
        size = layers[-1].outputs(size)
    return layers


PLAIN = st.one_of(
    any_size(st.builds(lambda dense, units: dense(units), denses(), SIZES)),
    any_size(st.sampled_from(BENT)),
    any_size(EPS.map(bp.LayerNorm)),
    any_size(st.builds(bp.BatchNorm, EPS, st.sampled_from([0.9, 0.0]))),
    any_size(st.sampled_from([0.3, 0.8, 0.0]).map(bp.Dropout)),
)
RESIDUAL = st.tuples(st.lists(PLAIN, max_size=2), denses()).map(
    lambda inner: lambda size: bp.Residual([*chain(inner[0], size), inner[1](size)])
)
HIDDEN = st.lists(PLAIN | RESIDUAL, max_size=4)
PENALTIES = st.lists(
    st.tuples(st.sampled_from([bp.L2, bp.L1]), st.sampled_from([0.1, 0.01, 0.0]), st.booleans()).map(
        lambda chosen: chosen[0](*chosen[1:])
    ),
    max_size=2,
)


@cache
def ends(wanted: str) -> st.SearchStrategy[Callable[[int], bp.Dense]]:
    """Return the last layers that fit a loss on "any" outputs, "probabilities" or "scores"."""
    probable = {bent.name: KERNELS[bent.name].output == "probabilities" for bent in BENT}
    return denses([bent for bent in BENT if wanted == "any" or probable[bent.name] == (wanted == "probabilities")])


@st.composite
def networks(draw: st.DrawFn, losses: Sequence[bp.Loss]) -> bp.Network:
    inputs, hidden, loss = draw(SIZES), draw(HIDDEN), draw(st.sampled_from(losses))
    layers = chain(hidden, inputs)
    layers += draw(shared(layers, inputs))
    last = draw(ends(loss.kernel.output))(draw(SIZES))
    return bp.Network(inputs, [*layers, last], loss, draw(PENALTIES))


@st.composite
def shared(draw: st.DrawFn, layers: Sequence[bp.Layer], inputs: int) -> list[bp.Layer]:
    """Return nothing, or what ends in one of the layers given, or a dense layer and one tied to it."""
    *each, end = sizes(layers, inputs)
    kind = draw(st.sampled_from(["nothing", "again", "tied"]))
    if kind == "tied":
        encoder = bp.Dense(draw(SIZES), draw(st.sampled_from(BENT)), draw(st.booleans()))
        return [encoder, bp.Dense(end, draw(st.sampled_from(BENT)), draw(st.booleans()), tie=encoder)]
    if kind == "nothing" or not layers:
        return []
    layer, size = draw(st.sampled_from(list(zip(layers, each, strict=True))))
    return [layer] if size == end else [draw(denses())(size), layer]


def samples(losses: Sequence[bp.Loss] = REDUCED) -> st.SearchStrategy[Sample]:
    return st.builds(
        Sample, networks(losses), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)
    )
