"""Per-sample gradients, Jacobians, input gradients and Hessian products of whole networks, beside JAX's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.derivatives import jacobian
from bpengine.derivatives import rows as rowwise
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from bpengine.losses import LOSSES
from tests.derivatives.networks import INPUTS, NETWORKS, Centre, Stretch, direction, model, rows
from tests.derivatives.references import References, assert_close
from tests.tolerances import agreement_rtol, derivative_rtol

EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
BENT = [bp.Activation(n, **options) for n in ACTIVATIONS if KERNELS[n].backward for options in KERNELS[n].variants]
REDUCED = [bp.Loss(name, **options) for name in LOSSES for options in KERNELS[name].variants]


def put_together(gradients: Any, network: bp.Network, weights: Any) -> Any:
    """Return the gradient of all rows from those of each, as the docstring says."""
    if network.loss.reduction == "sum":
        return {name: g.sum(axis=0) for name, g in gradients.items()}
    return {name: np.average(g, axis=0, weights=weights) for name, g in gradients.items()}


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in NETWORKS), ("layers", "float32"), ("own code", "float32")]
)
def test_every_derivative_agrees_with_jax(name: str, dtype: str, backend_name: str, jax: Any, rng: Any) -> None:
    network = NETWORKS[name]
    subject, (x, y, weights) = model(network, rng, backend_name, dtype), rows(network, rng)
    v, references = direction(subject, rng), References(jax, subject, x, y, weights)
    pairs = {
        "per sample": (subject.per_sample_gradients(x, y, weights), references.per_sample()),
        "jacobian": (subject.jacobian(x), references.jacobian()),
        "inputs": (subject.input_gradients(x, y, weights), references.inputs()),
        "hvp": (subject.hvp(x, y, v, weights), references.hvp(v)),
    }
    for ours, reference in pairs.values():
        assert_close(ours, reference, derivative_rtol(dtype))
        arrays = ours.values() if isinstance(ours, dict) else [ours]
        assert {a.dtype for a in arrays} == {np.dtype(dtype)}
    assert list(pairs["per sample"][0]) == list(pairs["hvp"][0]) == list(subject.parameters)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("bent", BENT, ids=str)
def test_derivatives_through_every_activation_agree_with_jax(bent: Any, jax: Any, rng: Any) -> None:
    network = bp.Network(INPUTS, [bp.Dense(4, bent), bp.Dense(2, "tanh")], "mean_squared_error")
    subject, (x, y, _) = model(network, rng), rows(network, rng)
    reference, v = References(jax, subject, x, y), direction(subject, rng)
    assert_close(subject.hvp(x, y, v), reference.hvp(v), derivative_rtol("float64"))
    assert_close(subject.jacobian(x), reference.jacobian(), derivative_rtol("float64"))


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("loss", REDUCED, ids=str)
def test_derivatives_of_every_loss_agree_with_jax(loss: Any, jax: Any, rng: Any) -> None:
    end = "softmax" if loss.kernel.output == "probabilities" else "identity"
    network = bp.Network(INPUTS, [bp.Dense(4, "tanh"), bp.Dense(2, end)], loss, [bp.L1(0.1), bp.L2(0.1)])
    subject, (x, y, weights) = model(network, rng), rows(network, rng)
    reference, v = References(jax, subject, x, y, weights), direction(subject, rng)
    assert_close(subject.per_sample_gradients(x, y, weights), reference.per_sample(), derivative_rtol("float64"))
    assert_close(subject.hvp(x, y, v, weights), reference.hvp(v), derivative_rtol("float64"))


@pytest.mark.parametrize("weighted", [False, True])
@EVERY_NETWORK
def test_rows_put_together_are_the_gradient(network: Any, weighted: bool, rng: Any) -> None:
    subject, (x, y, weights) = model(network, rng), rows(network, rng)
    weights = weights if weighted else None
    whole = subject.loss_and_gradients(x, y, weights, training=False)[1]
    together = put_together(subject.per_sample_gradients(x, y, weights), network, weights)
    assert_close(together, whole, derivative_rtol("float64"))


@pytest.mark.parametrize("name", ["layers", "biases", "own code"])
def test_a_row_is_the_gradient_of_that_row_alone(name: str, backend_name: str, rng: Any) -> None:
    """Without per-sample penalties a row's gradient is that of a fit on the row alone."""
    network = bp.Network(INPUTS, NETWORKS[name].layers, NETWORKS[name].loss, bp.L2(0.1))
    subject, (x, y, _) = model(network, rng, backend_name), rows(network, rng)
    per_sample = subject.per_sample_gradients(x, y)
    for i in range(len(x)):
        alone = subject.loss_and_gradients(x[i : i + 1], y[i : i + 1], training=False)[1]
        assert_close({n: g[i] for n, g in per_sample.items()}, alone, derivative_rtol("float64"))


