"""Local derivatives of a call, dy[s, k] / dx[b, j] route by route, as the kernel's row gives them.

A backward kernel is a sum: dx[b, j] = sum over s, k of dy[s, k] times the local derivative. For a dense layer that is the
weight that joins the two units; `bpengine.explain` shows these sums and multiplies local derivatives along paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.terms.sums import as_float64
from bpengine.kernels._kernel import LocalDerivative
from bpengine.kernels._trees import Tree
from bpengine.ops import Call


def local_derivatives(call: Call, on_ones: HostArray | None) -> Sequence[LocalDerivative] | None:
    """Return the derivatives of a forward call's output with respect to its input, route by route, in float64.

    on_ones: the kernel's backward on ones, which is f'(x) for an elementwise activation.
    None for a kernel whose row does not state them.
    """
    if call.kernel.local_derivatives is not None:
        y, residual = call.result
        return call.kernel.local_derivatives(np, _in_float64(residual), _double(y))
    if call.kernel.kind != "activation" or on_ones is None:
        return None
    return [LocalDerivative("element", _double(on_ones))]


def parameter_factors(call: Call) -> Mapping[str, HostArray | None]:
    """Return the factor of every parameter in a layer's forward call: (rows, inputs), None for ones.

    The gradient of a parameter is the sum over the batch of this factor times the gradient of the output; for a weight that
    is used transposed (`is_transposed`) it is transposed.
    """
    factors = call.kernel.parameter_factors
    return {} if factors is None else factors(np, call.result[1])


def is_transposed(call: Call, argument: str) -> bool:
    """Tell whether a call uses a parameter transposed: row i of the weight makes unit i."""
    return argument in call.kernel.transposed


def _in_float64(residual: Tree) -> Tree:
    """Return a residual, an array, a named tuple of arrays and numbers, or None, in float64."""
    if hasattr(residual, "_fields"):
        return type(residual)(*map(_double, residual))
    return None if residual is None else _double(residual)


def _double(array: object) -> HostArray:
    return as_float64(array)
