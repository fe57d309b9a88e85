"""What holds for every row of the KERNELS table. A new kernel is tested by being in the table."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from bpengine.backend import as_host
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import extent
from tests.kernels.kernel_samples import (
    DIMENSIONS,
    LARGE,
    Case,
    as_tuple,
    cases,
    cotangent,
    has_pair,
    leaves,
    longest_sum,
    outputs,
    relative_error,
)
from tests.tolerances import STEP, agreement_rtol, complex_step_rtol, dot_test_rtol, formula_rtol, oracle_rtol

DIMS = pytest.mark.parametrize("dims", DIMENSIONS, ids="B{B}I{I}O{O}".format_map)
DIMS_AND_LARGE = pytest.mark.parametrize("dims", [*DIMENSIONS, LARGE], ids="B{B}I{I}O{O}".format_map)
LARGEST_AND_SMALLEST = pytest.mark.parametrize("dims", DIMENSIONS[::3], ids="B{B}I{I}O{O}".format_map)


def every(**having: bool) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases(**having), ids=lambda c: c.id)


def run(case: Case, xp: Any, arrays: dict[str, Any]) -> Any:
    return case.kernel.forward(xp, *arrays.values(), **case.options)


def gradients(case: Case, xp: Any, residual: Any, d_output: Any) -> dict[str, Any]:
    values = as_tuple(case.kernel.backward(xp, residual, d_output))
    assert len(values) == len(case.kernel.differentiable)
    return dict(zip(case.kernel.differentiable, values, strict=True))


@pytest.mark.thorough(keep=360)
@pytest.mark.parametrize(("dims", "dtype"), [(DIMENSIONS[0], np.float32), (DIMENSIONS[3], np.float64)])
@every()
def test_shapes_and_dtypes_are_as_stated(case: Case, dims: Any, dtype: Any, xp: Any, rng: Any) -> None:
    kernel, evaluate = case.kernel, evaluation(xp)
    arrays = {name: xp.asarray(a) for name, a in case.arguments(rng, dims, dtype).items()}
    result = evaluate(lambda *values: run(case, xp, dict(zip(arrays, values, strict=True))), *arrays.values())
    for name, output in zip(kernel.outputs, outputs(kernel, result), strict=True):
        assert tuple(output.shape) == tuple(extent(d, dims) for d in kernel.shapes[name])
        if output.dtype not in (xp.uint32, xp.bool):
            assert output.dtype == getattr(xp, dtype.__name__)
    if kernel.backward:
        y = result[0]
        d_output = xp.asarray(np.ones(y.shape, dtype))
        backward = evaluate(lambda residual, dy: gradients(case, xp, residual, dy), result[1], d_output)
        for name, d in backward.items():
            assert tuple(d.shape) == tuple(arrays[name].shape)
            assert d.dtype == y.dtype


def evaluation(xp: Any) -> Callable[..., Any]:
    """Return what calls a function; with JAX only shapes and dtypes are computed: each operation would be compiled."""
    if xp.__name__ == "jax.numpy":
        return import_module("jax").eval_shape
    return lambda function, *arguments: function(*arguments)


@every()
def test_no_argument_is_written(case: Case, rng: Any) -> None:
    arrays = case.arguments(rng, DIMENSIONS[0])
    before = {name: a.copy() for name, a in arrays.items()}
    result = run(case, np, arrays)
    if case.kernel.backward:
        for leaf in leaves(result):
            if isinstance(leaf, np.ndarray):
                leaf.flags.writeable = False
        case.kernel.backward(np, result[1], cotangent(rng, result[0]))
    for name, a in arrays.items():
        np.testing.assert_array_equal(a, before[name])


@every()
def test_every_namespace_gives_the_values_of_numpy(case: Case, xp: Any, rng: Any) -> None:
    dims = DIMENSIONS[0]
    arrays = case.arguments(rng, dims)
    theirs = {name: xp.asarray(a) for name, a in arrays.items()}
    expected, got = run(case, np, arrays), run(case, xp, theirs)
    if case.kernel.backward:
        d = cotangent(rng, expected[0])
        expected = (*expected, case.kernel.backward(np, expected[1], d))
        got = (*got, case.kernel.backward(xp, got[1], xp.asarray(d)))
    assert_leaves_agree(got, expected, agreement_rtol(np.float64, longest_sum(case.kernel, dims)))


@pytest.mark.thorough(keep=40)
@LARGEST_AND_SMALLEST
@every()
def test_kernel_agrees_under_jit(case: Case, dims: Any, jax: Any, rng: Any) -> None:
    arrays = case.arguments(rng, dims)
    expected = run(case, np, arrays)
    got = jax.jit(lambda *a: case.kernel.forward(jax.numpy, *a, **case.options))(*arrays.values())
    if case.kernel.backward:
        d = cotangent(rng, expected[0])
        expected = (*expected, case.kernel.backward(np, expected[1], d))
        got = (*got, jax.jit(lambda res, d: case.kernel.backward(jax.numpy, res, d))(got[1], d))
    assert_leaves_agree(got, expected, agreement_rtol(np.float64, longest_sum(case.kernel, dims)))


def assert_leaves_agree(got: Any, expected: Any, rtol: float) -> None:
    for mine, reference in zip(leaves(got), leaves(expected), strict=True):
        if np.asarray(reference).dtype.kind == "f":
            assert relative_error(mine, reference) <= rtol
        else:
            np.testing.assert_array_equal(as_host(mine), reference)


@pytest.mark.thorough(keep=110)
@DIMS
@every(backward=True)
def test_backward_is_the_derivative_of_the_forward(case: Case, dims: Any, jax: Any, rng: Any) -> None:
    assert_backward_agrees_with_vjp(case, case.arguments(rng, dims), jax, rng)


@pytest.mark.thorough(keep=80)
@LARGEST_AND_SMALLEST
@every(backward=True, kink=False)
def test_backward_is_right_at_exact_zeros(case: Case, dims: Any, jax: Any, rng: Any) -> None:
    arrays = dict(case.arguments(rng, dims))
    for name in case.kernel.differentiable:
        if case.kernel.domain.get(name, "real") == "real":
            arrays[name] = arrays[name] * (rng.random(arrays[name].shape) < 0.5)
    assert_backward_agrees_with_vjp(case, arrays, jax, rng)
    for name in case.kernel.differentiable:
        if case.kernel.domain.get(name, "real") == "real":
            arrays[name] = np.zeros_like(arrays[name])
    assert_backward_agrees_with_vjp(case, arrays, jax, rng)


def assert_backward_agrees_with_vjp(case: Case, arrays: dict[str, Any], jax: Any, rng: Any) -> None:
    kernel = case.kernel
    y, residual = run(case, np, arrays)
    d_output = cotangent(rng, y)

    @jax.jit  # one program for each case; without it each operation is one
    def pulled_back(inputs: dict[str, Any], others: dict[str, Any], dy: Any) -> Any:
        _, vjp = jax.vjp(
            lambda inputs: run(case, jax.numpy, {name: {**others, **inputs}[name] for name in arrays})[0], inputs
        )
        return vjp(dy)[0]

    inputs = {name: arrays[name] for name in kernel.differentiable}
    others = {name: a for name, a in arrays.items() if name not in inputs}
    expected = pulled_back(inputs, others, d_output)
    for name, d in gradients(case, np, residual, d_output).items():
        assert relative_error(d, expected[name]) <= oracle_rtol(), f"d{name}"


@DIMS_AND_LARGE
@every(backward=True)
def test_backward_agrees_with_central_differences_in_a_random_direction(case: Case, dims: Any, rng: Any) -> None:
    arrays = case.arguments(rng, dims)
    y, residual = run(case, np, arrays)
    d_output = cotangent(rng, y)
    for name, d in gradients(case, np, residual, d_output).items():
        v = rng.normal(size=d.shape) * np.abs(arrays[name])  # a step in the size of what it is added to
        ahead = run(case, np, arrays | {name: arrays[name] + STEP * v})[0]
        behind = run(case, np, arrays | {name: arrays[name] - STEP * v})[0]
        numeric = float(np.sum(d_output * (ahead - behind))) / (2.0 * STEP)
        scale = max(1.0, float(np.sum(np.abs(d * v))))
        assert abs(float(np.sum(d * v)) - numeric) <= dot_test_rtol() * scale, f"d{name}"


@DIMS_AND_LARGE
@every(backward=True, analytic=True)
def test_backward_agrees_with_the_complex_step_in_a_random_direction(case: Case, dims: Any, rng: Any) -> None:
    arrays = case.arguments(rng, dims)
    y, residual = run(case, np, arrays)
    d_output = cotangent(rng, y)
    for name, d in gradients(case, np, residual, d_output).items():
        v = rng.normal(size=d.shape)
        along = run(case, np, arrays | {name: arrays[name] + 1e-100j * v})[0].imag / 1e-100
        scale = max(1.0, float(np.sum(np.abs(d * v))))
        assert abs(float(np.sum(d * v)) - float(np.sum(d_output * along))) <= complex_step_rtol() * scale, f"d{name}"


def test_shapes_expose_wrong_scaling() -> None:
    """A divisor that forgets the batch, the inputs or the outputs is right only where that one is 1."""
    shapes = [*DIMENSIONS, LARGE]
    for letter in "BIO":
        assert {dims[letter] == 1 for dims in shapes} == {True, False}
    assert any(dims["B"] == 1 < dims["O"] for dims in shapes)
    assert any(dims["O"] == 1 < dims["B"] for dims in shapes)
    assert any(set(dims.values()) == {1} for dims in shapes)
    assert min(LARGE.values()) > 64
    tested = {case.kernel.name for case in cases(backward=True)}
    assert tested == {kernel.name for kernel in KERNELS.values() if kernel.differentiable}


@pytest.mark.parametrize("dims", [DIMENSIONS[0], LARGE], ids="B{B}I{I}O{O}".format_map)
@every()
def test_float32_is_float64_rounded(case: Case, dims: Any, rng: Any) -> None:
    single = case.arguments(rng, dims, np.float32)
    double = {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in single.items()}
    got, expected = run(case, np, single), run(case, np, double)
    if case.kernel.backward:
        d = cotangent(rng, got[0])
        got = (*got, case.kernel.backward(np, got[1], d))
        expected = (*expected, case.kernel.backward(np, expected[1], d.astype(np.float64)))
    assert_leaves_agree(got, expected, agreement_rtol(np.float32, longest_sum(case.kernel, dims)))


@DIMS
@pytest.mark.parametrize("case", [c for c in cases() if c.complete], ids=lambda c: c.id)
def test_formulas_say_what_the_code_does(case: Case, dims: Any, rng: Any) -> None:
    kernel = case.kernel
    arrays = case.arguments(rng, dims)
    result = run(case, np, arrays)
    values = dict(zip(kernel.outputs, outputs(kernel, result), strict=True))
    env = {"xp": np, "Phi": np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2.0)), otypes=[np.float64])}
    env |= kernel.options | dict(case.options) | dict.fromkeys(kernel.optional) | arrays | values
    if case.labels:
        env["target"] = np.eye(dims["O"])[arrays["target"]]
    if has_pair(kernel) and hasattr(result[1], "_asdict"):
        env = result[1]._asdict() | env
    if kernel.backward:
        d_output = cotangent(rng, result[0])
        values |= {f"d{name}": d for name, d in gradients(case, np, result[1], d_output).items()}
        env[f"d{kernel.outputs[0]}"] = d_output
    assert kernel.formula.keys() == values.keys()
    for name, text in kernel.formula.items():
        expected = np.broadcast_to(np.asarray(eval(text, dict(env))), values[name].shape)
        if values[name].dtype.kind == "f":
            assert relative_error(values[name], expected) <= formula_rtol(), name
        else:
            np.testing.assert_array_equal(values[name], expected)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda k: k.name)
class TestRow:
    """What a row of the table must state."""

    def test_functions_and_file_are_named_after_the_kernel(self, kernel: Any) -> None:
        module = kernel.forward.__module__.rsplit(".", 1)[-1]
        assert module == kernel.name
        suffix = {"update": "_update", "helper": ""}.get(kernel.kind, "_fwd")
        assert kernel.forward.__name__.endswith(suffix)
        if kernel.backward:
            assert kernel.backward.__name__ == f"{kernel.name}_bwd"
        assert KERNELS[kernel.name] is kernel

    def test_every_array_has_a_shape(self, kernel: Any) -> None:
        assert set(kernel.shapes) == set(kernel.arguments) | set(kernel.outputs)
        assert set(kernel.domain) <= set(kernel.arguments)
        assert set(kernel.differentiable) <= set(kernel.arguments)
        assert bool(kernel.differentiable) == (kernel.backward is not None)

    def test_cost_is_positive(self, kernel: Any) -> None:
        dims = {d.partition("+")[0]: 7 for shape in kernel.shapes.values() for d in shape if isinstance(d, str)}
        for direction in ["forward", "backward"] if kernel.backward else ["forward"]:
            cost = kernel.cost(direction, **dims)
            assert cost.flops >= 0
            assert cost.elements > 0
            assert cost.bytes(4) == 4 * cost.elements
        assert sum(kernel.flops(**dims)) > 0 or kernel.name == "identity"

    def test_row_names_its_source(self, kernel: Any) -> None:
        assert kernel.source
        for function in filter(None, (kernel.forward, kernel.backward)):
            assert function.__doc__
            assert "Shapes:" in function.__doc__

    def test_losses_state_their_contract(self, kernel: Any) -> None:
        assert (kernel.kind == "loss") == bool(kernel.reductions)
        if kernel.kind == "loss":
            assert kernel.options["reduction"] == kernel.reductions[0]
            tested = {kernel.options["reduction"], *(v.get("reduction") for v in kernel.variants)} - {None}
            assert tested == set(kernel.reductions)
            assert (kernel.output == "scores") == (kernel.link is not None)
            assert kernel.link is None or kernel.link in KERNELS

    def test_only_step_has_no_backward(self, kernel: Any) -> None:
        assert (kernel.no_backward is not None) == (kernel.kind == "activation" and kernel.backward is None)


@pytest.mark.parametrize("name", ["dense", "dense_no_bias", "dense_bias_column"])
def test_dense_can_leave_dx_out(name: str, rng: Any) -> None:
    (case, *_) = [c for c in cases() if c.kernel.name == name]
    y, residual = run(case, np, case.arguments(rng, DIMENSIONS[0]))
    full = case.kernel.backward(np, residual, np.ones_like(y))
    short = case.kernel.backward(np, residual, np.ones_like(y), need_dx=False)
    assert short[0] is None
    for a, b in zip(full[1:], short[1:], strict=True):
        np.testing.assert_array_equal(a, b)
