"""The eigenvalue of largest size of a Hessian, by power iteration: no more than products with it are needed.

Source: von Mises, Pollaczek-Geiringer, "Praktische Verfahren der Gleichungsaufloesung", ZAMM 9, 1929; the plane of each step:
Knyazev, "Toward the optimal preconditioned eigensolver", SIAM Journal on Scientific Computing 23, 2001.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bpengine.derivatives.hessian import Product
from bpengine.errors import NonFiniteError, number, whole
from bpengine.layers.layer import HostArrays
from bpengine.streams import stream


class Eigenvalue(NamedTuple):
    """The eigenvalue of largest size of a Hessian, what it belongs to, and how sure it is.

    vector: {name: array}, of length 1 over all parameters; steps: products with the Hessian that were taken; residual:
    |H v - value v|. Some eigenvalue lies within `residual` of `value`.
    """

    value: float
    vector: HostArrays
    steps: int
    residual: float


def top_eigenvalue(
    times: Product, shapes: Mapping[str, tuple[int, ...]], steps: Any, tolerance: Any, seed: Any
) -> Eigenvalue:
    """Return the eigenvalue of largest size by power iteration from a random vector.

    Each step takes the best of the plane that v and H v span (Rayleigh, Ritz): at least as good as H v, which is the plain
    power step, and it settles also where a positive and a negative eigenvalue are equally large.
    """
    tolerance = number(tolerance, "top_eigenvalue", "a tolerance", low=0)
    steps, seed = whole(steps, "top_eigenvalue", "steps"), whole(seed, "top_eigenvalue", "seed", low=0)
    apart, together, size = _packing(shapes)
    rng = stream("top eigenvalue", seed)

    def multiplied(v: Any) -> Any:
        found = together(times(apart(v)))
        if not np.all(np.isfinite(found)):
            raise NonFiniteError(
                "top_eigenvalue requires a finite Hessian, got one that is not. Scale data or weights."
            )
        return found

    v = rng.standard_normal(size)
    v /= np.linalg.norm(v)
    hv, taken = multiplied(v), 1
    while True:
        value = float(v @ hv)
        rest = hv - value * v
        residual = float(np.linalg.norm(rest))
        across = rest - (rest @ v) * v  # what is left of it is v itself where only rounding is left
        length = float(np.linalg.norm(across))
        if residual <= tolerance * abs(value) or taken >= steps or length <= 0.5 * residual:
            return Eigenvalue(value, apart(v), taken, residual)
        u = across / length
        hu, taken = multiplied(u), taken + 1
        v, hv = _best(v, hv, u, hu)


def _best(v: Any, hv: Any, u: Any, hu: Any) -> tuple[Any, Any]:
    """Return the vector of the plane of v and u whose Rayleigh quotient is largest in size, and H times it."""
    across = 0.5 * float(v @ hu + u @ hv)
    values, vectors = np.linalg.eigh([[float(v @ hv), across], [across, float(u @ hu)]])
    a, b = vectors[:, int(np.argmax(np.abs(values)))]
    length = float(np.linalg.norm(a * v + b * u))
    return (a * v + b * u) / length, (a * hv + b * hu) / length


def _packing(
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[Callable[[Any], HostArrays], Callable[[HostArrays], Any], int]:
    """Return how a vector becomes arrays by name, how they become a vector, and its length."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    ends = np.cumsum(sizes)[:-1]

    def apart(v: Any) -> HostArrays:
        return {n: part.reshape(shape) for (n, shape), part in zip(shapes.items(), np.split(v, ends), strict=True)}

    def together(arrays: HostArrays) -> Any:
        return np.concatenate([np.ravel(arrays[name]) for name in shapes])

    return apart, together, sum(sizes)
