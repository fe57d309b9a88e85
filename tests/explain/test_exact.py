"""Sums rounded once: all at a time they are those of the C library one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bpengine.explain.terms.sums import exact_sum, exact_sums


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 785])
def test_many_sums_at_once_are_rounded_once(n: int) -> None:
    rng = np.random.default_rng(n)
    terms = rng.normal(size=(50, n)) * 10.0 ** rng.integers(-8, 9, (50, n))
    terms[:, n // 2 :] -= terms[:, : n - n // 2][:, ::-1]  # what is left is far smaller than the terms
    np.testing.assert_array_equal(exact_sums(terms), [math.fsum(row) for row in terms])


def test_plain_addition_loses_digits_here() -> None:
    terms = np.array([[1.0, 1e100, 1.0, -1e100], [1e16, 1.0, -1e16, 1.0]])
    np.testing.assert_array_equal(exact_sums(terms), [2.0, 2.0])
    assert np.sum(terms, axis=1).tolist() != [2.0, 2.0]


@pytest.mark.parametrize(
    ("terms", "total"),
    [([1.0, np.inf], np.inf), ([-np.inf, 2.0, 3.0], -np.inf), ([np.inf, -np.inf], np.nan), ([np.nan, 1.0], np.nan)],
)
def test_non_finite_terms_stay_non_finite(terms: list[float], total: float) -> None:
    np.testing.assert_array_equal(exact_sums(np.array([terms])), [total])
    np.testing.assert_array_equal(exact_sum(np.array(terms)), total)
