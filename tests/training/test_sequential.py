"""Sequential updates take the gradient through the new weights, in whatever form a layer keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers import Run
from bpengine.ops import Ops
from tests.tolerances import training_rtol


@dataclass
class Box:
    x: Any
    w: Any


FORMS = {
    "tuple": lambda x, w: (x, w),
    "dict": lambda x, w: {"x": x, "w": w},
    "list": lambda x, w: [x, [w]],
    "dataclass": Box,
    "transposed": lambda x, w: (x, w.T),
    "slice": lambda x, w: (x, w[:, :2], w[:, 2:]),
    "scaled": lambda x, w: (x, 2.0 * w, None, "text", 3),
}


@dataclass(frozen=True)
class Linear(bp.Layer):
    """y = x w, which keeps w in one of many forms."""

    units: int
    form: str

    def outputs(self, inputs: int) -> int:
        return self.units

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"weight": np.random.default_rng([inputs, 7]).standard_normal((inputs, self.units))}

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        return x @ params["weight"], FORMS[self.form](x, params["weight"]), running

    def backward(self, ops: Ops, res: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x = {"dict": lambda: res["x"], "dataclass": lambda: res.x}.get(self.form, lambda: res[0])()
        wt = {
            "tuple": lambda: res[1].T,
            "dict": lambda: res["w"].T,
            "list": lambda: res[1][0].T,
            "dataclass": lambda: res.w.T,
            "transposed": lambda: res[1],
            "slice": lambda: ops.xp.concat(res[1:], axis=1).T,
            "scaled": lambda: 0.5 * res[1].T,
        }[self.form]()
        return dy @ wt, {"weight": x.T @ dy}


@pytest.mark.parametrize("form", FORMS)
def test_sequential_updates_work_with_every_form_of_residual(
    form: str, backend_name: str, rng: np.random.Generator
) -> None:
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    own = bp.Network(3, [Linear(4, form), bp.Activation("tanh"), Linear(2, form)], "mean_squared_error")
    starts = [np.random.default_rng([n, 7]).standard_normal((n, units)) for n, units in ((3, 4), (4, 2))]
    layers = [
        bp.Dense(4, "tanh", bias=False, weight_init=starts[0]),
        bp.Dense(2, bias=False, weight_init=starts[1]),
    ]
    model, same = (
        bp.Model(network, backend_name, "float64") for network in (own, bp.Network(3, layers, "mean_squared_error"))
    )
    for m in (model, same):
        m.fit(x, y, optimizer=bp.SGD(0.1), steps=5, update="sequential")
    for ours, theirs in (("0.weight", "0.weight"), ("2.weight", "1.weight")):
        np.testing.assert_allclose(
            model.parameters[ours], same.parameters[theirs], rtol=training_rtol(float, 5), atol=1e-14
        )


@pytest.mark.parametrize("bias", ["column", "column-first"])
def test_sequential_updates_use_the_new_weight_also_where_it_holds_the_bias(
    bias: str, backend_name: str, rng: np.random.Generator
) -> None:
    """The weight without its bias row is a slice; it must be the new one, as it is for a bias of its own."""
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    starts = [np.random.default_rng(n).standard_normal((n + 1, units)) for n, units in ((3, 4), (4, 2))]
    last = bias == "column"
    parts = [(w[:-1], w[-1]) if last else (w[1:], w[0]) for w in starts]
    whole = bp.Network(
        3,
        [bp.Dense(4, "tanh", bias, weight_init=starts[0]), bp.Dense(2, bias=bias, weight_init=starts[1])],
        "mean_squared_error",
    )
    apart = bp.Network(
        3,
        [
            bp.Dense(units, bend, weight_init=w, bias_init=b)
            for units, bend, (w, b) in zip((4, 2), ("tanh", "identity"), parts, strict=True)
        ],
        "mean_squared_error",
    )
    losses = [
        bp.Model(n, backend_name, "float64").fit(x, y, optimizer=bp.SGD(0.1), steps=5, update="sequential").loss
        for n in (whole, apart)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=training_rtol(float, 5))


def test_opaque_residual_is_refused(backend_name: str, rng: np.random.Generator) -> None:
    class Closed(bp.Layer):
        def init(self, rng: np.random.Generator, inputs: int) -> Any:
            return {"gain": np.ones(inputs)}

        def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
            gain = params["gain"]
            return x * gain, lambda dy: (dy * gain, {"gain": ops.xp.sum(dy * x, axis=0)}), running

        def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            return residual(dy)

    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    model = bp.Model(bp.Network(3, [Closed(), bp.Dense(2)], "mean_squared_error"), backend_name)
    before = model.parameters
    with pytest.raises(bp.ConfigError, match=r"layer 0 \(Closed\) to keep its residual in tuples.*got function"):
        model.fit(x, y, steps=1, update="sequential")
    assert all((model.parameters[name] == value).all() for name, value in before.items())
    assert model.fit(x, y, steps=3).steps == 3
