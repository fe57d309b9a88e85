"""Products with the Hessian on NumPy, without JAX; kinks, differences and what they refuse; the top eigenvalue."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.derivatives import hessian
from bpengine.derivatives.differences import extrapolated
from bpengine.layers import Run
from bpengine.ops import Ops
from tests.derivatives.networks import NETWORKS, direction, model, rows
from tests.derivatives.references import References, assert_close
from tests.tolerances import derivative_rtol, eigenvalue_rtol, stated_derivative_rtol


@dataclass(frozen=True)
class Bent(bp.Layer):
    """y = x |x - kink|, with a kink that no kernel states."""

    kink: float = 0.0

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        return x * ops.xp.abs(x - self.kink), x, running

    def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        apart = residual - self.kink
        return dy * (ops.xp.abs(apart) + residual * ops.xp.sign(apart)), {}


def bent(kink: float) -> bp.Model:
    """Return a model of one weight, 1, and such a layer."""
    network = bp.Network(1, [bp.Dense(1, bias=False, weight_init=[[1.0]]), Bent(kink)], "sum_squared_residuals")
    return bp.Model(network, dtype="float64")


def test_hessian_on_numpy_loads_no_other_array_library() -> None:
    code = (
        "import sys, bpengine as bp\n"
        "model = bp.Model(bp.Network(2, [bp.Dense(3, 'relu'), bp.Dense(1)], 'mean_squared_error'))\n"
        "x, y = [[0.0, 1.0], [2.0, 1.0]], [1.0, 0.0]\n"
        "assert model.hvp(x, y, {'1.bias': [1.0]})['1.bias'] == 2.0\n"
        "model.top_eigenvalue(x, y), model.per_sample_gradients(x, y), model.jacobian(x), model.input_gradients(x, y)\n"
        "bp.jvp('tanh', [[[1.0]]], [[[1.0]]])\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "bpengine_numpy" in loaded
    assert not {"jax", "jaxlib", "bpengine_jax", "cupy"} & set(loaded)


def test_float32_on_numpy_is_computed_in_float64(jax: Any, rng: Any) -> None:
    network = NETWORKS["layers"]
    subject, (x, y, _) = model(network, rng, dtype="float32"), rows(network, rng)
    v = direction(subject, rng)
    product, reference = subject.hvp(x, y, v), References(jax, subject, x, y).hvp(v)
    assert {a.dtype for a in product.values()} == {np.dtype("float32")}
    assert_close(product, {n: a.astype("float32") for n, a in reference.items()}, 2 * float(np.finfo("float32").eps))


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e30])
def test_product_is_linear_in_directions_of_any_size(scale: float, rng: Any) -> None:
    subject, (x, y, _) = model(NETWORKS["biases"], rng), rows(NETWORKS["biases"], rng)
    v = direction(subject, rng)
    whole, scaled = subject.hvp(x, y, v), subject.hvp(x, y, {n: scale * a for n, a in v.items()})
    assert_close({n: a / scale for n, a in scaled.items()}, whole, derivative_rtol("float64"))


def test_parameters_that_are_not_named_do_not_move(backend_name: str, rng: Any) -> None:
    subject, (x, y, _) = model(NETWORKS["layers"], rng, backend_name), rows(NETWORKS["layers"], rng)
    v = {"4.weight": rng.normal(size=(4, 3))}
    whole = {n: v.get(n, np.zeros(a.shape)) for n, a in subject.parameters.items()}
    for name, array in subject.hvp(x, y, v).items():
        np.testing.assert_array_equal(array, subject.hvp(x, y, whole)[name])
    assert not any(a.any() for a in subject.hvp(x, y, {}).values())


def test_hessian_is_symmetric(backend_name: str, rng: Any) -> None:
    subject, (x, y, weights) = model(NETWORKS["layers"], rng, backend_name), rows(NETWORKS["layers"], rng)
    u, v = direction(subject, rng), direction(subject, rng)
    hu, hv = subject.hvp(x, y, u, weights), subject.hvp(x, y, v, weights)
    sides = [sum(float(np.sum(a[n] * b[n])) for n in a) for a, b in ((u, hv), (v, hu))]
    assert math.isclose(*sides, rel_tol=derivative_rtol("float64"))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "selu", "elu"])
def test_at_a_kink_the_step_takes_the_side_of_the_backward(activation: str, rng: Any) -> None:
    """A row of zeros without a bias lies on the kink of every unit: by the kernels' own slopes, as from the left."""
    network = bp.Network(1, [bp.Dense(2, bp.Activation(activation)), bp.Dense(1)], "sum_squared_residuals")
    at, beside = bp.Model(network, dtype="float64"), bp.Model(network, dtype="float64")
    beside.parameters = {"0.bias": np.full(2, -1e-9)}
    v = direction(at, rng)
    product, aside = at.hvp([[0.0]], [1.0], v), beside.hvp([[0.0]], [1.0], v)
    assert_close(product, aside, stated_derivative_rtol())


@pytest.mark.parametrize("name", ["own kernels", "own code"])
def test_differences_reach_the_promised_accuracy_with_own_layers(name: str, jax: Any, rng: Any) -> None:
    network = NETWORKS[name]
    subject, (x, y, _) = model(network, rng), rows(network, rng)
    v = direction(subject, rng)
    assert_close(subject.hvp(x, y, v), References(jax, subject, x, y).hvp(v), stated_derivative_rtol())


@pytest.mark.parametrize("kink", [5.0, 0.9, 0.99, 0.9999])
def test_differences_step_over_no_kink(kink: float) -> None:
    """d^2/dw^2 (w^2 - k w)^2 = 12 w^2 - 12 k w + 2 k^2 for w > k, the same for w < k: at w = 1 with the target 0."""
    assert bent(kink).hvp([[1.0]], [0.0], {"0.weight": [[1.0]]})["0.weight"] == pytest.approx(
        12 - 12 * kink + 2 * kink**2, rel=stated_derivative_rtol()
    )


