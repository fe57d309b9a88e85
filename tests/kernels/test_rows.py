"""What a kernel's row says of itself is complete and true: local derivatives, forward terms, kinks, formula names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import LocalDerivative
from tests.kernels.kernel_samples import Case
from tests.tolerances import agreement_rtol

LAYERS = [k for k in KERNELS.values() if k.kind == "layer" and k.backward]
ACTIVATIONS = [k for k in KERNELS.values() if k.kind == "activation" and k.backward]
named = pytest.mark.parametrize


def drawn(kernel: Kernel, rng: np.random.Generator, options: Any) -> tuple[list[Any], Any, Any]:
    """Return arguments of a call, its output and its residual."""
    inputs = list(Case(kernel, options, optional=False).arguments(rng, {"B": 4, "I": 3, "O": 3}).values())
    y, residual = kernel.forward(np, *inputs, **options)
    return inputs, y, residual


def through(derivatives: list[LocalDerivative], dy: Any) -> Any:
    """Return dx, the sum over all outputs of dy times the derivative, by the definition of each kind."""
    total = 0.0
    for p, q, kind in ((d.p, d.q, d.kind) for d in derivatives):
        if kind == "element":
            total = total + dy * p
        elif kind == "units":
            total = total + dy @ p.T
        elif kind == "row":
            total = total + p * np.sum(dy * q, axis=1, keepdims=True)
        else:
            total = total + p * np.sum(dy * q, axis=0)
    return total


@named("kernel", [*LAYERS, *ACTIVATIONS], ids=lambda k: k.name)
def test_every_layer_kernel_says_how_it_is_explained_or_why_not(kernel: Kernel, rng: np.random.Generator) -> None:
    if kernel.opaque:
        return
    assert kernel.local_derivatives or kernel.family == "elementwise", "local_derivatives, or opaque='why not'"
    if kernel.kind == "layer":
        assert kernel.family, "family"
        assert kernel.forward_terms, "forward_terms"
        data = ("x",) if "x" in kernel.arguments else kernel.differentiable
        own = set(kernel.differentiable) - set(data)
        factors = kernel.parameter_factors(np, drawn(kernel, rng, {})[2]) if kernel.parameter_factors else {}
        assert set(factors) == own, "parameter_factors"
        assert set(kernel.transposed) <= own


@named("kernel", [k for k in (*LAYERS, *ACTIVATIONS) if k.local_derivatives], ids=lambda k: k.name)
def test_local_derivatives_make_up_the_backward(kernel: Kernel, rng: np.random.Generator) -> None:
    assert kernel.backward
    assert kernel.local_derivatives
    for options in kernel.variants:
        _, y, residual = drawn(kernel, rng, options)
        dy = rng.normal(size=y.shape)
        gradients = kernel.backward(np, residual, dy)
        dx = gradients[0] if isinstance(gradients, tuple) else gradients
        derivatives = list(kernel.local_derivatives(np, residual, y))
        size = through([d._replace(p=abs(d.p), q=None if d.q is None else abs(d.q)) for d in derivatives], abs(dy))
        assert np.all(np.abs(through(derivatives, dy) - dx) <= agreement_rtol("float64", 16) * size)


@named("kernel", [k for k in LAYERS if k.forward_terms], ids=lambda k: k.name)
def test_forward_terms_make_up_the_output(kernel: Kernel, rng: np.random.Generator) -> None:
    assert kernel.forward_terms
    for options in kernel.variants:
        inputs, y, residual = drawn(kernel, rng, options)
        for unit in range(y.shape[1]):
            terms = kernel.forward_terms(np, residual, unit, *inputs, **options)
            assert terms.left.shape[1] == len(terms.routes) == len(terms.units)
            size = np.sum(np.abs(terms.left * terms.right), axis=1)
            off = np.abs(np.sum(terms.left * terms.right, axis=1) - y[:, unit])
            assert np.all(off <= agreement_rtol("float64", terms.left.shape[1]) * size)


@named("kernel", [k for k in LAYERS if k.parameter_factors], ids=lambda k: k.name)
def test_parameter_factors_make_up_the_gradients(kernel: Kernel, rng: np.random.Generator) -> None:
    assert kernel.backward
    assert kernel.parameter_factors
    _, y, residual = drawn(kernel, rng, {})
    dy = rng.normal(size=y.shape)
    gradients = dict(zip(kernel.differentiable, kernel.backward(np, residual, dy), strict=True))
    for name, factor in kernel.parameter_factors(np, residual).items():
        if factor is None:
            summed = np.sum(dy, axis=0)
        elif gradients[name].ndim == 1:
            summed = np.sum(dy * factor, axis=0)
        else:
            summed = dy.T @ factor if name in kernel.transposed else factor.T @ dy
        np.testing.assert_allclose(
            summed, gradients[name], rtol=0, atol=agreement_rtol("float64", 4) * np.abs(dy).sum()
        )


@named("kernel", [k for k in KERNELS.values() if k.backward], ids=lambda k: k.name)
def test_a_stated_kink_can_be_found(kernel: Kernel) -> None:
    if kernel.kink is not None:
        assert kernel.kink_at is not None, "kink_at says where the kink is"


@named("kernel", [k for k in KERNELS.values() if k.saved_statistics], ids=lambda k: k.name)
def test_saved_statistics_are_fields_of_the_residual(kernel: Kernel, rng: np.random.Generator) -> None:
    _, _, residual = drawn(kernel, rng, {})
    assert set(kernel.saved_statistics) <= set(residual._fields)
