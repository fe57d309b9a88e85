"""The chain rule of one weight, path by path, and the forward pass in words."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, paths
from bpengine.explain.chain_rule.paths import paths_of
from tests.explain.networks import dosage, random_case, xor
from tests.not_finite import put
from tests.tolerances import agreement_rtol, published_atol


def test_the_largest_paths_are_those_that_a_search_of_all_finds() -> None:
    rng = np.random.default_rng(3)
    network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(4, "sigmoid"), bp.Dense(2)], "half_sum_squares")
    model = bp.Model(network, dtype="float64")
    x, y = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    layers = list(model.trace(x, y).layers.values())
    (_, w1, w2), (a0, a1, a2) = [m.parameters["weight"] for m in layers], [m.a for m in layers]
    products = [
        x[r, 1] * (1 - a0[r, 2] ** 2) * w1[2, j] * a1[r, j] * (1 - a1[r, j]) * w2[j, k] * (a2[r, k] - y[r, k])
        for r, j, k in product(range(2), range(4), range(2))
    ]
    chain = paths(model, x, y, "0.weight[1,2]", largest=5)
    ranked = sorted(products, key=abs, reverse=True)
    np.testing.assert_allclose([p.product for p in chain.paths], ranked[:5], rtol=agreement_rtol("float64", 8))
    np.testing.assert_allclose(chain.rest, sum(ranked[5:]), rtol=agreement_rtol("float64", 16) * 10)
    assert chain.count == 16
    for path in chain.paths:
        np.testing.assert_allclose(
            np.prod([f.value for f in path.factors]), path.product, rtol=agreement_rtol("float64", 8)
        )


def test_in_random_networks_the_sum_over_all_paths_is_the_engines_gradient() -> None:
    checked = 0
    for seed in range(60):
        network, *case = random_case(np.random.default_rng(seed))
        traced = bp.Model(network, dtype="float64", seed=seed).trace(*case)
        for name, value in traced.parameters.items():
            index = ",".join(str(n - 1) for n in value.shape)
            chain = paths_of(traced, f"{name}[{index}]", largest=3)
            assert chain.agrees, (seed, chain)
            total = chain.gradient + chain.penalty
            np.testing.assert_allclose(
                total, float(traced.gradients[name].flat[-1]), rtol=0,
                atol=agreement_rtol("float64", 64) * (chain.magnitude + abs(chain.penalty)),
            )  # fmt: skip
            kept = sum(p.product for p in chain.paths) + chain.rest
            np.testing.assert_allclose(
                kept, chain.all_paths, rtol=0, atol=agreement_rtol("float64", 8) * chain.magnitude
            )
            checked += 1
    assert checked > 300


@pytest.mark.parametrize(
    ("loss", "name"), [("half_sum_squares", "0.weight[0,0]"), ("mean_absolute_error", "1.bias[0]")]
)
def test_the_gradient_beside_the_paths_is_the_engines_own(loss: str, name: str) -> None:
    """In float32 its sum over the batch is rounded; of one row it is input x dL/dz."""
    rng = np.random.default_rng(1)
    model = bp.Model(bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(4)], loss), dtype="float32")
    traced = model.trace(rng.normal(size=(1000, 3)), 5 + rng.uniform(size=(1000, 4)))
    chain = paths_of(traced, name, largest=1)
    assert chain.gradient == float(traced.gradients[name.partition("[")[0]].flat[0])
    assert chain.agrees
    assert paths_of(traced, name, sample=3).agrees


def test_many_paths_are_counted_with_unambiguous_thousands_separators() -> None:
    network = bp.Network(1, [bp.Dense(40, "tanh"), bp.Dense(60, "tanh"), bp.Dense(1)], "half_sum_squares")
    chain = paths(bp.Model(network, dtype="float64"), [[1.0], [2.0]], [[1.0], [0.0]], "0.weight[0,0]", largest=1)
    assert chain.count == 120
    wide = bp.Network(1, [bp.Dense(2), bp.Dense(60), bp.Dense(60), bp.Dense(1)], "half_sum_squares")
    chain = paths(bp.Model(wide, dtype="float64"), [[1.0]], [[1.0]], "0.weight[0,0]", largest=1)
    assert "the sum over 3,600 paths" in chain.text()
    assert "3,599 other paths" in chain.text()
    assert "a soma sobre 3600 caminhos" in chain.text("pt")


def test_one_row_of_the_exclusive_or_is_one_path() -> None:
    model, x, y = xor()
    chain = paths(model, x, y, "0.weight[2,1]", sample=1)
    (path,) = chain.paths
    assert (chain.count, chain.rest) == (1, 0.0)
    np.testing.assert_allclose(path.product, 0.0097340155, rtol=0, atol=published_atol(10))
    np.testing.assert_allclose([f.value for f in path.factors][2], -0.327)
    assert "they agree" in chain.text()
    assert "Regra da cadeia" in chain.text("pt")
    assert json.loads(json.dumps(chain.to_json(), allow_nan=False))["agrees"] is True
    assert len(chain.to_rows()) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("0.wieght[0,0]", "Did you mean '0.weight'"),
        ("0.weight", r"has \(3, 3\) numbers; name one of them, such as '0.weight\[0,0\]'"),
        ("0.weight[3,0]", r"requires an index in \[0 to 2, 0 to 2\], got \[3,0\]"),
        ("0.weight[0]", r"got \[0\]"),
        ("0.weight[a,b]", r"got \[a,b\]"),
    ],
)
def test_a_parameter_that_does_not_exist_is_refused(name: str, words: str) -> None:
    model, x, y = xor()
    with pytest.raises((bp.ConfigError, bp.ShapeError), match=words):
        paths(model, x, y, name)


class Outside(bp.Layer):
    """Doubles its input without a kernel."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return 2.0 * x, None, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return 2.0 * dy, {}


