"""Sums: numbers of the engine as sums of terms, summed exactly, and whether the terms add up within rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.system.quiet import Quiet


def as_float64(array: object) -> HostArray:
    """Return an array in float64; a subclass of NumPy's array, such as one that the page follows, stays one."""
    double: HostArray = np.astype(np.asanyarray(array), np.float64, copy=False)
    return double


def exact_sum(values: HostArray) -> float:
    """Return the sum with a single rounding; nan where there is one, or infinities that cancel."""
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        with Quiet():
            return float(np.sum(values))


def exact_sums(terms: HostArray) -> HostArray:
    """Return the sums of the rows of terms (R, n), n at least 1, as if added up in twice the precision and rounded once.

    Halves are added until one column is left; the rounding error of each addition is computed exactly and added separately.
    Source: Ogita, Rump, Oishi, "Accurate sum and dot product", SIAM Journal on Scientific Computing 26, 2005.
    """
    total, lost = terms, np.zeros(len(terms))
    with Quiet():
        while (n := total.shape[1]) > 1:
            if n % 2:
                total = np.hstack([total, np.zeros((len(total), 1))])
            a, b = np.hsplit(total, 2)
            total = a + b
            back = total - a
            lost += np.sum((a - (total - back)) + (b - back), axis=1)
        finite = np.isfinite(total[:, 0])
        return np.where(finite, total[:, 0] + np.where(finite, lost, 0.0), np.sum(terms, axis=1))


ULPS = 2.0


@dataclass(frozen=True, kw_only=True)
class Sums:
    """R sums of n terms each: value[r] = sum over n of left[r, n] * right[r, n].

    value (R,): the engine's numbers. left, right: float64, of a shape that broadcasts to (R, n); for a sum of the
    backward pass left holds gradients and right slopes or weights. kernel, place, route (n,): which kernel joins the two,
    in which layer, and by which route; unit, row: what it belongs to, of a shape that broadcasts to (R, n).
    eps: the distance from 1 to the next number of the dtype in which the engine computed.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> unit = bp.explain(model, [[2.0]], [[5.0]], layer=0, unit=0)
    >>> [(term.left, term.right, term.product) for term in unit.forward.terms(0)]
    [(2.0, 3.0, 6.0), (1.0, 0.0, 0.0)]
    """

    value: HostArray
    left: HostArray
    right: HostArray
    kernel: tuple[str, ...]
    place: tuple[str, ...]
    route: tuple[str, ...]
    unit: HostArray
    row: HostArray
    eps: float

    @property
    def shape(self) -> tuple[int, int]:
        """(sums, terms of each)."""
        return len(self.value), len(self.place)

    @property
    def product(self) -> HostArray:
        """The terms, (R, n)."""
        with Quiet():
            return np.asarray(np.broadcast_to(self.left * self.right, self.shape))

    @property
    def rounding(self) -> HostArray:
        """The difference between the engine's numbers and the exact sums of the terms, (R,): the rounding of its summation."""
        return exact_sums(np.column_stack([self.value, -self.product]))

    @property
    def magnitude(self) -> HostArray:
        """The sums of the terms' absolute values, (R,): the scale of rounding errors."""
        with Quiet():
            return np.asarray(np.sum(np.abs(self.product), axis=1))

    @property
    def ulps(self) -> HostArray:
        """`rounding` in units of eps * magnitude, (R,)."""
        scale = self.eps * np.maximum(self.magnitude, np.finfo(float).tiny)
        with Quiet():
            return np.abs(self.rounding) / scale

    @property
    def adds_up(self) -> bool:
        """True when the terms add up to the engine's numbers, within the rounding of sums of that many terms."""
        return bool(np.all(self.ulps <= allowed(self.shape[1])))

    def only(self, rows: Sequence[int]) -> Sums:
        """Return some of the sums."""
        chosen = np.asarray(rows, dtype=int)

        def cut(array: HostArray) -> HostArray:
            return array[chosen] if array.shape[0] > 1 or len(self.value) == 1 else array

        parts = (self.left, self.right, self.unit, self.row)
        left, right, unit, row = (cut(np.atleast_2d(part)) for part in parts)
        return Sums(
            value=self.value[chosen],
            left=left,
            right=right,
            kernel=self.kernel,
            place=self.place,
            route=self.route,
            unit=unit,
            row=row,
            eps=self.eps,
        )

    def terms(self, r: int, largest: int | None = None, chosen: Sequence[int] | None = None) -> Terms:
        """Return one sum, term by term; with `largest`, that many terms of greatest size and the rest as one number.

        A rest of a single term is that term. `chosen`: these terms, by their places in the sum, and the rest as one number.
        """
        n = self.shape[1]
        arrays = (self.left, self.right, self.unit, self.row)
        left, right, unit, row = (np.broadcast_to(array, self.shape)[r] for array in arrays)
        with Quiet():
            product = left * right
        written = np.arange(n)
        if chosen is not None:
            written = np.array(chosen, dtype=int)
        elif largest is not None and largest < n - 1:
            size = np.where(np.isnan(product), np.inf, np.abs(product))
            written = np.sort(np.argsort(-size, kind="stable")[:largest])
        kept = [
            Term(
                kernel=self.kernel[i], place=self.place[i], route=self.route[i], unit=int(unit[i]), row=int(row[i]),
                left=float(left[i]), right=float(right[i]), product=float(product[i]),
            )
            for i in written
        ]  # fmt: skip
        left_out = np.delete(product, written)
        rest, rounding = exact_sum(left_out), exact_sum(np.append(-product, self.value[r]))
        return Terms(float(self.value[r]), tuple(kept), len(left_out), rest, rounding)


def allowed(terms: int) -> float:
    """Return the allowed error of a sum of so many terms in units of eps times magnitude: the engine adds in its own order.

    2 covers the rounding within a term; n roundings of half a unit each cover any order of adding, and equal numbers added one
    by one come close to that. A missing term of average size exceeds it for up to 4,000 terms in float32.
    Source: Higham, "Accuracy and stability of numerical algorithms", 2nd edition, 2002, section 3.1.
    """
    return max(ULPS, 0.5 * terms)


@dataclass(frozen=True, kw_only=True)
class Term:
    """left * right = product: in a backward sum the gradient of (place, unit, row) times the slope towards it."""

    kernel: str
    place: str
    route: str
    unit: int
    row: int
    left: float
    right: float
    product: float


@dataclass(frozen=True)
class Terms:
    """One number as a sum: value = the terms + rest (of `left_out` smaller terms) + rounding."""

    value: float
    terms: tuple[Term, ...]
    left_out: int
    rest: float
    rounding: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        kept = [vars(term) for term in self.terms]
        return {**vars(self), "terms": kept}

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)


def concatenated(parts: Sequence[Sums], value: HostArray) -> Sums:
    """Return sums whose terms are those of several, side by side: contributions that add up."""
    rows = len(value)

    def side_by_side(name: str) -> HostArray:
        return np.concatenate([np.broadcast_to(getattr(p, name), (rows, p.shape[1])) for p in parts], axis=1)

    def in_order(name: str) -> tuple[str, ...]:
        return tuple(v for p in parts for v in getattr(p, name))

    return Sums(
        value=value,
        left=side_by_side("left"),
        right=side_by_side("right"),
        kernel=in_order("kernel"),
        place=in_order("place"),
        route=in_order("route"),
        unit=side_by_side("unit"),
        row=side_by_side("row"),
        eps=parts[0].eps,
    )
