"""The eigenvalue of largest magnitude of a Hessian, by power iteration, which needs only products with it.

Source: von Mises, Pollaczek-Geiringer, "Praktische Verfahren der Gleichungsaufloesung", ZAMM 9, 1929; the plane of each step:
Knyazev, "Toward the optimal preconditioned eigensolver", SIAM Journal on Scientific Computing 23, 2001.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from bpengine.backend import HostArray
from bpengine.derivatives.hessian import Product
from bpengine.errors import NonFiniteError, number, whole
from bpengine.layers.layer import HostArrays
from bpengine.streams import stream


class Eigenvalue(NamedTuple):
    """The eigenvalue of largest magnitude of a Hessian, its eigenvector, and the residual.

    vector: {name: array}, of length 1 over all parameters; steps: products with the Hessian that were computed; residual:
    |H v - value v|. Some eigenvalue lies within `residual` of `value`.

    >>> model = bp.Model(bp.Network(1, [bp.Dense(1, bias=False)], "sum_squared_residuals"), dtype="float64")
    >>> top = model.top_eigenvalue([[1.0], [3.0]], [1.0, 0.0])  # the loss is (w - 1)^2 + 9 w^2
    >>> top.value, top.residual < 1e-6
    (20.0, True)
    """

    value: float
    vector: HostArrays
    steps: int
    residual: float


def top_eigenvalue(
    times: Product, shapes: Mapping[str, tuple[int, ...]], steps: object, tolerance: object, seed: object
) -> Eigenvalue:
    """Return the eigenvalue of largest magnitude by power iteration from a random vector, towards both ends of the spectrum.

    Each step takes the best vector of the plane that v and H v span (Rayleigh, Ritz). It is at least as good as H v, the
    plain power step, and converges also where a positive and a negative eigenvalue are equally large.
    """
    tolerance = number(tolerance, "top_eigenvalue", "a tolerance", low=0)
    steps, seed = whole(steps, "top_eigenvalue", "steps"), whole(seed, "top_eigenvalue", "seed", low=0)
    apart, together, size = _packing(shapes)
    rng = stream("top eigenvalue", seed)

    def multiplied(v: HostArray) -> HostArray:
        product = together(times(apart(v)))
        if not np.all(np.isfinite(product)):
            raise NonFiniteError(
                "top_eigenvalue requires a finite Hessian, got one that is not. Scale data or weights."
            )
        return product

    v = rng.standard_normal(size)
    v /= np.linalg.norm(v)
    hv, taken = multiplied(v), 1
    ends = [_Climb(v, hv, end) for end in (1, 0)]  # the lowest eigenvalue and the highest
    while taken < steps and (going := [climb for climb in ends if not climb.arrived(tolerance)]):
        for climb in going[: steps - taken]:
            climb.step(multiplied)
            taken += 1
    best = max(ends, key=lambda climb: abs(climb.value))
    return Eigenvalue(best.value, apart(best.v), taken, best.residual)


class _Climb:
    """The iteration towards one end of the spectrum: a vector of length 1, H times it, and its residual.

    A single iteration towards the eigenvalue of largest magnitude could converge to the wrong end of the spectrum, depending
    on its first vector.
    """

    def __init__(self, v: HostArray, hv: HostArray, end: int) -> None:
        self.v, self.hv, self.end = v, hv, end
        self._look()

    def _look(self) -> None:
        self.value = float(self.v @ self.hv)
        rest = self.hv - self.value * self.v
        self.residual = float(np.linalg.norm(rest))
        self.across = rest - (rest @ self.v) * self.v  # rounding leaves a component along v, which is removed here
        self.length = float(np.linalg.norm(self.across))

    def arrived(self, tolerance: float) -> bool:
        return self.residual <= tolerance * abs(self.value) or self.length <= 0.5 * self.residual

    def step(self, multiplied: Callable[[HostArray], HostArray]) -> None:
        """Take the vector of the plane of v and H v whose Rayleigh quotient is the most extreme."""
        v, hv, u = self.v, self.hv, self.across / self.length
        # The 2 x 2 matrix of H in the orthonormal basis (v, u); its eigenvectors are the best combinations (Rayleigh,
        # Ritz).
        hu = multiplied(u)
        across = 0.5 * float(v @ hu + u @ hv)
        _, vectors = np.linalg.eigh([[float(v @ hv), across], [across, float(u @ hu)]])
        a, b = vectors[:, 0 if self.end else -1]
        length = float(np.linalg.norm(a * v + b * u))
        # H is linear, so H times the new vector needs no further product.
        self.v, self.hv = (a * v + b * u) / length, (a * hv + b * hu) / length
        self._look()


def _packing(
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[Callable[[HostArray], HostArrays], Callable[[HostArrays], HostArray], int]:
    """Return the functions vector -> arrays by name and arrays -> vector, and the vector's length."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    ends = np.cumsum(sizes)[:-1]

    def apart(v: HostArray) -> HostArrays:
        return {n: part.reshape(shape) for (n, shape), part in zip(shapes.items(), np.split(v, ends), strict=True)}

    def together(arrays: HostArrays) -> HostArray:
        return np.concatenate([np.ravel(arrays[name]) for name in shapes])

    return apart, together, sum(sizes)
