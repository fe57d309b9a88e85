"""Layers against hand numbers and plain loops; the statistics of dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bpengine.backend import as_host
from bpengine.errors import ConfigError
from bpengine.kernels import KERNELS
from tests.tolerances import correlation_atol, value_rtol

X = np.array([[1.0, 2.0], [3.0, -1.0]])
W = np.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.5]])
B = np.array([10.0, 20.0, 30.0])
DY = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
Y = [[15.0, 22.0, 30.0], [11.0, 19.0, 26.5]]
DX = [[-2.0, 5.5], [1.0, 0.5]]
DW = [[1.0, 5.0, 0.0], [2.0, 3.0, 7.0]]
DB = [1.0, 3.0, 2.0]


def both(name: str, *args: Any, dy: Any, **options: Any) -> tuple[Any, Any]:
    y, residual = KERNELS[name].forward(np, *args, **options)
    return y, KERNELS[name].backward(np, residual, dy)


def test_dense_gives_the_values_computed_by_hand() -> None:
    y, (dx, dw, db) = both("dense", X, W, B, dy=DY)
    for got, expected in ((y, Y), (dx, DX), (dw, DW), (db, DB)):
        np.testing.assert_array_equal(got, expected)
    y, (dx, dw) = both("dense_no_bias", X, W, dy=DY)
    for got, expected in ((y, np.array(Y) - B), (dx, DX), (dw, DW)):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ones", ["first", "last"])
def test_dense_bias_column_is_dense(ones: str) -> None:
    order = (lambda rows, row: [row, *rows]) if ones == "first" else (lambda rows, row: [*rows, row])
    y, (dx, dw) = both("dense_bias_column", X, np.array(order(W, B)), dy=DY, ones=ones)
    for got, expected in ((y, Y), (dx, DX), (dw, order(DW, DB))):
        np.testing.assert_array_equal(got, expected)
    _, residual = KERNELS["dense_bias_column"].forward(np, X, np.array(order(W, B)), ones=ones)
    np.testing.assert_array_equal(residual.x_ones[:, 0 if ones == "first" else 2], [1.0, 1.0])


def test_dense_bias_column_refuses_another_place() -> None:
    with pytest.raises(ConfigError, match=r"unknown place of the ones 'middle'"):
        KERNELS["dense_bias_column"].forward(np, X, W, ones="middle")


def test_add_gives_the_values_computed_by_hand() -> None:
    y, (da, db) = both("add", X, 2.0 * X, dy=DY[:, :2])
    np.testing.assert_array_equal(y, 3.0 * X)
    np.testing.assert_array_equal(da, DY[:, :2])
    np.testing.assert_array_equal(db, DY[:, :2])


def test_divide_gives_the_values_computed_by_hand() -> None:
    y, (da, db) = both("divide", np.array([[3.0, -2.0]]), np.array([[4.0, -0.5]]), dy=np.array([[1.0, 0.5]]))
    for got, expected in ((y, [[0.75, 4.0]]), (da, [[0.25, -1.0]]), (db, [[-0.1875, 4.0]])):
        np.testing.assert_array_equal(got, expected)


def test_divide_does_not_square_its_denominator() -> None:
    tiny = np.array([[2.0**-600]])  # its square is 0
    y, (da, db) = both("divide", tiny, tiny, dy=np.ones((1, 1)))
    np.testing.assert_array_equal([y, da, db], [[[1.0]], [[2.0**600]], [[-(2.0**600)]]])


def normalized(values: list[float], eps: float) -> list[float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(variance + eps) for v in values]


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_norms_give_the_values_of_plain_loops(eps: float, rng: Any) -> None:
    x, gamma, beta = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=4)
    columns = np.array([normalized(c, eps) for c in x.T.tolist()]).T
    rows = np.array([normalized(r, eps) for r in x.tolist()])
    for name, hat in (("batch_norm", columns), ("layer_norm", rows)):
        y, _ = KERNELS[name].forward(np, x, gamma, beta, eps=eps)
        np.testing.assert_allclose(y, gamma * hat + beta, atol=value_rtol(np.float64, 24))


def test_batch_norm_gives_the_statistics_that_inference_needs(rng: Any) -> None:
    x, gamma, beta = 1e3 + rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=4)
    y, residual = KERNELS["batch_norm"].forward(np, x, gamma, beta)
    np.testing.assert_allclose(residual.mean, np.mean(x, axis=0), rtol=value_rtol(np.float64))
    np.testing.assert_allclose(residual.variance, np.var(x, axis=0), rtol=value_rtol(np.float64, 6))
    again, _ = KERNELS["batch_norm_inference"].forward(np, x, gamma, beta, residual.mean, residual.variance)
    np.testing.assert_allclose(again, y, rtol=value_rtol(np.float64, 24))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_constants_are_finite(dtype: Any) -> None:
    x, one = np.full((1, 3), 1e4, dtype=dtype), np.ones(3, dtype=dtype)
    for name in ("batch_norm", "layer_norm"):
        y, (dx, dgamma, _) = both(name, x, one, 2 * one, dy=np.ones_like(x))
        np.testing.assert_array_equal(y, [[2.0, 2.0, 2.0]])
        np.testing.assert_array_equal(dx, np.zeros((1, 3)))
        np.testing.assert_array_equal(dgamma, np.zeros(3))


def kept(seed: int = 1, step: int = 0, shape: tuple[int, int] = (400, 500), xp: Any = np, **options: Any) -> Any:
    counter = xp.asarray(np.array([seed, step], dtype=np.uint32))
    y, _ = KERNELS["dropout"].forward(xp, xp.ones(shape, dtype=xp.float32), counter, **options)
    return as_host(y)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_stated_share_and_scales_it(rate: float) -> None:
    y = kept(rate=rate)
    np.testing.assert_allclose(y[y > 0], 1.0 / (1.0 - rate), rtol=value_rtol(np.float32))
    assert abs(np.mean(y > 0) - (1.0 - rate)) <= correlation_atol(y.size) * math.sqrt(rate * (1.0 - rate))
    for axis in (0, 1):
        share = np.mean(y > 0, axis=axis) - (1.0 - rate)
        assert np.max(np.abs(share)) <= correlation_atol(y.shape[axis]) * math.sqrt(rate * (1.0 - rate))


def test_dropout_gradient_uses_the_forward_mask(rng: Any) -> None:
    x, dy = rng.normal(size=(20, 30)), rng.normal(size=(20, 30))
    y, dx = both("dropout", x, np.array([7, 8], dtype=np.uint32), dy=dy, rate=0.25)
    np.testing.assert_array_equal(y == 0.0, dx == 0.0)
    np.testing.assert_allclose(dx[y != 0], dy[y != 0] / 0.75, rtol=value_rtol(np.float64))


def signs(**where: Any) -> Any:
    return np.where(kept(**where) > 0, 1.0, -1.0)


@pytest.mark.parametrize(
    "other",
    [{"step": n} for n in (1, 2, 3, 256, 65536)]
    + [{"salt": n} for n in (1, 2, 3, 100)]
    + [{"seed": n} for n in (0, 2, 3, 2**31, 2**32 - 1)]
    + [{"seed": 0, "step": 1}],
    ids=str,
)
def test_dropout_masks_are_uncorrelated(other: dict[str, int]) -> None:
    one, two = signs(), signs(**other)
    assert abs(np.mean(one * two)) <= correlation_atol(one.size)
    for shift in ((0, 1), (1, 0), (1, 1)):
        assert abs(np.mean(one * np.roll(two, shift, axis=(0, 1)))) <= correlation_atol(one.size)
    assert abs(np.mean(one * two * signs(step=9))) <= correlation_atol(one.size)


def test_dropout_neighbours_are_uncorrelated() -> None:
    mask = signs()
    for shift in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (0, 8), (8, 0), (0, 256), (256, 0)):
        assert abs(np.mean(mask * np.roll(mask, shift, axis=(0, 1)))) <= correlation_atol(mask.size), shift
    for down in (1, 2, 64):
        for right in (1, 2, 64):  # the corners of a rectangle share two row hashes and two column hashes
            a, b = mask[:-down, :-right] * mask[down:, right:], mask[down:, :-right] * mask[:-down, right:]
            assert abs(np.mean(a * b)) <= correlation_atol(a.size), (down, right)
    upper = np.triu_indices(mask.shape[0], k=1)
    assert abs(np.mean(mask[:, : mask.shape[0]][upper] * mask[:, : mask.shape[0]].T[upper])) <= correlation_atol(79800)
    assert abs(np.mean(np.diagonal(mask))) <= correlation_atol(mask.shape[0])
    assert len({row.tobytes() for row in mask}) == mask.shape[0]


def test_dropout_mask_does_not_depend_on_namespace_or_batch_size(xp: Any) -> None:
    where = {"seed": 2**32 - 1, "step": 12345, "salt": 3, "rate": 0.3}
    reference = kept(shape=(40, 30), **where)
    np.testing.assert_array_equal(kept(shape=(40, 30), xp=xp, **where), reference)
    np.testing.assert_array_equal(kept(shape=(10, 30), xp=xp, **where), reference[:10])
    np.testing.assert_array_equal(kept(shape=(40, 7), xp=xp, **where), reference[:, :7])
