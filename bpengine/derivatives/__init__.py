"""Derivatives beyond the gradient of a loss, all from the hand-written kernels, on every backend.

Per-sample gradients, Jacobians and input gradients are backward passes. Products with the Hessian are derivatives of the
hand-written gradient along a direction: by forward mode on a backend that differentiates (JAX), by complex steps on NumPy.
`jvp` is the derivative of one kernel along a direction.
"""

from bpengine.derivatives.forward_mode import Tangent, jvp
from bpengine.derivatives.power import Eigenvalue

__all__ = ["Eigenvalue", "Tangent", "jvp"]
