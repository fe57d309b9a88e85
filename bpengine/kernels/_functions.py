"""Mathematics that several kernels share, smooth under automatic differentiation as written; the terms of their outputs."""

from __future__ import annotations

import math
import sys
from functools import lru_cache

from bpengine.errors import unknown
from bpengine.kernels._kernel import Array, ForwardTerms, Namespace

# log(erfc(z) exp(z^2) / t) for z >= 0 as a Chebyshev series in 2t - 1, with t = 2 / (2 + z): the form of Press,
# Teukolsky, Vetterling, Flannery, "Numerical Recipes", 3rd edition, section 6.2.2. Computed with mpmath (60 digits) by
# the discrete cosine transform of the function at 80 Chebyshev nodes; the first term left out is 5e-20.
_ERFC_SERIES = (
    -0.6513268598908547,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)

_REDUCTIONS = ("sum", "batch_mean", "mean")

LONGEST = 4096  # up to so many rows are added one after the other and multiplied in one product; batches have fewer
BLOCK = 64  # rows of a block where there are more: blocks are summed, then blocks of these sums, until one row is left
NARROW = 4096  # libraries compute a product of at most so many numbers row after row, not in blocks
NARROW_BLOCK = 256  # rows of a block of such a product
_OWN_BLOCKS = (
    "jax.numpy",
)  # libraries that already sum and multiply wide matrices in blocks: XLA's errors are 2e-7 and 2e-6


def sigmoid(xp: Namespace, x: Array) -> Array:
    """Compute 1 / (1 + exp(-x)) without overflow and with full relative precision in both tails.

    The exponent is cut where exp would overflow. Further left the value is below the smallest normal number and 0 is
    returned, so that the product with any finite factor is 0 as well.
    """
    largest = largest_exponent(xp, x)
    return mask(xp, x >= -largest, x) / (1.0 + xp.exp(-xp.clip(x, -largest, None)))


def largest_exponent(xp: Namespace, like: Array) -> int:
    """Return the largest whole number whose exp is finite in `like`'s dtype: 88 in float32, 709 in float64."""
    return math.floor(math.log(float(xp.finfo(like.dtype).max)))


def softplus(xp: Namespace, x: Array) -> Array:
    """Compute log(1 + exp(x)) without overflow, as max(x, 0) + log1p(exp(-|x|)).

    -|x| is written x - 2 max(x, 0): at x = 0 the maximum's derivative is 1/2 under automatic differentiation, and both
    terms together are smooth; the derivative of abs at 0 is a convention, and JAX's is 1. In the second term x is cut at 40,
    where rounding removes the term anyway; otherwise inf - inf would be NaN.
    """
    positive = xp.maximum(x, xp.zeros_like(x))
    return positive + xp.log1p(xp.exp(xp.clip(x, None, 40.0) - positive - positive))