def test_differences_that_are_not_exact_enough_are_refused() -> None:
    with pytest.raises(
        bp.ConfigError, match=r"smooth along v, got differences with an estimated error of .*backend='jax'"
    ):
        bent(1.0 - 1e-7).hvp([[1.0]], [1.0], {"0.weight": [[1.0]]})


def test_extrapolated_differences_know_their_error() -> None:
    slopes, error = extrapolated(lambda t: np.array([math.exp(t), math.sin(3.0 * t)]))
    wrong = float(np.max(np.abs(slopes - [1.0, 3.0])))
    assert wrong <= error <= 1e-9
    assert extrapolated(lambda t: np.array([abs(t - 1e-4)]))[1] > 0.0


def eigenvalues(jax: Any, subject: bp.Model, x: Any, y: Any, weights: Any = None) -> Any:
    import_module("jax.flatten_util")  # which `References` finds in jax, once it is imported
    return np.linalg.eigvalsh(References(jax, subject, x, y, weights).hessian())


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", ["biases", "layers", "a sum", "own code"])
def test_top_eigenvalue_is_the_one_of_largest_magnitude_of_the_whole_hessian(
    name: str, backend_name: str, jax: Any, rng: Any
) -> None:
    network = NETWORKS[name]
    subject, (x, y, weights) = model(network, rng, backend_name), rows(network, rng)
    top_pair, every = subject.top_eigenvalue(x, y, weights), eigenvalues(jax, subject, x, y, weights)
    top = every[np.argmax(np.abs(every))]
    assert top_pair.residual <= 1e-4 * abs(top_pair.value)
    assert abs(top_pair.value - top) <= max(eigenvalue_rtol(1e-4), 1e-5) * abs(top)
    product = subject.hvp(x, y, top_pair.vector, weights)
    rest = sum(float(np.sum((product[n] - top_pair.value * a) ** 2)) for n, a in top_pair.vector.items()) ** 0.5
    assert rest <= 1.01e-4 * abs(top_pair.value)
    assert math.isclose(sum(float(np.sum(a**2)) for a in top_pair.vector.values()), 1.0, rel_tol=1e-6)


def test_top_eigenvalue_may_be_negative_or_one_of_two_of_equal_magnitude(backend_name: str) -> None:
    """F = (w2 w1 - 1)^2 at 0 has the Hessian [[0, -2], [-2, 0]], with 2 and -2; tanh(w)^2 bends down at 2."""
    zero = [bp.Dense(1, bias=False, weight_init=[[0.0]]), bp.Dense(1, bias=False, weight_init=[[0.0]])]
    tie = bp.Model(bp.Network(1, zero, "sum_squared_residuals"), backend_name, "float64")
    top_pair = tie.top_eigenvalue([[1.0]], [1.0], tolerance=1e-8)
    assert abs(top_pair.value) == pytest.approx(2.0)
    assert top_pair.residual <= 1e-7
    peak = [bp.Dense(1, "tanh", bias=False, weight_init=[[1.0], [0.5]])]
    negative = bp.Model(bp.Network(2, peak, "sum_squared_residuals"), backend_name, "float64")
    t = math.tanh(2.0)
    slope, curve = 1 - t * t, -2 * t * (1 - t * t)
    top = negative.top_eigenvalue([[1.0, 2.0]], [0.0])
    assert top.value == pytest.approx(5 * (2 * slope**2 + 2 * t * curve))
    assert top.value < 0
    exact = negative.top_eigenvalue([[1.0, 2.0]], [0.0], tolerance=0.0, steps=50)
    assert exact.value == pytest.approx(top.value)


def test_top_eigenvalue_of_a_flat_loss_is_0_and_too_few_steps_leave_a_residual(rng: Any) -> None:
    flat = bp.Network(2, [bp.Dense(1, "relu", weight_init=np.full((2, 1), -1.0))], "sum_squared_residuals")
    top_pair = bp.Model(flat, dtype="float64").top_eigenvalue([[1.0, 1.0]], [1.0])
    assert (top_pair.value, top_pair.residual, top_pair.steps) == (0.0, 0.0, 1)
    subject, (x, y, _) = model(NETWORKS["layers"], rng), rows(NETWORKS["layers"], rng)
    short = subject.top_eigenvalue(x, y, steps=2, tolerance=0.0)
    assert short.steps == 2
    assert short.residual > 1e-4 * abs(short.value)


def test_the_seed_draws_the_first_vector(rng: Any) -> None:
    subject, (x, y, _) = model(NETWORKS["layers"], rng), rows(NETWORKS["layers"], rng)
    drawn = [subject.top_eigenvalue(x, y, steps=1, seed=seed).value for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    vector = subject.top_eigenvalue(x, y, steps=1, seed=0).vector["0.weight"].ravel()
    plain = np.random.default_rng(0).standard_normal(vector.size)
    assert not np.allclose(vector / np.linalg.norm(vector), plain / np.linalg.norm(plain))


def test_every_differentiating_backend_agrees_in_one_direction(rng: Any) -> None:
    """The base refuses: a backend that does not differentiate is never asked."""
    backend = bp.get_backend("numpy")
    assert not backend.differentiates
    with pytest.raises(bp.ConfigError, match="backend 'numpy' does not differentiate"):
        backend.jvp(lambda x: x, (1.0,), (1.0,))
    with pytest.raises(bp.ConfigError, match="backend 'numpy' does not differentiate"):
        backend.transposed(lambda x: x, 1.0)
    assert stated_derivative_rtol() == hessian.DIFFERENCE_ERROR
