"""What holds for any network. A network that breaks a property is shrunk, and printed as small as it still breaks it.

The networks are the same in every run (`derandomize`), so that a failure is the fault of the last change, and there is no
deadline: XLA compiles the oracle and the backend anew for each network, which takes most of a second and is what the
numbers of examples are chosen by. `python -m tests.sweep` draws as many others as there is time for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import bpengine as bp
from bpengine.check import check_gradients, compare_backends
from bpengine.check.tolerance import agreement
from bpengine.kernels import KERNELS
from bpengine.layers import LAYERS
from bpengine.losses import LOSSES
from bpengine.ops import ObservedOps, Ops
from tests.check.mutants import Mutant, backend
from tests.check.random_networks import Sample, from_table, samples
from tests.tolerances import agreement_rtol, oracle_rtol

SAME = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.thorough(keep=1)
@pytest.mark.usefixtures("jax")
@pytest.mark.parametrize("name", LOSSES)
@settings(SAME, max_examples=2)  # the simplest of all, and another
@given(drawn=st.data())
def test_hand_written_gradients_pass_every_oracle_on_numpy_and_on_jax(name: str, drawn: st.DataObject) -> None:
    sample = drawn.draw(samples(from_table(bp.Loss, [name])))
    report = check_gradients(sample.model("jax"), *sample.data())
    assert report.passed, str(report)
    exact = [v for v in report.verdicts if v.oracle in ("autodiff", "own float64")]
    assert {v.array for v in exact if v.oracle == "own float64"} == sample.model().parameters.keys()
    for verdict in exact:  # a network that amplifies rounding a thousandfold is allowed what the check measured of that
        assert verdict.error <= oracle_rtol() or verdict.tolerance > 2.0 * oracle_rtol(), str(report)


def test_the_bound_of_the_check_is_the_bound_of_the_tests() -> None:
    assert oracle_rtol() == agreement.EXACT


@pytest.mark.parametrize("networks", [8, pytest.param(100, marks=pytest.mark.thorough)])
def test_float32_raises_no_false_alarm(networks: int) -> None:
    @settings(SAME, max_examples=networks)
    @given(samples())
    def look(sample: Sample) -> None:
        report = check_gradients(sample.model(dtype="float32"), *sample.data(), oracles="inner products")
        assert not report.failures, str(report)

    look()


@pytest.mark.thorough
@pytest.mark.usefixtures("jax")
@settings(SAME, max_examples=3)
@given(samples())
def test_backends_agree_in_float32(sample: Sample) -> None:
    x, y, weights = sample.data()
    comparison = compare_backends(sample.network, x, y, ["numpy", "jax"], steps=2, seed=sample.seed, weights=weights)
    assert comparison.passed, str(comparison)


@settings(SAME, max_examples=200)
@given(samples())
def test_the_gradient_of_a_batch_is_the_weighted_sum_over_its_rows(sample: Sample) -> None:
    """Outside training, where no layer looks at other rows; the means are weighted means."""
    network = bp.Network(sample.network.inputs, sample.network.layers, sample.network.loss)  # a penalty is no row's
    x, y, weights = sample.data()
    model = bp.Model(network, dtype="float64", seed=sample.seed)
    whole = model.loss_and_gradients(x, y, weights, training=False)
    shares = np.ones(sample.rows) if weights is None else weights
    if network.loss.reduction != "sum":
        shares = shares / shares.sum()
    each = [model.loss_and_gradients(x[i : i + 1], y[i : i + 1], training=False) for i in range(sample.rows)]
    assert_close(whole[0], [share * loss for share, (loss, _) in zip(shares, each, strict=True)])
    for name, gradient in whole[1].items():
        assert_close(
            gradient, [share * row_gradients[name] for share, (_, row_gradients) in zip(shares, each, strict=True)]
        )


def assert_close(got: Any, terms: list[Any]) -> None:
    size = np.sum(np.abs(terms), axis=0).max(initial=1.0)
    assert np.max(np.abs(got - np.sum(terms, axis=0)), initial=0.0) <= agreement_rtol(np.float64, 1000) * size


class Watched(NumpyBackend):
    """NumPy that remembers which kernels were called."""

    def __init__(self) -> None:
        super().__init__("float64")
        self.seen = set[str]()

    def ops(self) -> Ops:
        return ObservedOps(super().ops(), lambda call: self.seen.add(call.function))


@pytest.mark.thorough
def test_random_networks_have_every_kind_of_layer_and_kernel() -> None:
    watched, kinds = Watched(), set[type]()

    @settings(SAME, max_examples=300)
    @given(samples())
    def look(sample: Sample) -> None:
        kinds.update(type(layer) for layer in sample.network.layers)
        for training in (True, False):
            sample.model(watched).loss_and_gradients(*sample.data(), training=training)

    look()
    assert kinds == set(LAYERS.values())
    called = (k for k in KERNELS.values() if k.backward and k.name != "divide")  # no layer divides
    assert watched.seen >= {f.__name__ for k in called for f in (k.forward, k.backward)}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("kernel", "layers"), [("relu", 1), ("dense_bias_column", 2)])
def test_a_network_that_breaks_a_property_is_shrunk(kernel: str, layers: int) -> None:
    mutant = Mutant(kernel, 0, "a factor 2")

    def breaks(sample: Sample) -> bool:
        right, wrong = (sample.model(b).loss_and_gradients(*sample.data())[1] for b in ("numpy", backend(mutant)))
        return any(not np.allclose(right[name], wrong[name]) for name in right)

    least = find(samples(), breaks, settings=settings(SAME, max_examples=500))
    assert least.network.sizes[1:] == [1] * layers, str(least)
    assert (least.rows, least.weighted, least.network.penalties) == (1, False, ())


def test_perfect_fit_with_rounded_residuals_raises_no_false_alarm() -> None:
    """Rounding inside of y moves r^2 by 2 r eps at every step h: the differences agree with each other, and not with 0."""
    norms = [bp.LayerNorm(eps=0.001), bp.Dropout(0.3), bp.BatchNorm(), bp.BatchNorm(momentum=0.0)]
    last = bp.Dense(4, "sigmoid", bias="column", weight_init="zeros", bias_init="zeros")
    network = bp.Network(3, [*norms, last], "sum_squared_residuals")
    sample = Sample(network, rows=3, weighted=True, soft=False, seed=1, special="a perfect fit")
    report = check_gradients(sample.model("numpy", "float32"), *sample.data(), oracles="differences", perturbed=False)
    assert report.passed, str(report)
