"""What cannot be checked is refused, and the message says what is required, what was given, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.check import check_gradients
from bpengine.kernels import KERNELS
from tests.not_finite import put

NET = bp.Network(3, [bp.Dense(2, "tanh"), bp.Dense(2)], "mean_squared_error")
X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.ones((4, 2))


@dataclass(frozen=True)
class Bad(bp.Layer):
    """A layer that scales by a parameter, and gives back whatever it is told to."""

    gives: Any = None
    start: Any = 1.0

    def init(self, rng: Any, inputs: int) -> Any:
        return {"scale": np.full(inputs, self.start)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x * params["scale"], x, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return self.gives(dy)


def test_subject_without_parameters_is_refused() -> None:
    network = bp.Network(3, [bp.Activation("tanh"), bp.Dropout(0.5)], "mean_squared_error")
    for subject in (network, bp.Model(network)):
        with pytest.raises(
            bp.ConfigError, match="requires at least one trainable parameter, got a network without any"
        ):
            check_gradients(subject, X, X)


@pytest.mark.parametrize(("x", "y", "missing"), [(X, None, "y, the targets"), (None, Y, "x, the inputs")])
def test_missing_rows_are_refused(x: Any, y: Any, missing: str) -> None:
    with pytest.raises(bp.ConfigError, match=f"check_gradients requires {missing}, for a network, got None"):
        check_gradients(NET, x, y)


def test_options_for_anything_but_a_kernel_are_refused() -> None:
    for subject in (NET, bp.Model(NET), bp.Dense(2)):
        with pytest.raises(bp.ConfigError, match="requires options for a kernel only, got alpha for something else"):
            check_gradients(subject, X, options={"alpha": 2.0})


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(bp.ShapeError):
        check_gradients(NET, X[:, :2], Y)


def test_loss_that_is_not_finite_is_reported() -> None:
    model = bp.Model(NET, dtype="float64")
    put(model, {"1.bias": [np.inf, 0.0]})
    with pytest.raises(bp.NonFiniteError, match=r"requires a finite loss .* got parameter '1.bias', element 0 = inf"):
        check_gradients(model, X, Y)
    with pytest.raises(bp.NonFiniteError, match="requires a finite value"):
        check_gradients("dense", {"x": X * np.inf, "w": np.ones((3, 2)), "b": np.ones(2)})


def test_kernel_without_a_backward_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match="kernel 'step' has no backward: "):
        check_gradients("step")
    with pytest.raises(bp.ConfigError, match="kernel 'adam' has no backward"):
        check_gradients(KERNELS["adam"])
    with pytest.raises(bp.ConfigError, match="kernel 'step' has no backward: "):
        check_gradients(bp.Activation("step"), X)
    with pytest.raises(bp.ConfigError, match="kernel 'step' has no backward: "):
        check_gradients(bp.Network(3, [bp.Dense(2, "step")], "mean_squared_error"), X, Y)
    with pytest.raises(bp.ConfigError, match="kernel 'mine' has no backward: "):
        check_gradients(replace(KERNELS["tanh"], name="mine", backward=None))
    with pytest.raises(bp.ConfigError, match=r"unknown kernel 'rellu'. Did you mean 'relu'"):
        check_gradients("rellu")


def test_arrays_of_whole_numbers_are_refused() -> None:
    with pytest.raises(bp.ConfigError, match="kernel 'relu' requires x of floating-point numbers, got int64"):
        check_gradients("relu", np.ones((2, 2), dtype=int))
    with pytest.raises(
        bp.DataError, match="layer Bad requires parameters of floating-point numbers, got 'scale' of int64"
    ):
        check_gradients(Bad(lambda dy: (dy, {}), 1), X)
    with pytest.raises(bp.DataError, match=r"layer 0 \(Bad\) requires 'scale' of floating-point numbers, got int64"):
        check_gradients(bp.Network(3, [Bad(lambda dy: (dy, {}), 1)], "mean_squared_error"), X, X)


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda dy: (dy, {}), r"its backward to return 1 gradient \(scale\), got 0 \(none\)"),
        (lambda dy: (dy, {"scale": dy[0], "b": dy[0]}), r"1 gradient \(scale\), got 2 \(b, scale\)"),
        (lambda dy: (dy, {"scale": dy}), r"a gradient of shape \(3,\) for scale, got \(4, 3\)"),
        (lambda dy: (dy, {"scale": 1.0}), r"a gradient of shape \(3,\) for scale, got float"),
        (lambda dy: (dy[:1], {"scale": dy[0]}), r"a gradient of shape \(4, 3\) for x, got \(1, 3\)"),
        (lambda dy: (dy.T, {"scale": dy[0]}), r"\(4, 3\) for x, got \(3, 4\)\. That is its transpose"),
        (lambda dy: (None, {"scale": dy[0]}), r"for x, got NoneType"),
        (lambda dy: dy, r"to return \(dx, gradients by parameter name\), got ndarray"),
        (lambda dy: (dy, dy, dy), r"got a tuple of 3"),
    ],
)
def test_layer_that_returns_a_wrong_structure_is_refused(gives: Any, message: str) -> None:
    with pytest.raises(bp.ShapeError, match=r"layer 0 \(Bad\) requires .*" + message):
        check_gradients(Bad(gives), X)
    network = bp.Network(3, [bp.Dense(3), Bad(gives)], "mean_squared_error")
    with pytest.raises(bp.ShapeError, match=r"layer 1 \(Bad\) requires .*" + message):
        check_gradients(network, X, X)


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_an_error_of_ones_own_code_says_where_it_comes_from(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, failing = (
        Bad(lambda dy: (dy, {"scale": dy[0]})),
        {"forward": lambda xp, x: 1 / 0, "backward": lambda *_: 1 / 0},
    )
    monkeypatch.setattr(Bad, method, lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        check_gradients(bp.Network(3, [bp.Dense(3), layer], "mean_squared_error"), X, X)
    assert caught.value.__notes__ == [f"this came from the {method} of layer 1 (Bad)"]
    with pytest.raises(ZeroDivisionError) as caught:
        check_gradients(replace(KERNELS["tanh"], **{method: failing[method]}))
    assert caught.value.__notes__ == [f"this came from the {method} of kernel 'tanh'"]


def test_kernel_that_returns_a_wrong_structure_is_refused() -> None:
    with pytest.raises(
        bp.ShapeError, match=r"kernel 'dense' requires its backward to return 3 gradients \(dx, dw, db\)"
    ):
        check_gradients(replace(KERNELS["dense"], backward=lambda xp, res, dy: (dy, dy)))
    with pytest.raises(bp.ShapeError, match=r"kernel 'tanh' requires a gradient of shape \(5, 3\) for x, got \(3,\)"):
        check_gradients(replace(KERNELS["tanh"], backward=lambda xp, res, dy: dy[0]))
    with pytest.raises(bp.ShapeError, match=r"for w, got \(3, 4\)\. That is its transpose"):
        check_gradients(replace(KERNELS["dense"], backward=lambda xp, res, dy: (dy @ res.w.T, dy.T @ res.x, dy.sum(0))))


def test_wrongly_described_kernel_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"`differentiable` to name some of its arguments \(x\), got z"):
        check_gradients(replace(KERNELS["tanh"], differentiable=("z",)))
    with pytest.raises(bp.ConfigError, match=r"requires a shape for its argument 'x', that it can be sampled, got y\."):
        check_gradients(replace(KERNELS["tanh"], shapes={"y": ("B", "O")}))


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(bp.ConfigError, match="kernel 'dense' requires the arguments x, w, b, got none for b"):
        check_gradients("dense", (X, np.ones((3, 2))))
    with pytest.raises(bp.ConfigError, match="unknown argument of kernel 'dense': 'weight'"):
        check_gradients("dense", {"weight": X})
    with pytest.raises(bp.ConfigError, match="requires y and weights for a network only"):
        check_gradients("tanh", X, Y)
    own = bp.CustomLoss(
        lambda xp, y, t: (xp.mean(y - t), y), lambda xp, y, dl: dl * xp.ones_like(y) / y.size, name="own"
    )
    with pytest.raises(
        bp.ConfigError, match=r"A loss takes its arguments together: x=\{'y': \.\.\., 'target': \.\.\.\}"
    ):
        check_gradients(own, X, Y)
    with pytest.raises(bp.ConfigError, match=r"requires x, the input \(rows, features\), for a layer, got None"):
        check_gradients(bp.Dense(2))
    with pytest.raises(
        bp.ConfigError,
        match=r"requires a Model, Network, Layer, Kernel or the name of a kernel, CustomLoss, .* pair of functions, got 3",
    ):
        check_gradients(3)
    with pytest.raises(bp.ConfigError, match=r"got <class .*Dense'>\. Make one: call it"):
        check_gradients(bp.Dense, X)
    with pytest.raises(bp.ConfigError, match=r"got <function tanh_fwd .*>\. A function belongs into a pair"):
        check_gradients(KERNELS["tanh"].forward, X)
    with pytest.raises(bp.ConfigError, match=r"unknown option of kernel 'leaky_relu': 'alfa'. Did you mean 'alpha'"):
        check_gradients("leaky_relu", options={"alfa": 0.1})
    for seed in (-1, 0.5, True):
        with pytest.raises(bp.ConfigError, match="requires seed to be a whole number of at least 0, got"):
            check_gradients("tanh", seed=seed)
    with pytest.raises(bp.ConfigError, match=r"unknown oracle 'autodif'. Did you mean 'autodiff'"):
        check_gradients("tanh", oracles="autodif")
    with pytest.raises(bp.ConfigError, match="requires at least one oracle"):
        check_gradients("tanh", oracles=[])
