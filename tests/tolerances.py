"""The only file with tolerance numbers: each is a function of the precision and of the length of the longest sum."""

from __future__ import annotations

import math

import numpy as np

STEP = 1e-5  # of a central difference in float64, near the optimum eps^(1/3)


def agreement_rtol(dtype: object, k: int = 1) -> float:
    """Two ways to compute the same thing: relative to the largest element, `k` the length of the longest sum."""
    return 8.0 * float(np.finfo(dtype).eps) * math.sqrt(k)


def value_rtol(dtype: object, k: int = 1) -> float:
    """A computed value against its closed form, which passes through a few functions of a few units each."""
    return 16.0 * float(np.finfo(dtype).eps) * math.sqrt(k)


def oracle_rtol() -> float:
    """A backward against automatic differentiation of its forward, float64, relative to the largest element."""
    return 1e-12


def complex_step_rtol() -> float:
    """A backward against the complex step, float64: no subtraction takes place, so nothing but rounding differs."""
    return 1e-12


def formula_rtol() -> float:
    """A kernel against its printed formula, float64: formulas are written for the eye and cancel where code does not."""
    return 1e-12


def dot_test_rtol() -> float:
    """A backward against a central difference with `STEP`, float64: error STEP^2 f'''/6 + eps f / STEP."""
    return 1e-7


def correlation_atol(n: int) -> float:
    """Sample correlation, or mean of n independent signs: six standard deviations."""
    return 6.0 / math.sqrt(n)