def test_only_chooses_the_parameters_that_are_differentiated(rng: Any) -> None:
    subject, (x, y, _) = model(NETWORKS["layers"], rng), rows(NETWORKS["layers"], rng)
    every = subject.per_sample_gradients(x, y)
    for only, names in (("0.bias", ["0.bias"]), (["*.gamma", "4.weight"], ["1.gamma", "3.0.gamma", "4.weight"])):
        some = subject.per_sample_gradients(x, y, only=only)
        assert list(some) == names
        for name in names:
            np.testing.assert_array_equal(some[name], every[name])


@pytest.mark.parametrize("name", ["layers", "a sum"])
def test_rows_in_pieces_are_the_same(name: str, backend_name: str, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS[name]
    subject, (x, y, weights) = model(network, rng, backend_name), rows(network, rng, 7)
    whole, wide = subject.per_sample_gradients(x, y, weights), subject.jacobian(x)
    size = sum(a.size for a in subject.parameters.values())
    monkeypatch.setattr(rowwise, "BUDGET", 3 * size)
    monkeypatch.setattr(jacobian, "CHUNK", 4)
    assert [len(n) for n in rowwise.row_numbers(7, size, True)] == [3, 3, 1]
    assert_close(subject.per_sample_gradients(x, y, weights), whole, agreement_rtol("float64", 7))
    assert_close(subject.jacobian(x), wide, agreement_rtol("float64", 7))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error"])
def test_jacobian_of_predictions_goes_through_the_link(loss: str, backend_name: str, jax: Any, rng: Any) -> None:
    network = bp.Network(INPUTS, [bp.Dense(4, "tanh"), bp.Dense(3)], loss)
    subject, (x, y, _) = model(network, rng, backend_name), rows(network, rng)
    reference = References(jax, subject, x, y)
    assert_close(subject.jacobian(x, link=True), reference.jacobian(network.loss.link), derivative_rtol("float64"))


def test_rows_of_mixing_layers_are_differentiated_one_by_one(backend_name: str, rng: Any) -> None:
    """Of a row alone, the mean is the row itself: nothing of x is left."""
    network = bp.Network(INPUTS, [bp.Dense(2), Centre(), bp.Dense(2)], "mean_squared_error")
    subject, (x, y, _) = model(network, rng, backend_name), rows(network, rng)
    assert not subject.jacobian(x).any()
    assert not subject.per_sample_gradients(x, y)["0.weight"].any()
    assert subject.input_gradients(x, y).any()


def test_dropout_and_batch_statistics_take_no_part(rng: Any) -> None:
    subject, (x, y, _) = model(NETWORKS["layers"], rng), rows(NETWORKS["layers"], rng)
    state = subject.parameters, subject.running
    first = [subject.jacobian(x[:1]), subject.per_sample_gradients(x[:1], y[:1])["0.weight"]]
    all_rows = [subject.jacobian(x)[:1], subject.per_sample_gradients(x, y)["0.weight"][:1]]
    assert rowwise.batched(NETWORKS["layers"])
    np.testing.assert_allclose(first[0], all_rows[0], rtol=derivative_rtol("float64"))
    assert first[1].any()
    for before, after in zip(state, (subject.parameters, subject.running), strict=True):
        assert all((before[n] == after[n]).all() for n in before)


def test_rows_are_batched_unless_layers_mix_them() -> None:
    assert [rowwise.batched(n) for n in NETWORKS.values()] == [True] * 4 + [False] * 3
    inside = bp.Network(2, [bp.Residual([bp.Dense(2), Stretch()])], "mean_squared_error")
    assert not rowwise.batched(inside)


def test_callers_arrays_are_not_written(rng: Any) -> None:
    subject, (x, y, weights) = model(NETWORKS["layers"], rng), rows(NETWORKS["layers"], rng)
    v = direction(subject, rng)
    for array in (x, y, weights, *v.values()):
        array.flags.writeable = False
    before = {n: a.copy() for n, a in v.items()}
    subject.per_sample_gradients(x, y, weights)["0.bias"] += 1.0
    subject.jacobian(x)[:] = 0.0
    subject.input_gradients(x, y, weights)[:] = 0.0
    subject.hvp(x, y, v, weights)["0.bias"] += 1.0
    assert all((v[n] == before[n]).all() for n in v)