class HalfOutside(Outside):
    """Adds a half of its input to its identity, which alone is a kernel call."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        y, residual = ops.identity_fwd(x)
        return y + 0.5 * x, residual, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return ops.identity_bwd(residual, dy) + 0.5 * dy, {}


def with_layer(layer: bp.Layer) -> tuple[bp.Model, Any, Any]:
    layers = [bp.Dense(2, "tanh"), layer, bp.Dense(1)]
    model = bp.Model(bp.Network(1, layers, "half_sum_squares"), dtype="float64")
    return model, np.array([[0.5], [2.0]]), np.array([[1.0], [0.0]])


def test_layer_that_computes_outside_of_kernels_is_named() -> None:
    model, x, y = with_layer(Outside())
    with pytest.raises(bp.ConfigError, match="computes outside of kernels"):
        paths(model, x, y, "0.weight[0,0]")
    explained = model.explain(x, y, layer=0, unit=0)
    assert explained.incoming is None
    assert "the layer that takes this output computes outside of kernels" in explained.text()
    assert "recebe esta saída calcula fora das chamadas de kernel" in explained.text("pt")
    assert f"dL/da = {explained.da[0]:.10g}" in explained.text()
    assert "nothing comes back" not in explained.text()


class OwnGain(Outside):
    """A factor for each unit, outside of kernels."""

    def init(self, rng: Any, inputs: int) -> Any:
        return {"gain": np.full(inputs, 2.0)}

    def penalized(self) -> dict[str, str | None]:
        return {"gain": None}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return params["gain"] * x, (x, params["gain"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x, gain = residual
        return dy * gain, {"gain": (dy * x).sum(axis=0)}


class KernelGain(OwnGain):
    """The same by a kernel."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        none, one = np.zeros(2), np.ones(2)
        y, residual = ops.batch_norm_inference_fwd(x, params["gain"], none, none, one, eps=0.0)
        return y, residual, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dx, dgain, _ = ops.batch_norm_inference_bwd(residual, dy)
        return dx, {"gain": dgain}


@pytest.mark.parametrize("penalties", [(), bp.L2(0.1)])
def test_parameters_that_no_kernel_takes_are_said_to_be_used_elsewhere(penalties: Any) -> None:
    layers = [bp.Dense(2, "tanh"), OwnGain(), bp.Dense(1)]
    model = bp.Model(bp.Network(1, layers, "half_sum_squares", penalties), dtype="float64")
    x, y = np.array([[0.5], [2.0]]), np.array([[1.0], [0.0]])
    explained = model.explain(x, y, layer=1, unit=0)
    assert explained.outside == ("a", "1.gain")
    assert explained.to_json()["outside"] == ["a", "1.gain"]
    assert "this layer computes outside of kernels: the terms of a cannot be shown" in explained.text()
    assert "1.gain is used outside of kernels: the terms of its gradient cannot be shown" in explained.text()
    assert "1.gain é usado fora das chamadas de kernel" in explained.text("pt")
    assert model.explain(x, y, layer=0, unit=0).outside == ()