def finite(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Return x cut to the finite numbers of its dtype, and a factor that is 1 where nothing was cut.

    Where x is infinite, the factor is so large that any nonzero share of the cut x overflows to infinity again, while 0
    times the cut x stays 0: an infinite value whose share in a loss is 0 adds nothing to it. `where` would do the same in
    ten times the time on NumPy.
    """
    largest = float(xp.finfo(x.dtype).max)
    near = xp.clip(x, -largest, largest)
    return near, 1.0 + xp.clip(xp.abs(x - near), None, 4.0 * math.sqrt(largest))


def normal_cdf(xp: Namespace, x: Array) -> Array:
    """Compute Phi(x), the standard normal distribution function, with full relative precision in both tails.

    The array API standard has no erf, so with a = |x| and t = 1 / (1 + a / sqrt(8)):
    Phi(-a) = erfc(a / sqrt(2)) / 2 = t / 2 * exp(-a^2 / 2 + series(2 t - 1)), and Phi(a) = 1 - Phi(-a).
    a^2 is split as coarse^2 + (a - coarse)(a + coarse), where coarse is exact in few bits: rounding a^2 = 160 in
    float32 could already cost a relative 4e-6, 32 times its precision. The sign comes from a
    mask, since the derivative through |x| would be 0 at x = 0.
    """
    upper = mask(xp, x >= 0, x)
    sign = 2.0 * upper - 1.0
    a = xp.clip(sign * x, None, 40.0)  # Phi(-40) is 0 in float64
    t = 1.0 / (1.0 + a * math.sqrt(0.125))
    coarse = xp.round(16.0 * a) * 0.0625
    series = _polynomial(2.0 * t - 1.0, _erfc_powers(float(xp.finfo(x.dtype).eps)))
    tail = 0.5 * t * xp.exp(-0.5 * coarse * coarse) * xp.exp(series - 0.5 * (a - coarse) * (a + coarse))
    return upper - sign * tail


def normal_pdf(xp: Namespace, x: Array) -> Array:
    """Compute phi(x) = exp(-x^2 / 2) / sqrt(2 pi), the standard normal density, for |x| <= 40; there it is 0 in float64."""
    return xp.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))


def row_sum(xp: Namespace, a: Array) -> Array:
    """Compute the sum over the rows, `xp.sum(a, axis=0)`; of more than `LONGEST` rows in blocks.

    NumPy adds row after row: the sum of a million equal float32 numbers is off by 0.9 %. In blocks of `BLOCK` rows, whose
    sums are added up in the same way, an error grows like the logarithm of the number of rows.
    Shapes: a (B, O) -> (O,).
    Source: Higham, "The accuracy of floating point summation", SIAM Journal on Scientific Computing 14, 1993.
    """
    return _sum_in_blocks(xp, a) if a.shape[0] > LONGEST else xp.sum(a, axis=0)


def _sum_in_blocks(xp: Namespace, a: Array) -> Array:
    """Compute the sum over the rows, of more than `BLOCK` in blocks, or by a library that sums in blocks itself."""
    while not _sums_in_blocks(xp) and (rows := a.shape[0]) > BLOCK:
        blocks = rows // BLOCK
        whole = blocks * BLOCK
        lines = xp.sum(xp.reshape(a[:whole, ...], (blocks, BLOCK, *a.shape[1:])), axis=1)
        rest = [xp.sum(a[whole:, ...], axis=0, keepdims=True)] if whole < rows else []
        a = xp.concat([lines, *rest], axis=0) if rest else lines
    return xp.sum(a, axis=0)


def row_mean(xp: Namespace, a: Array) -> Array:
    """Compute the mean over the rows, `xp.mean(a, axis=0)`; of more than `LONGEST` rows in blocks, as `row_sum`.

    Shapes: a (B, O) -> (O,).
    """
    return row_sum(xp, a) / a.shape[0] if a.shape[0] > LONGEST else xp.mean(a, axis=0)


def row_shares(xp: Namespace, a: Array, weights: Array | None) -> float | Array:
    """Return the share of each row of `a` in a mean over the rows: 1 / B, or the weight over the sum of all, as (B, 1).

    The mean is the sum of share * row: a weight of 2 counts a row twice, a weight of 0 leaves it out. Where all weights
    are 0, every row has the share 1 / B in place of 0 / 0. The loss of such a batch is 0, so nothing is learned from it,
    and all intermediate numbers stay as finite as without weights.
    Shapes: a (B, O), weights (B,) or None -> a number, or (B, 1).
    """
    rows = a.shape[0]
    if weights is None:
        return 1.0 / rows
    total = xp.sum(weights, keepdims=True)
    empty = mask(xp, total == 0, total)
    return xp.reshape((weights + empty) / (total + rows * empty), (rows,) + (1,) * (a.ndim - 1))


def shared_mean(xp: Namespace, a: Array, share: Array) -> Array:
    """Compute the mean of rows with the given shares, sum share * row.

    The shares sum to 1 only up to rounding, which would shift a mean that is far from 0. A second pass adds the mean of
    the differences from the first mean.
    Shapes: a (B, O), share (B, 1) -> (O,).
    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37, 1983 (the
    corrected two-pass algorithm).
    """
    mean = row_sum(xp, share * a)
    return mean + row_sum(xp, share * (a - mean))


def row_product(xp: Namespace, x: Array, dy: Array) -> Array:
    """Compute x^T dy, a sum over the rows; of more than `LONGEST` rows as the sum of products of blocks of rows.

    Libraries multiply wide matrices in blocks of rows, but narrow ones row after row, with the error of a plain sum: 2e-5
    for a million equal float32 rows, and 1e-6 in blocks of `NARROW_BLOCK` rows.
    Shapes: x (B, I), dy (B, O) -> (I, O).
    """
    rows, narrow = x.shape[0], x.shape[1] * dy.shape[1] <= NARROW
    if rows <= LONGEST or (not narrow and _sums_in_blocks(xp)):
        return xp.matmul(x.T, dy)
    block = NARROW_BLOCK if narrow else LONGEST
    whole = rows // block * block
    left, right = (xp.reshape(a[:whole, ...], (whole // block, block, a.shape[1])) for a in (x, dy))
    total = _sum_in_blocks(xp, xp.matmul(xp.matrix_transpose(left), right))
    return total if whole == rows else total + xp.matmul(x[whole:, ...].T, dy[whole:, ...])


def _sums_in_blocks(xp: Namespace) -> bool:
    """Say whether a library adds up rows in blocks of its own."""
    return getattr(xp, "__name__", "") in _OWN_BLOCKS


def mask(xp: Namespace, condition: Array, like: Array) -> Array:
    """Turn a condition into zeros and ones of `like`'s dtype: multiplying by it is 20 times as fast as `where` on NumPy."""
    return xp.astype(condition, like.dtype)


def tiny(xp: Namespace, like: Array) -> float:
    """Return 2^20 times the smallest normal number of `like`'s dtype: added to a probability, it keeps the logarithm finite.

    Its reciprocal, times the weight of a row, is finite as well for weights up to four million.
    """
    return float(xp.finfo(like.dtype).smallest_normal) * 2.0**20


def bias_correction(xp: Namespace, t: Array, beta: float) -> Array:
    """Compute 1 - beta^t for t = 1, 2, ...: the sum of the weights in a running mean that started at 0.

    expm1 makes it as exact in float32 as in float64. For beta = 0 the mean is the last value and the result is 1: the
    logarithm is then taken of the smallest normal number, whose powers rounding removes beside 1.
    """
    return -xp.expm1(t * math.log(max(beta, sys.float_info.min)))


def penalty_factor(xp: Namespace, w: Array, weights: Array | None, strength: float, bias_row: str | None) -> Array:
    """Return `strength` for every row of w, as (rows, 1), and 0 for the row that holds the bias ("first", "last").

    With the weights (batch,) of samples it is divided by their sum, the number of samples they stand for: a weight of 2
    counts a sample twice. Where all weights are 0, the factor is 0, as in `reduction_factor`.
    """
    rows = w.shape[0]
    places = {None: rows, "first": 0, "last": rows - 1}
    if bias_row not in places:
        raise unknown("bias_row", bias_row, ("None", "first", "last"))
    keep = mask(xp, xp.arange(rows) != places[bias_row], w)
    factor = xp.reshape(strength * keep, (rows,) + (1,) * (w.ndim - 1))
    if weights is None:
        return factor
    total = xp.reshape(xp.sum(weights, keepdims=True), (1,) * w.ndim)
    empty = mask(xp, total == 0, total)
    return factor * ((1.0 - empty) / (total + empty))


def one_hot(xp: Namespace, target: Array, like: Array) -> Array:
    """Return `target` as (batch, classes) of `like`'s dtype; whole-number targets of shape (batch,) are expanded."""
    if not xp.isdtype(target.dtype, "integral"):
        return target
    classes = xp.arange(like.shape[1], dtype=target.dtype)
    return xp.astype(target[:, None] == classes[None, :], like.dtype)


def reduction_factor(xp: Namespace, values: Array, weights: Array | None, reduction: str) -> Array:
    """Return the factor of each loss value in the reduced loss: loss = sum(values * factor), so also dloss/dvalues.

    `values` is (batch,) or (batch, outputs); `weights` is (batch,) or None. With v_i the sum of row i over its outputs:

    - "sum":        sum_i w_i v_i
    - "batch_mean": sum_i w_i v_i / sum_i w_i
    - "mean":       sum_i w_i v_i / (outputs * sum_i w_i)

    with outputs = 1 for values of shape (batch,). A weight of 2 is the same as giving the row twice, a weight of 0 the
    same as leaving it out. Where all weights are 0, as may happen in a small batch, every factor is 0: the loss and its
    gradient are 0, not 0 / 0.
    """
    if reduction not in _REDUCTIONS:
        raise unknown("reduction", reduction, _REDUCTIONS)
    batch = values.shape[0]
    per_row = values.size // batch if reduction == "mean" else 1
    if weights is None:
        scale = 1.0 if reduction == "sum" else 1.0 / (batch * per_row)
        return xp.full((batch,) + (1,) * (values.ndim - 1), scale, dtype=values.dtype)
    rows = xp.reshape(weights, (batch,) + (1,) * (values.ndim - 1))
    if reduction == "sum":
        return rows
    total = xp.sum(weights, keepdims=True) * per_row
    return rows / (total + mask(xp, total == 0, total))


def linear_terms(xp: Namespace, x: Array, w: Array, b: Array | None = None) -> ForwardTerms:
    """Return the inputs x (B, I) times a unit's weights w (I,), and its bias b (1,) if it has one."""
    n = x.shape[1]
    if b is None:
        return ForwardTerms(x, w, ("input",) * n, tuple(range(n)))
    left = xp.concat((x, xp.ones_like(x[:, :1])), axis=1)
    return ForwardTerms(left, xp.concat((w, b)), ("input",) * n + ("bias",), tuple(range(n + 1)))


def normalized_terms(xp: Namespace, x_hat: Array, unit: int, gamma: Array, beta: Array) -> ForwardTerms:
    """Return a unit's normalized input, of x_hat (B, O), times gamma (O,), and beta (O,)."""
    normalized = x_hat[:, unit : unit + 1]
    left = xp.concat((normalized, xp.ones_like(normalized)), axis=1)
    return ForwardTerms(left, xp.stack((gamma[unit], beta[unit])), ("input", "bias"), (unit, unit))


def _polynomial(x: Array, powers: tuple[float, ...]) -> Array:
    value = powers[-1] * x + powers[-2]
    for coefficient in powers[-3::-1]:
        value = value * x + coefficient
    return value


@lru_cache
def _erfc_powers(eps: float) -> tuple[float, ...]:
    """Turn as many terms of the series as the precision needs into powers of its variable, for Horner's rule.

    On NumPy this is twice as fast as Clenshaw's recurrence, and just as exact, since the terms fall off quickly.
    """
    needed = max(k for k, c in enumerate(_ERFC_SERIES) if abs(c) > eps / 16) + 1
    previous = [0.0, 1.0] + [0.0] * needed  # T_-1 = T_1 = x and T_0 = 1 start T_k+1 = 2 x T_k - T_k-1
    current = [1.0, 0.0] + [0.0] * needed
    powers = [0.0] * (needed + 2)
    for c in _ERFC_SERIES[:needed]:
        powers = [p + c * q for p, q in zip(powers, current, strict=True)]
        previous, current = current, [2.0 * s - p for s, p in zip([0.0, *current[:-1]], previous, strict=True)]
    return tuple(powers[:needed])
