"""Sums over many rows: their error does not grow with the number of rows; few rows are summed as the library does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.kernels import KERNELS, _functions
from bpengine.kernels._functions import BLOCK, LONGEST, row_mean, row_product, row_sum
from tests.tolerances import agreement_rtol

MANY = 1_000_000
LEVELS = 4  # of blocks of 64 for a million rows: each adds the error of a sum of 64


def error(got: Any, exact: Any, size: Any) -> float:
    """Return the largest error relative to the sum of magnitudes: what cancels is no fault of the sum."""
    return float(np.max(np.abs(np.asarray(got, np.float64) - exact) / size))


def rows(kind: str, columns: int, rng: np.random.Generator, count: int = MANY) -> Any:
    equal = np.full((count, columns), 0.1, np.float32)
    return equal if kind == "equal" else rng.normal(size=(count, columns)).astype(np.float32)


@pytest.mark.parametrize("kind", ["equal", "noise"])
@pytest.mark.parametrize("columns", [1, 3])
def test_sums_and_means_of_a_million_rows_are_precise(
    xp: Any, kind: str, columns: int, rng: np.random.Generator
) -> None:
    a = rows(kind, columns, rng)
    exact, size = a.sum(axis=0, dtype=np.float64), np.abs(a).sum(axis=0, dtype=np.float64)
    limit = agreement_rtol(np.float32, LEVELS * BLOCK) / 8
    assert error(row_sum(xp, xp.asarray(a)), exact, size) < limit
    assert error(MANY * np.asarray(row_mean(xp, xp.asarray(a)), np.float64), exact, size) < limit


@pytest.mark.parametrize("count", [65_536, 1_000_003])
@pytest.mark.parametrize("kind", ["equal", "noise"])
def test_products_over_many_rows_are_precise(xp: Any, kind: str, count: int, rng: np.random.Generator) -> None:
    x, dy = rows(kind, 3, rng, count), rows(kind, 4, rng, count)
    exact, size = (a.T @ b for a, b in ((x.astype("f8"), dy.astype("f8")), (np.abs(x).astype("f8"), np.abs(dy))))
    assert error(row_product(xp, xp.asarray(x), xp.asarray(dy)), exact, size) < agreement_rtol(np.float32, LONGEST)


def test_a_product_over_a_million_rows_is_as_exact_as_one_over_few(xp: Any) -> None:
    """XLA's own is off by 1.8e-5 here; in blocks the error no longer grows with the rows."""
    x, dy = rows("equal", 3, np.random.default_rng(0)), rows("equal", 4, np.random.default_rng(0))
    exact = MANY * np.float64(x[0, 0]) ** 2
    assert error(row_product(xp, xp.asarray(x), xp.asarray(dy)), exact, exact) < agreement_rtol(np.float32, LONGEST) / 8


@pytest.mark.parametrize("kernel", ["dense", "dense_no_bias", "dense_bias_column", "batch_norm", "layer_norm"])
def test_gradients_of_a_million_equal_rows_are_precise(kernel: str) -> None:
    dims = {"B": MANY // 10, "I": 2, "O": 3}
    row = KERNELS[kernel]
    count = {"I+1": 3, **dims}
    arrays = [np.full([count[d] for d in row.shapes[n]], 0.3, np.float32) for n in row.arguments]
    wide = [a.astype(np.float64) for a in arrays]
    gradients, exact = (
        row.backward(np, row.forward(np, *values)[1], np.full((dims["B"], 3), 0.1, values[0].dtype))
        for values in (arrays, wide)
    )
    for name, got, want in zip(row.differentiable[1:], gradients[1:], exact[1:], strict=True):
        size = 0.1 * dims["B"] if kernel.endswith("norm") else np.abs(want).max()
        assert error(got, want, size) < agreement_rtol(np.float32, LONGEST), name


@pytest.mark.parametrize("count", [1, 64, 1024, LONGEST])
def test_usual_batches_keep_the_librarys_bits(count: int, rng: np.random.Generator) -> None:
    a, b = rows("noise", 5, rng, count), rows("noise", 3, rng, count)
    np.testing.assert_array_equal(row_sum(np, a), np.sum(a, axis=0))
    np.testing.assert_array_equal(row_mean(np, a), np.mean(a, axis=0))
    np.testing.assert_array_equal(row_product(np, a, b), a.T @ b)


@pytest.mark.parametrize("count", [LONGEST + 1, LONGEST + BLOCK, 2 * LONGEST, 3 * LONGEST + 17])
def test_every_row_counts_once(xp: Any, count: int) -> None:
    a = np.arange(count, dtype=np.float64)[:, None] * np.array([1.0, 2.0])
    np.testing.assert_array_equal(np.asarray(row_sum(xp, xp.asarray(a))), a.sum(axis=0))
    np.testing.assert_array_equal(np.asarray(row_product(xp, xp.asarray(a), xp.asarray(a))), a.T @ a)


def test_one_function_decides_when_sums_run_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without blocks the error exceeds the bound above by far: it is this rule that holds it."""
    monkeypatch.setattr(_functions, "LONGEST", MANY)
    a = np.full((MANY, 2), 0.1, np.float32)
    exact = a.sum(axis=0, dtype=np.float64)
    assert error(row_sum(np, a), exact, exact) > 100 * agreement_rtol(np.float32, LEVELS * BLOCK) / 8


def test_full_batch_training_keeps_its_digits() -> None:
    x, y = np.full((200_000, 1), 0.3), np.full((200_000, 1), 0.1)
    net = bp.Network(1, [bp.Dense(2), bp.Dense(1)], "mean_squared_error")
    exact, ours = (bp.Model(net, dtype=dtype).loss_and_gradients(x, y)[1] for dtype in ("float64", "float32"))
    for name, want in exact.items():
        assert error(ours[name], want, np.abs(want).max()) < agreement_rtol(np.float32, LONGEST), name
