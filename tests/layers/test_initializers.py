"""Initial weights: reproducible, independent of the backend, of the distribution that their name promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers.initializers import INITIALIZERS, Initializer
from tests.tolerances import agreement_rtol, correlation_atol

SHAPE = (300, 200)  # far from square, so that the two fans cannot be mistaken for each other
LIMIT = math.sqrt(3.0)  # of a uniform distribution with standard deviation 1
STANDARD_DEVIATIONS = {
    "glorot": math.sqrt(2 / 500),
    "he": math.sqrt(2 / 300),
    "lecun": math.sqrt(1 / 300),
    "normal": 0.01,
    "uniform": 0.05 / LIMIT,
}


def net(*layers: Any, inputs: int = 3) -> bp.Network:
    return bp.Network(inputs, layers, "mean_squared_error")


def draw(name: str, rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> Any:
    return INITIALIZERS[name](rng, shape)


@pytest.mark.parametrize("name", STANDARD_DEVIATIONS)
def test_initialisers_have_the_stated_mean_and_standard_deviation(name: str, rng: np.random.Generator) -> None:
    values = draw(name, rng) / STANDARD_DEVIATIONS[name]
    assert values.shape == SHAPE
    assert values.dtype == np.float64
    assert abs(values.mean()) < correlation_atol(values.size)
    assert abs(values.std() - 1) < correlation_atol(values.size)


@pytest.mark.parametrize("name", STANDARD_DEVIATIONS)
def test_the_distribution_is_the_one_named(name: str, rng: np.random.Generator) -> None:
    values = np.abs(draw(name, rng) / STANDARD_DEVIATIONS[name])
    assert (values.max() > 2 * LIMIT) == (name != "uniform")  # a normal distribution goes far beyond a uniform one
    inside = 1 / LIMIT if name == "uniform" else math.erf(1 / math.sqrt(2))  # within one standard deviation
    assert abs(np.mean(values < 1) - inside) < correlation_atol(values.size)


def test_settings_of_normal_and_uniform_scale_what_is_drawn(rng: np.random.Generator) -> None:
    drawn = {kind: kind(rng, SHAPE) for kind in (bp.initializers.Normal(2.0), bp.initializers.Uniform(3.0))}
    normal, uniform = drawn.values()
    assert abs(normal.std() / 2.0 - 1) < correlation_atol(normal.size)
    assert 3.0 * (1 - correlation_atol(uniform.size)) < np.abs(uniform).max() <= 3.0


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 3), (3, 1)])
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_orthogonal_weights_have_orthogonal_rows_or_columns(
    shape: tuple[int, int], gain: float, rng: np.random.Generator
) -> None:
    w = bp.initializers.Orthogonal(gain)(rng, shape)
    assert w.shape == shape
    product = w.T @ w if shape[0] >= shape[1] else w @ w.T
    rtol = agreement_rtol(float, 5)
    np.testing.assert_allclose(product, gain**2 * np.eye(min(shape)), rtol=rtol, atol=gain**2 * rtol)


def test_orthogonal_is_drawn_evenly(rng: np.random.Generator) -> None:
    """Without making the signs of the decomposition unique, the first element would always have one sign."""
    signs = [np.sign(draw("orthogonal", rng, (3, 3))[0, 0]) for _ in range(200)]
    assert abs(np.mean(signs)) < correlation_atol(200)


def test_zeros_are_all_zero(rng: np.random.Generator) -> None:
    assert not draw("zeros", rng).any()


def test_biases_start_at_zero() -> None:
    assert not bp.Model(net(bp.Dense(4, "relu"))).parameters["0.bias"].any()


@pytest.mark.parametrize("name", [n for n in INITIALIZERS if n != "zeros"])
def test_a_name_an_object_and_its_class_draw_the_same(name: str) -> None:
    by_name, by_object = (
        bp.Model(net(bp.Dense(4, weight_init=initializer))).parameters["0.weight"]
        for initializer in (name, INITIALIZERS[name])
    )
    np.testing.assert_array_equal(by_name, by_object)
    assert by_name.any()


@pytest.mark.parametrize(
    ("activation", "chosen"),
    [
        *[
            (name, "he")
            for name in ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "softplus", "mish", "celu", "relu6")
        ],
        ("selu", "lecun"),
        *[(name, "glorot") for name in ("identity", "sigmoid", "tanh", "softmax", "softsign")],
        *[(name, "glorot") for name in ("hard_sigmoid", "hard_tanh", "log_softmax")],
    ],
)
def test_auto_chooses_by_the_activation(activation: str, chosen: str) -> None:
    auto, named = (
        bp.Model(net(bp.Dense(4, activation, **settings))).parameters["0.weight"]
        for settings in ({}, {"weight_init": chosen})
    )
    np.testing.assert_array_equal(auto, named)


def test_the_same_seed_gives_the_same_weights(backend_name: str) -> None:
    """On every backend, to the last bit."""
    described = net(
        bp.Dense(8, "relu"), bp.Residual([bp.Dense(8, weight_init="orthogonal", bias="column")]), bp.BatchNorm()
    )
    ours, reference = bp.Model(described, backend_name, seed=7), bp.Model(described, "numpy", seed=7)
    assert ours.parameters.keys() == reference.parameters.keys()
    for name, value in reference.parameters.items():
        np.testing.assert_array_equal(ours.parameters[name], value)
    for name, value in reference.running.items():
        np.testing.assert_array_equal(ours.running[name], value)


def test_another_seed_gives_other_weights() -> None:
    first, second = (bp.Model(net(bp.Dense(8)), seed=seed).parameters["0.weight"] for seed in (0, 1))
    assert not (first == second).any()


def test_layers_of_the_same_shape_get_different_weights() -> None:
    params = bp.Model(
        net(bp.Dense(3), bp.Dense(3), bp.Residual([bp.Dense(3), bp.Dense(3)]), bp.Residual([bp.Dense(3)]))
    ).parameters
    weights = [value for name, value in params.items() if name.endswith("weight")]
    assert len(weights) == 5
    for i, a in enumerate(weights):
        assert not any((a == b).any() for b in weights[:i])


def test_a_layer_added_at_the_end_changes_no_other() -> None:
    short, long = (
        bp.Model(net(bp.Dense(4), bp.Residual([bp.Dense(4)]), *more)).parameters for more in ([], [bp.Dense(2)])
    )
    for name, value in short.items():
        np.testing.assert_array_equal(long[name], value)


def test_weights_are_rounded_from_the_same_float64_numbers() -> None:
    single, double = (
        bp.Model(net(bp.Dense(8)), dtype=dtype).parameters["0.weight"] for dtype in ("float32", "float64")
    )
    np.testing.assert_array_equal(single, double.astype(np.float32))


@pytest.mark.parametrize(
    ("bias", "weight"), [(True, (3, 2)), (False, (3, 2)), ("column", (4, 2)), ("column-first", (4, 2))]
)
def test_arrays_are_taken_as_they_are(bias: bool | str, weight: tuple[int, int], rng: np.random.Generator) -> None:
    values = rng.normal(size=weight)
    model = bp.Model(net(bp.Dense(2, bias=bias, weight_init=values)), dtype="float64")
    np.testing.assert_array_equal(model.parameters["0.weight"], values)
    values[:] = 0.0
    assert model.parameters["0.weight"].all()


def test_lists_are_arrays() -> None:
    model = bp.Model(net(bp.Dense(2, weight_init=[[1, 2]], bias_init=[3, 4]), inputs=1))
    assert {n: v.tolist() for n, v in model.parameters.items()} == {"0.weight": [[1.0, 2.0]], "0.bias": [3.0, 4.0]}


@pytest.mark.parametrize(
    ("settings", "wanted", "got"),
    [
        ({"weight_init": np.ones((2, 3))}, (3, 2), (2, 3)),
        ({"weight_init": np.ones(6)}, (3, 2), (6,)),
        ({"bias_init": np.ones(3)}, (2,), (3,)),
        ({"weight_init": np.ones((3, 2)), "bias": "column"}, (4, 2), (3, 2)),
        ({"bias_init": np.ones((1, 2)), "bias": "column-first"}, (2,), (1, 2)),
    ],
)
def test_arrays_of_another_shape_are_refused(settings: Any, wanted: Any, got: Any) -> None:
    with pytest.raises(bp.ShapeError) as caught:
        bp.Model(net(bp.Dense(2, **settings)))
    assert f"must have the shape {wanted}" in str(caught.value)
    assert f"got {got}" in str(caught.value)


def test_an_unknown_initialiser_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"unknown initializer 'glorrot'\. Did you mean 'glorot'"):
        bp.Dense(2, weight_init="glorrot")
    with pytest.raises(bp.ConfigError, match="unknown initializer 'heh'"):
        bp.Dense(2, bias_init="heh")


def test_an_initialiser_that_draws_nothing_says_so() -> None:
    class Empty(Initializer):
        pass

    with pytest.raises(bp.ConfigError, match="Empty does not say what it draws"):
        bp.Model(net(bp.Dense(2, weight_init=Empty())))


def test_own_initialiser_gives_the_weights() -> None:
    class Diagonal(Initializer):
        def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
            return np.eye(*shape)

    model = bp.Model(net(bp.Dense(3, weight_init=Diagonal())))
    np.testing.assert_array_equal(model.parameters["0.weight"], np.eye(3))
