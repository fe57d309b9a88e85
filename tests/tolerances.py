"""The only file with tolerance numbers: each is a function of the precision and of the length of the longest sum."""

from __future__ import annotations

import math

import numpy as np

STEP = 1e-5  # of a central difference in float64, near the optimum eps^(1/3)


def agreement_rtol(dtype: object, k: int = 1) -> float:
    """Bound two ways to compute the same thing: relative to the largest element, `k` the length of the longest sum."""
    return 8.0 * float(np.finfo(dtype).eps) * math.sqrt(k)


def value_rtol(dtype: object, k: int = 1) -> float:
    """Bound a computed value against its closed form, which passes through a few functions of a few units each."""
    return 16.0 * float(np.finfo(dtype).eps) * math.sqrt(k)


def exported_rtol(dtype: object) -> float:
    """Bound what a server computes of an exported model, relative to the largest: it rounds products its way."""
    return 1e-6 if np.dtype(dtype) == np.float32 else 1e-13


def oracle_rtol() -> float:
    """Bound a backward against automatic differentiation of its forward, float64, relative to the largest element."""
    return 1e-12


def complex_step_rtol() -> float:
    """Bound a backward against the complex step, float64: it subtracts nothing, so only rounding differs."""
    return 1e-12


def formula_rtol() -> float:
    """Bound a kernel against its printed formula, float64: a formula may cancel where the code does not."""
    return 1e-12


def dot_test_rtol() -> float:
    """Bound a backward against a central difference with `STEP`, float64: error STEP^2 f'''/6 + eps f / STEP."""
    return 1e-7


def correlation_atol(n: int) -> float:
    """Bound a sample correlation, or the mean of n independent signs: six standard deviations."""
    return 6.0 / math.sqrt(n)


def training_rtol(dtype: object, steps: int) -> float:
    """Losses of two backends after a number of training steps: roundings add up like a random walk, with room."""
    return 64.0 * float(np.finfo(dtype).eps) * math.sqrt(steps)


def published_atol(digits: int) -> float:
    """Compare with a published number, printed or truncated to so many digits after the point."""
    return 10.0**-digits


def after_thousands_of_steps_rtol() -> float:
    """Compare a float64 result after up to 60,000 steps of descent, with the same descent written out elsewhere."""
    return 1e-9


def compiled_state_rtol(dtype: object, steps: int) -> float:
    """Bound two ways to run the same training steps, state relative to its largest element: a few units at each step."""
    return 4.0 * float(np.finfo(dtype).eps) * max(4.0, math.sqrt(steps))


def fifty_steps_rtol(dtype: object) -> float:
    """Return what is promised of 50 steps on a GPU against NumPy's, relative to the state's largest element."""
    return 1e-6 if np.dtype(dtype) == np.float32 else 1e-14


def launch_rtol(dtype: object) -> float:
    """Bound exp, log or a sum taken in another order, in one launch, relative to the largest element."""
    return 64.0 * float(np.finfo(dtype).eps)


def reduced_rtol(precision: str, steps: int) -> float:
    """Bound losses of a few steps against float32's where products' operands are rounded: half a unit each, with room."""
    return 8.0 * {"bfloat16": 2.0**-9, "tf32": 2.0**-12}[precision] * math.sqrt(steps)


def derivative_rtol(dtype: object) -> float:
    """Bound a derivative of a small network against JAX's in float64, relative to the largest element: some roundings."""
    return 2.0**12 * float(np.finfo(dtype).eps)


def stated_derivative_rtol() -> float:
    """Return the error that is promised of every derivative in float64, relative to the largest element."""
    return 1e-6


def eigenvalue_rtol(tolerance: float) -> float:
    """Bound a simple eigenvalue whose residual is `tolerance` of it: quadratic in it, over a gap of a hundredth at least."""
    return 100.0 * tolerance**2 + 1e-12


def answer_rtol(dtype: object) -> float:
    """Compare a page's own numbers with the engine's, a few steps on: sums in another order, another exp and tanh."""
    return 1e-12 if np.dtype(dtype) == np.float64 else 64 * float(np.finfo(np.float32).eps)
