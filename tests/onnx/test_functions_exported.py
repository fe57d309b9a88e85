"""Every function of NumPy that is exported gives on a server what NumPy gives; what is not is refused by its name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from bpengine.onnx.onnx_graph import ROWS, NoOnnxForm, OnnxGraph
from bpengine.onnx.recorded_array import RecordedArray
from bpengine.onnx.recording_namespace import FORMS, RecordingNamespace
from tests.onnx.served import assert_same, served

Call = Callable[[Any, Any], Any]  # of a namespace and an array (rows, 3)
ONES = (np.exp, np.log, np.sqrt, np.log1p, np.log2, np.log10)  # of numbers above 0
SMALL = (np.expm1, np.log1p, np.sinh, np.tanh, np.sin)  # which keep the digits of a small number
PAIRS = (
    *(np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.equal, np.not_equal, np.greater),
    *(np.greater_equal, np.less, np.less_equal, np.logaddexp),
)
TRUTHS = (np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor)


def unary(ufunc: np.ufunc) -> Call:
    return lambda xp, x: ufunc(abs(x) + 0.01 if ufunc in ONES else x)


def pair(ufunc: np.ufunc) -> Call:
    return lambda xp, x: ufunc(x, x[:, ::-1])


def truth(ufunc: np.ufunc) -> Call:
    return lambda xp, x: ufunc(x > 0, x[:, ::-1] > 0.3)


REDUCED = (np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std)
UNARY = (
    *(*ONES, *SMALL, np.negative, np.absolute, np.sign, np.cos, np.tan, np.floor, np.ceil, np.rint, np.isnan, np.exp2),
    *(np.cosh, np.square, np.reciprocal, np.positive, np.isfinite, np.isinf),
)
CALLS: dict[Any, list[Call]] = {
    **{ufunc: [unary(ufunc)] for ufunc in UNARY},
    **{ufunc: [pair(ufunc)] for ufunc in PAIRS},
    **{ufunc: [truth(ufunc)] for ufunc in TRUTHS},
    **{
        function: [
            lambda xp, x, f=function: f(x, axis=1),
            lambda xp, x, f=function: f(x, axis=-1, keepdims=True),
            lambda xp, x, f=function: f(x, axis=0),
            lambda xp, x, f=function: f(x),
        ]
        for function in REDUCED
    },
    np.logical_not: [lambda xp, x: np.logical_not(x > 0)],
    np.invert: [lambda xp, x: ~(x > 0)],
    np.power: [lambda xp, x: x**2, lambda xp, x: abs(x) ** 0.5, lambda xp, x: 2.0**x],
    np.matmul: [
        lambda xp, x: x @ np.arange(6, dtype=x.dtype).reshape(3, 2),
        lambda xp, x: x.T @ x,
        lambda xp, x: x[:, None, :] @ x[:, :, None],
    ],
    np.any: [lambda xp, x: xp.any(x > 0.5, axis=1)],
    np.all: [lambda xp, x: xp.all(x > -0.5, axis=1, keepdims=True)],
    np.argmax: [lambda xp, x: xp.argmax(x, axis=1)],
    np.argmin: [lambda xp, x: xp.argmin(x, axis=1, keepdims=True)],
    np.zeros_like: [lambda xp, x: xp.zeros_like(x)],
    np.ones_like: [
        lambda xp, x: xp.concat([x, xp.ones_like(x[:, :1])], axis=1),
        lambda xp, x: xp.ones((x.shape[0], 2)),
    ],
    np.full_like: [
        lambda xp, x: xp.full_like(x, 2.5),
        lambda xp, x: xp.full((x.shape[0], 1), 0.5, dtype=x.dtype),
        lambda xp, x: x * xp.full((1, 3), 0.5, dtype=x.dtype),
    ],
    np.broadcast_to: [
        lambda xp, x: xp.broadcast_to(x[:, :1], (x.shape[0], 4)),
        lambda xp, x: xp.broadcast_to(x, x.shape),
    ],
    np.reshape: [
        lambda xp, x: xp.reshape(x, (x.shape[0], 3, 1)),
        lambda xp, x: xp.reshape(x, (-1, 1, 3)),
        lambda xp, x: xp.reshape(x, (x.shape[0], -1)),
    ],
    np.expand_dims: [lambda xp, x: xp.expand_dims(x, 1), lambda xp, x: x[..., None], lambda xp, x: x[None, :, None]],
    np.squeeze: [lambda xp, x: xp.squeeze(x[:, 1:2], axis=1), lambda xp, x: x[:, -1]],
    np.permute_dims: [lambda xp, x: xp.permute_dims(x[:, None], (2, 0, 1)), lambda xp, x: x.T],
    np.matrix_transpose: [lambda xp, x: xp.matrix_transpose(x[:, None]), lambda xp, x: x.mT],
    np.astype: [lambda xp, x: xp.astype(x > 0, x.dtype), lambda xp, x: xp.astype(3 * x, np.int64)],
    np.copy: [lambda xp, x: 2 * xp.copy(x), lambda xp, x: xp.asarray(x, dtype=np.float64)],
    np.clip: [
        lambda xp, x: xp.clip(x, -0.5, 0.5),
        lambda xp, x: xp.clip(x, None, 0.5),
        lambda xp, x: xp.clip(x, min=0),
    ],
    np.round: [lambda xp, x: xp.round(3 * x)],
    np.where: [lambda xp, x: xp.where(x > 0, x, 0.1 * x), lambda xp, x: xp.where(x > 0, 1.0, x)],
    np.concat: [lambda xp, x: xp.concat([x, 2 * x, x[:, :1]], axis=-1)],
    np.stack: [lambda xp, x: xp.stack([x, -x], axis=1)],
    np.take: [lambda xp, x: xp.take(x, np.array([2, 0, -1]), axis=1), lambda xp, x: x[:, [1, 0]]],
}
SLICES: list[Call] = [
    lambda xp, x: x[:, 1:],
    lambda xp, x: x[:, ::-2],
    lambda xp, x: x[:, -2:-1],
    lambda xp, x: x[..., 0],
    lambda xp, x: x[:, None, 1:, None],
]
EVERY = {f"{f.__name__}-{k}": call for f, calls in CALLS.items() for k, call in enumerate(calls)} | {
    f"slice-{k}": call for k, call in enumerate(SLICES)
}


@cache
def results(dtype: str) -> tuple[dict[str, Any], Any]:
    graph = OnnxGraph(FORMS)
    x, xp = RecordedArray(graph, graph.input("x", dtype, (ROWS, 3))), RecordingNamespace(graph)
    run = served(graph, [x], {name: call(xp, x) for name, call in EVERY.items()})
    numbers = np.random.default_rng(0).uniform(-2, 2, (9, 3)).astype(dtype)
    return run({"x": numbers}), numbers


def test_every_function_is_tried() -> None:
    assert set(CALLS) == set(FORMS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EVERY)
def test_a_function_gives_what_numpy_gives(name: str, dtype: str) -> None:
    served_numbers, x = results(dtype)
    assert_same(served_numbers[name], EVERY[name](np, x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_numbers_keep_their_digits(dtype: str) -> None:
    graph = OnnxGraph(FORMS)
    x = RecordedArray(graph, graph.input("x", dtype, (ROWS,)))
    run = served(graph, [x], {ufunc.__name__: ufunc(x) for ufunc in SMALL})
    numbers = np.array([*np.logspace(-12, -1, 40), *-np.logspace(-12, -1, 40), 0.0], dtype)
    for ufunc in SMALL:
        for got, number in zip(run({"x": numbers})[ufunc.__name__], numbers, strict=True):
            assert_same(np.asarray(got), ufunc(number))


def test_non_finite_values_stay_non_finite() -> None:
    graph = OnnxGraph(FORMS)
    x = RecordedArray(graph, graph.input("x", "float64", (ROWS,)))
    functions = (np.isfinite, np.isnan, np.isinf, np.log1p, np.expm1)
    run = served(graph, [x], {function.__name__: function(x) for function in functions})
    numbers = np.array([np.inf, -np.inf, np.nan, 0.0, 1e300])
    with np.errstate(all="ignore"):
        for function in functions:
            assert_same(run({"x": numbers})[function.__name__], function(numbers))


REFUSED: dict[str, Call] = {
    "np.sort": lambda xp, x: xp.sort(x, axis=1),
    "np.arctan": lambda xp, x: xp.arctan(x),
    "np.add.reduce": lambda xp, x: np.add.reduce(x, axis=1),
    "np.multiply with where": lambda xp, x: np.multiply(x, 2.0, where=True),
    "np.sum with the options axis, initial": lambda xp, x: np.sum(x, axis=1, initial=2.0),
    "the attribute 'sum' of an array": lambda xp, x: x.sum(),
    "a branch on a value": lambda xp, x: x if xp.sum(x) > 0 else -x,
    "a value read by Python": lambda xp, x: np.asarray(x),
    "a write into an array by np.add": lambda xp, x: operator.iadd(2 * x, 1),
    "a write into an array": lambda xp, x: x.__setitem__(0, 1.0),
    "a branch on the number of rows": lambda xp, x: x if x.shape[0] == 1 else -x,
    "the number of rows as a number": lambda xp, x: xp.sum(x, axis=0) / x.shape[0],
    "a choice of rows": lambda xp, x: x[::2],
    "indexing by a computed array": lambda xp, x: x[x > 0],
    "a loop over the rows": lambda xp, x: list(x),
    "a reshape of": lambda xp, x: xp.reshape(x, (-1,)),
    "np.concat along the rows": lambda xp, x: xp.concat([x, x], axis=0),
    "np.round with decimals": lambda xp, x: xp.round(x, 2),
    "an array of float16": lambda xp, x: xp.astype(x, np.float16),
    "operands of the lengths 3, 2 along one axis": lambda xp, x: x + x[:, :2],
    "a product of arrays of the shapes": lambda xp, x: x @ x,
    "np.bitwise_and of numbers": lambda xp, x: xp.astype(x, np.int64) & 1,
    "np.less_equal of truth values": lambda xp, x: (x > 0) <= (x > 2),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_function_without_an_onnx_form_is_named(reason: str) -> None:
    graph = OnnxGraph(FORMS)
    x = RecordedArray(graph, graph.input("x", "float32", (ROWS, 3)))
    with pytest.raises(NoOnnxForm) as refusal:
        REFUSED[reason](RecordingNamespace(graph), x)
    assert str(refusal.value).startswith(reason)


def test_arrays_with_an_unknown_number_of_rows_are_not_made_by_numpy() -> None:
    graph = OnnxGraph(FORMS)
    x = RecordedArray(graph, graph.input("x", "float32", (ROWS, 3)))
    for make in (lambda: np.ones((x.shape[0], 1)), lambda: np.full(x.shape, 2.0), lambda: np.arange(x.shape[0])):
        with pytest.raises(NoOnnxForm):
            make()