def test_own_layer_that_calls_kernels_has_all_its_terms() -> None:
    own, x, y = with_layer(OwnGain())
    model, _, _ = with_layer(KernelGain())
    explained = model.explain(x, y, layer=1, unit=0)
    assert explained.outside == ()
    assert [part.name for part in explained.parameters] == ["1.gain"]
    np.testing.assert_array_equal(explained.da, own.explain(x, y, layer=1, unit=0).da)
    assert model.explain(x, y, layer=0, unit=0).incoming is not None
    assert paths(model, x, y, "1.gain[0]").agrees


def test_layer_without_kernels_shows_its_own_inputs_and_outputs() -> None:
    model, x, y = with_layer(Outside())
    first, second, third = model.trace(x, y).layers.values()
    np.testing.assert_array_equal(second.a, 2.0 * first.a)
    np.testing.assert_array_equal(second.da, third.dx)
    np.testing.assert_array_equal(first.da, 2.0 * second.da)
    np.testing.assert_allclose(first.dz, first.da * (1.0 - first.a**2), rtol=agreement_rtol("float64"))


def test_gradient_computed_outside_of_kernels_is_a_separate_term() -> None:
    model, x, y = with_layer(HalfOutside())
    explained = model.explain(x, y, layer=0, unit=1, sample=0)
    through, beside = explained.incoming.terms(0)
    assert explained.adds_up
    assert through.product == pytest.approx(2.0 * beside.product)
    assert beside.route == "outside"
    assert "layer 1, outside of kernels" in explained.text()


def test_forward_pass_of_the_xor_network_has_the_published_sums() -> None:
    model, x, y = xor()
    passed = forward(model, x, y, sample=1).text()
    assert "sigmoid((0 x 0.351) + (1 x 1.076) + (1 x 1.116)) = sigmoid(2.192) = 0.8995288044" in passed
    assert "sigmoid((0 x (-0.097)) + (1 x (-0.165)) + (1 x 0.542)) = sigmoid(0.377) = 0.5931493361" in passed
    assert "Step function at 0.5: 0.506509483 -> 1; target 1: right" in passed
    assert "Função degrau (step function) em 0.5" in forward(model, x, y).text("pt")


def test_each_row_has_its_decision() -> None:
    model, x, y = xor()
    verdicts = forward(model, x, y).verdicts
    assert [v.right for v in verdicts] == [True, True, False, False]
    assert [v.verdict for v in forward(model, x, y, threshold=0.4).verdicts] == [1, 1, 1, 1]
    model, x, y = dosage()
    values = forward(model, x, y)
    assert {v.kind for v in values.verdicts} == {"value"}
    assert "observed - predicted = residual: 0 - (-2.603665238) = 2.603665238" in values.text()
    classes = bp.Model(bp.Network(2, [bp.Dense(3)], "softmax_cross_entropy"))
    (verdict, _) = forward(classes, np.eye(2), [0, 2]).verdicts
    assert (verdict.kind, verdict.verdict) == ("class", float(np.argmax(classes.predict(np.eye(2))[0])))


def test_non_finite_output_gets_no_decision_and_its_cause_is_named() -> None:
    model, x, y = xor()
    put(model, {"1.weight": [[np.nan], [1.0], [1.0]]})
    chain, passed = paths(model, x, y, "0.weight[0,0]"), forward(model, x, y)
    cause = "First cause: parameter '1.weight', row 0, column 0 = nan (1 of 3 values)."
    assert cause in chain.text()
    assert "the engine's gradient = nan (!)" in chain.text()
    assert "they agree" not in chain.text()
    assert cause in passed.text()
    assert {(np.isnan(v.verdict), v.right) for v in passed.verdicts} == {(True, False)}
    assert json.loads(json.dumps(passed.to_json(), allow_nan=False))["first_bad"] == str(passed.first_bad)
    classes = bp.Model(bp.Network(2, [bp.Dense(3)], "softmax_cross_entropy"))
    put(classes, {"0.bias": [0.0, np.nan, 0.0]})
    assert [(np.isnan(v.verdict), v.right) for v in forward(classes, np.eye(2), [0, 1]).verdicts] == [(True, False)] * 2


def test_forward_sums_are_the_engines() -> None:
    network, x, y, _ = random_case(np.random.default_rng(11))
    passed = forward(bp.Model(network, dtype="float64"), x, y)
    for unit in passed.units:
        if unit.sums is not None:
            assert unit.sums.value[0] == unit.z
            assert unit.sums.ulps[0] <= 2
    assert json.dumps(passed.to_json(), allow_nan=False)
    assert len(passed.to_rows()) == len(passed.units)
