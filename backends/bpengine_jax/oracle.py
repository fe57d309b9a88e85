"""The oracle: gradients by JAX autodiff, in float64 at the highest matmul precision, whatever the process's settings are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels._kernel import Array
from bpengine.ops import Ops


class _Namespace:
    """jax.numpy with a derivative of expm1 that keeps its relative precision where the function is flat.

    JAX's rule is expm1(x) + 1, which is 0 below x = -37, where the derivative is exp(x): correct backwards would appear wrong.
    """

    def __init__(self) -> None:
        self.expm1 = jax.custom_jvp(jax.numpy.expm1)
        self.expm1.defjvps(lambda tangent, y, x: tangent * jax.numpy.exp(x))

    def __getattr__(self, name: str) -> object:
        return getattr(jax.numpy, name)


Tree = dict[str, HostArray]
Arrays = dict[str, Array]
RowsFunction = Callable[[Ops, Arrays, Arrays], Array]


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
        ops = Ops(_Namespace())
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

    def derivatives(
        self, loss: RowsFunction, row_loss: RowsFunction, outputs: Callable[[Ops, Arrays, Array], Array]
    ) -> Callable[[Tree, Tree, Tree], dict[str, Any]]:
        """Return (params, rows, v) -> other derivatives of a network, as float64 NumPy arrays; it is compiled once.

        `loss(ops, params, rows)` is the scalar over all rows {"x": (rows, inputs), ...}, `row_loss` that of a single row,
        and `outputs(ops, params, x)` (rows, outputs). The result holds "per_sample_gradients" by jax.vmap of jax.grad,
        "jacobian" by jax.jacrev, "input_gradients" by jax.grad, and "hvp", along v, by jax.jvp of jax.grad.
        """
        ops = Ops(_Namespace())

        def alone(params: Arrays, row: Arrays) -> Array:
            return row_loss(ops, params, {name: array[None] for name, array in row.items()})

        def run(params: Arrays, rows: Arrays, v: Arrays) -> dict[str, Any]:
            both = jax.grad(lambda params, x: loss(ops, params, {**rows, "x": x}), argnums=(0, 1))
            gradients, along = jax.jvp(lambda params: both(params, rows["x"]), (params,), (v,))
            return {
                "per_sample_gradients": jax.vmap(jax.grad(alone), (None, 0))(params, rows),
                "jacobian": jax.vmap(jax.jacrev(lambda x: outputs(ops, params, x[None])[0]))(rows["x"]),
                "input_gradients": gradients[1],
                "hvp": along[0],
            }

        compiled = jax.jit(run)

        def compute(params: Tree, rows: Tree, v: Tree) -> dict[str, Any]:
            with jax.enable_x64(True), jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
                derivatives: dict[str, Any] = jax.tree.map(np.asarray, compiled(params, rows, v))
                return derivatives

        return compute
