"""The same derivatives by JAX autodiff of the forward kernels alone, in float64: ours are compared with them."""

from __future__ import annotations

from typing import Any

import numpy as np

import bpengine as bp
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.rows import check_rows


class References:
    """One network at its parameters and rows, outside training."""

    def __init__(self, jax: Any, model: bp.Model, x: Any, y: Any, weights: Any = None) -> None:
        self.jax, self.network, self.ops = jax, model.network, Ops(jax.numpy)
        rows = check_rows(model.network, x, y, weights, dtype=model.dtype)
        arrays = [np.asarray(a).astype(d) for a, d in zip(rows.arrays, rows.dtypes(model.dtype), strict=True)]
        exact = [jax.numpy.asarray(a if a.dtype.kind == "i" else a.astype(float)) for a in arrays]
        self.x, self.target, self.weights = (*exact, None)[:3]
        self.params = {n: jax.numpy.asarray(a.astype(float)) for n, a in model.parameters.items()}
        self.running = {n: jax.numpy.asarray(a.astype(float)) for n, a in model.running.items()}

    def loss(self, params: Any, x: Any) -> Any:
        return self.network.total_loss(
            self.ops, params, self.running, x, self.target, self.weights, bp.layers.Run(training=False)
        )

    def outputs(self, x: Any, link: str | None = None) -> Any:
        y = self.network.forward(self.ops, self.params, self.running, x).y
        return self.ops.forward(link)(y)[0] if link else y

    def per_sample(self) -> Any:
        """jax.vmap(jax.grad) of the loss of a row alone, and its share of the penalties of all rows."""
        bare = Network(self.network.inputs, self.network.layers, self.network.loss)
        sums, rows = self.network.loss.reduction == "sum", len(self.x)
        weights = self.weights if sums and self.weights is not None else np.ones(rows)

        def alone(params: Any, x: Any, target: Any, weight: Any) -> Any:
            y = bare.forward(self.ops, params, self.running, x[None]).y
            values = [value for *_, value, _ in self.network.penalty_terms(self.ops, params, rows, self.weights)]
            return bare.data_loss(self.ops, y, target[None], weight[None])[0] + sum(values) / (rows if sums else 1)

        return self._run(
            self.jax.vmap(self.jax.grad(alone), (None, 0, 0, 0)), self.params, self.x, self.target, weights
        )

    def jacobian(self, link: str | None = None) -> Any:
        """jax.jacrev of each row's outputs."""
        return self._run(self.jax.vmap(self.jax.jacrev(lambda x: self.outputs(x[None], link)[0])), self.x)

    def inputs(self) -> Any:
        """jax.grad by x."""
        return self._run(self.jax.grad(self.loss, argnums=1), self.params, self.x)

    def hvp(self, v: Any) -> Any:
        """jax.jvp of jax.grad."""
        whole = {n: np.asarray(v.get(n, np.zeros(a.shape)), float) for n, a in self.params.items()}
        gradient = self.jax.grad(self.loss)
        return self._run(lambda p, v: self.jax.jvp(lambda q: gradient(q, self.x), (p,), (v,))[1], self.params, whole)

    def hessian(self) -> Any:
        """Return the whole Hessian, (parameters, parameters), by jax.hessian."""
        flat, back = self.jax.flatten_util.ravel_pytree(self.params)
        return self._run(self.jax.hessian(lambda p: self.loss(back(p), self.x)), flat)

    def _run(self, function: Any, *args: Any) -> Any:
        with self.jax.enable_x64(True):
            return self.jax.tree.map(np.asarray, self.jax.jit(function)(*args))


def assert_close(got: Any, expected: Any, rtol: float) -> None:
    """Compare shape, then values relative to the largest element."""
    if isinstance(expected, dict):
        assert set(got) == set(expected)
        size = max(float(np.max(np.abs(a), initial=0.0)) for a in expected.values())
        for name, array in expected.items():
            _close(got[name], array, rtol, size, name)
    else:
        _close(got, expected, rtol, float(np.max(np.abs(expected), initial=0.0)), "")


def _close(got: Any, expected: Any, rtol: float, size: float, what: str) -> None:
    assert isinstance(got, np.ndarray), what
    assert got.shape == expected.shape, what
    assert np.all(np.isfinite(got)), what
    np.testing.assert_allclose(got, expected, rtol=0, atol=rtol * max(size, 1e-3), err_msg=what)
