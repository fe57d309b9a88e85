"""The oracle: gradients by JAX autodiff, in float64 at the highest matmul precision, whatever the process is set to."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels._kernel import Array
from bpengine.ops import Ops

Tree = dict[str, HostArray]


class Oracle:
    """Differentiates a scalar function of named arrays that is built from the *forward* kernels alone."""

    name = "JAX autodiff"
    precision = "float64, matmul precision highest"

    def value_and_gradients(self, function: Callable[[Ops, dict[str, Array]], Array], at: Tree) -> tuple[float, Tree]:
        """Return function(ops, at) and its gradient with respect to every array of `at`, as float64 NumPy arrays.

        `function` receives ops bound to jax.numpy and the arrays in float64; it must return a scalar.
        """
        return self.differentiated(function)(at)

    def differentiated(
        self, function: Callable[[Ops, dict[str, Array]], Array]
    ) -> Callable[[Tree], tuple[float, Tree]]:
        """Return `value_and_gradients` of a function, to be called at many points; it is compiled once."""
        ops = Ops(jax.numpy)
        compiled = jax.jit(jax.value_and_grad(lambda tree: function(ops, tree)))

        def run(at: Tree) -> tuple[float, Tree]:
            with (
                jax.enable_x64(True),
                jax.default_matmul_precision("highest"),
                jax.numpy_rank_promotion("allow"),
                jax.numpy_dtype_promotion("standard"),
                jax.debug_nans(False),
                jax.debug_infs(False),
            ):
                arrays = {name: jax.numpy.asarray(value, dtype="float64") for name, value in at.items()}
                value, gradients = compiled(arrays)
                return float(value), {name: np.asarray(gradient) for name, gradient in gradients.items()}

        return run
