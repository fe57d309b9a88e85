"""Every kernel: forward mode beside jax.jvp of its forward, complex steps through both directions, and rows kept apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.derivatives.stepped import STEP, NotSteppable, Stepped, derivative, stepped
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Kernel, elementwise
from tests.kernels.kernel_samples import DIMENSIONS, Case, as_tuple, cases, cotangent, has_pair, relative_error
from tests.tolerances import complex_step_rtol, oracle_rtol, stated_derivative_rtol

DIFFERENTIABLE = pytest.mark.parametrize("case", cases(backward=True), ids=lambda c: c.id)
WITH_PARAMETERS = {
    "dense",
    "dense_no_bias",
    "dense_bias_column",
    "batch_norm_inference",
    "layer_norm",
    "dense_transposed",
    "dense_transposed_no_bias",
}


def forward(kernel: Kernel, xp: Any, arrays: Any, options: Any) -> Any:
    return kernel.forward(xp, *(arrays.get(n) for n in kernel.arguments), **options)


def tangents(case: Case, arrays: Any, rng: Any) -> Any:
    return {n: np.asarray(rng.normal(size=arrays[n].shape)) for n in case.kernel.differentiable}


@pytest.mark.thorough(keep=2)
@DIFFERENTIABLE
def test_forward_mode_is_that_of_jax(case: Case, backend_name: str, jax: Any, rng: Any) -> None:
    arrays = case.arguments(rng, DIMENSIONS[0])
    v = tangents(case, arrays, rng)
    moving = {n: arrays[n] for n in v}
    y, dy = jax.jvp(lambda at: forward(case.kernel, jax.numpy, {**arrays, **at}, case.options)[0], (moving,), (v,))
    product = bp.jvp(case.kernel.name, arrays, v, options=case.options, backend=backend_name)
    assert product.how == {"jax": "transpose of the backward"}.get(backend_name, "complex step")
    assert product.error <= stated_derivative_rtol()
    assert relative_error(product.y, y) <= oracle_rtol()
    assert relative_error(product.dy, dy) <= max(product.error, oracle_rtol())


@pytest.mark.thorough(keep=45)
@DIFFERENTIABLE
def test_complex_steps_go_through_both_directions(case: Case, jax: Any, rng: Any) -> None:
    """What `hvp` on NumPy stands on: the derivative of forward and backward together."""
    arrays = case.arguments(rng, DIMENSIONS[0])
    v = tangents(case, arrays, rng)
    dy = cotangent(rng, np.asarray(forward(case.kernel, np, arrays, case.options)[0]))
    moved = np.asarray(rng.normal(size=dy.shape))

    def both(xp: Any, at: Any, dy: Any) -> Any:
        _, residual = forward(case.kernel, xp, {**arrays, **at}, case.options)
        return as_tuple(case.kernel.backward(xp, residual, dy))

    moving = {n: arrays[n] for n in v}
    expected = jax.jvp(lambda at, dy: both(jax.numpy, at, dy), (moving, dy), (v, moved))[1]
    got = both(np, {n: stepped(a, v[n]) for n, a in moving.items()}, stepped(dy, moved))
    for ours, theirs in zip(got, expected, strict=True):
        assert relative_error(derivative(ours), theirs) <= complex_step_rtol()


KINKS = [("relu", {}, 0.0), ("leaky_relu", {"alpha": 0.3}, 0.0), ("elu", {"alpha": 0.3}, 0.0), ("selu", {}, 0.0)]
KINKS += [("relu6", {}, 0.0), ("relu6", {}, 6.0), ("hard_tanh", {}, -1.0), ("hard_tanh", {}, 1.0)]
KINKS += [("hard_sigmoid", {}, -3.0), ("hard_sigmoid", {}, 3.0), ("celu", {"alpha": 0.3}, 0.0), ("softsign", {}, 0.0)]


@pytest.mark.parametrize(("name", "options", "kink"), KINKS)
def test_at_a_kink_both_backends_take_the_slope_of_the_backward(name: str, options: Any, kink: float, jax: Any) -> None:
    x, v = np.array([[kink, kink, 1.0]]), np.array([[1.0, -1.0, 1.0]])
    numpy, transposed = (bp.jvp(name, [x], [v], options=options, backend=b).dy for b in ("numpy", "jax"))
    residual = KERNELS[name].forward(np, x, **options)[1]
    np.testing.assert_allclose(numpy, KERNELS[name].backward(np, residual, v), rtol=oracle_rtol())
    np.testing.assert_allclose(transposed, numpy, rtol=oracle_rtol())


@pytest.mark.parametrize(("name", "other"), [("mean_absolute_error", "target"), ("huber", "target"), ("l1", None)])
def test_both_backends_agree_at_kinks_of_losses(name: str, other: str | None, jax: Any) -> None:
    kinked = np.array([[0.0, 1.0, -1.0, 0.5]])
    arrays = {"y": kinked, "target": np.zeros((1, 4))} if other else {"w": kinked}
    v = {next(iter(arrays)): np.array([[1.0, 2.0, 3.0, 4.0]])}
    numpy, transposed = (float(bp.jvp(name, arrays, v, backend=b).dy) for b in ("numpy", "jax"))
    assert numpy == pytest.approx(transposed, rel=oracle_rtol())


def test_a_kernel_of_ones_own_is_taken_by_differences(jax: Any) -> None:
    """One that states nothing: by differences, with an estimate; one that is analytic: by the complex step."""
    cube = elementwise(
        "cube",
        lambda xp, x: (x * x * x, x),
        lambda xp, x, dy: dy * 3.0 * x * x,
        flops=(2, 3),
        formula={},
        source="",
    )
    x, v = np.array([[0.5, -2.0]]), np.array([[1.0, 10.0]])
    for kernel, backend, how in (
        (cube, "numpy", "differences"),
        (replace(cube, analytic=True), "numpy", "complex step"),
        (cube, "jax", "transpose of the backward"),
    ):
        product = bp.jvp(kernel, [x], [v], backend=backend)
        assert product.how == how
        assert relative_error(product.dy, 3 * x * x * v) <= product.error + oracle_rtol()
        assert product.error <= stated_derivative_rtol()


def test_a_kernel_that_cannot_be_stepped_falls_back(rng: Any) -> None:
    odd = elementwise(
        "odd", lambda xp, x: (xp.arctan(x), x), lambda xp, x, dy: dy / (1.0 + x * x), flops=(1, 3), formula={}, source="",
        analytic=True,
    )  # fmt: skip
    x, v = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    product = bp.jvp(odd, [x], [v])
    assert product.how == "differences"
    assert relative_error(product.dy, v / (1.0 + x * x)) <= stated_derivative_rtol()


@pytest.mark.thorough(keep=60)
@pytest.mark.parametrize("case", [c for c in cases(backward=True) if c.kernel.per_row], ids=lambda c: c.id)
@pytest.mark.parametrize("dims", DIMENSIONS, ids="B{B}I{I}O{O}".format_map)
def test_rows_kept_apart_are_the_backward_of_each_row(case: Case, dims: Any, xp: Any, rng: Any) -> None:
    kernel, arrays = case.kernel, case.arguments(rng, dims)
    y, residual = case.kernel.forward(xp, *map(xp.asarray, arrays.values()), **case.options)
    dy = rng.normal(size=tuple(y.shape))
    per_row = dict(zip(kernel.differentiable, kernel.per_row(xp, residual, xp.asarray(dy)), strict=True))
    for i in range(dims["B"]):
        row = {n: a[i : i + 1] if kernel.shapes[n][0] == "B" else a for n, a in arrays.items()}
        alone = kernel.backward(np, kernel.forward(np, *row.values(), **case.options)[1], dy[i : i + 1])
        for name, expected in zip(kernel.differentiable, alone, strict=True):
            got = (
                np.asarray(per_row[name])[i : i + 1] if kernel.shapes[name][0] == "B" else np.asarray(per_row[name])[i]
            )
            assert relative_error(got, expected) <= oracle_rtol()


@pytest.mark.parametrize("name", sorted(WITH_PARAMETERS - {"batch_norm_inference", "layer_norm"}))
def test_rows_kept_apart_leave_dx_out_where_it_is_not_needed(name: str, rng: Any) -> None:
    kernel = KERNELS[name]
    (case,) = (c for c in cases(backward=True) if c.kernel is kernel and not c.options)
    y, residual = forward(kernel, np, case.arguments(rng, DIMENSIONS[0]), {})
    assert kernel.per_row(np, residual, np.ones_like(y), need_dx=False)[0] is None


def test_every_kernel_with_parameters_keeps_rows_apart() -> None:
    """BatchNorm in training mixes the rows, so no row has a gradient of its own."""
    shared = {k.name for k in KERNELS.values() if k.backward and k.kind == "layer" and has_pair(k) and _shares(k)}
    assert shared == WITH_PARAMETERS | {"batch_norm"}
    assert {k.name for k in KERNELS.values() if k.per_row} == WITH_PARAMETERS


def _shares(kernel: Kernel) -> bool:
    return any(kernel.shapes[name][0] != "B" for name in kernel.differentiable)


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: np.maximum(x, 0.0), [0.0, 0.0, 1.0]),
        (lambda x: np.minimum(x, 0.0), [1.0, 1.0, 0.0]),
        (lambda x: np.abs(x), [-1.0, 0.0, 1.0]),
        (lambda x: np.sign(x) * x, [-1.0, 0.0, 1.0]),
        (lambda x: np.clip(x, -1.0, 1.0), [0.0, 1.0, 0.0]),
        (lambda x: np.clip(x, -2.0, 2.0), [0.0, 1.0, 0.0]),
        (lambda x: x**3, [12.0, 0.0, 12.0]),
        (lambda x: np.mean(x) + 0.0 * x, [1.0, 1.0, 1.0]),
        (lambda x: np.round(x) + x, [1.0, 1.0, 1.0]),
        (lambda x: (x > 0) * x, [0.0, 0.0, 1.0]),
        (lambda x: np.where(x > 0, x * x, x), [1.0, 1.0, 4.0]),
        (lambda x: np.max(x, axis=0) + 0.0 * x, [1.0, 1.0, 1.0]),
        (lambda x: np.concatenate([x[:1], 2.0 * x[1:]]), [1.0, 2.0, 2.0]),
        (lambda x: x.astype("float64").T, [1.0, 1.0, 1.0]),
    ],
)
def test_stepped_arrays_choose_by_the_real_part(function: Any, slope: Any) -> None:
    x = np.array([-2.0, 0.0, 2.0])
    stepped_y = function(stepped(x, np.ones(3)))
    np.testing.assert_allclose(derivative(stepped_y), slope, rtol=oracle_rtol(), atol=STEP)
    np.testing.assert_allclose(np.asarray(stepped_y).real, function(x), rtol=oracle_rtol())


def test_nan_of_a_real_function_stays_nan() -> None:
    x = stepped(np.array([-2.0, 2.0]), np.ones(2))
    for function in (np.log, np.sqrt, np.log1p, lambda x: x**0.5):
        assert list(np.isnan(function(x))) == [True, False]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.arctan2(x, 1.0),
        lambda x: np.linalg.norm(x),
        lambda x: np.var(x),
        lambda x: np.sort(x),
        lambda x: x.astype("float32"),
        lambda x: np.multiply(x, x, out=np.zeros(2)),
        lambda x: np.copyto(np.zeros(2), x, casting="unsafe"),
        lambda x: np.multiply.accumulate(x),
        lambda x: 2.0**x,
    ],
)
def test_function_without_a_complex_step_raises(function: Any) -> None:
    with pytest.raises(NotSteppable):
        function(stepped(np.array([1.0, 2.0]), np.ones(2)))


def test_stepped_arrays_can_be_written_into() -> None:
    x = stepped(np.array([1.0, 2.0]), np.ones(2))
    x *= 3.0
    assert isinstance(x, Stepped)
    np.testing.assert_allclose(derivative(x), [3.0, 3.0])
    np.testing.assert_array_equal(derivative(np.ones(2)), 0.0)
