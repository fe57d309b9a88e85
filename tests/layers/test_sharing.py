"""Shared parameters: one layer object in several places, and weights tied to another layer's, transposed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, graph, paths, verify, write_receipt
from bpengine.explain.page import page
from tests.backends.test_compiled import Both
from tests.tolerances import agreement_rtol, training_rtol


def twice(**settings: Any) -> bp.Network:
    layer = bp.Dense(3, "tanh")
    return bp.Network(3, [layer, layer, bp.Dense(2)], "mean_squared_error", **settings)


def autoencoder(bias: bool = True) -> bp.Network:
    encoder = bp.Dense(2, "tanh")
    return bp.Network(4, [encoder, bp.Dense(4, bias=bias, tie=encoder)], "mean_squared_error")


def inside() -> bp.Network:
    layer, norm = bp.Dense(3, "tanh"), bp.LayerNorm()
    block = bp.Residual([layer, norm])
    layers = [layer, norm, block, bp.Residual([block, layer]), bp.Dense(3, tie=layer), bp.Dense(2)]
    return bp.Network(3, layers, "mean_squared_error")


NETWORKS = {
    "twice": twice,
    "tied": autoencoder,
    "tied without bias": lambda: autoencoder(False),
    "inside": inside,
    "penalties": lambda: twice(penalties=[bp.L2(0.1), bp.L1(0.05, per_sample=True)]),
}
EVERY = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def rows_for(network: bp.Network, rng: np.random.Generator, n: int = 12) -> Any:
    return rng.normal(size=(n, network.inputs)), rng.normal(size=(n, network.outputs))


def test_the_first_place_gives_the_names() -> None:
    assert list(bp.Model(twice()).parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(bp.Model(autoencoder()).parameters) == ["0.weight", "0.bias", "1.bias"]
    assert list(bp.Model(inside()).parameters) == [
        *("0.weight", "0.bias", "1.gamma", "1.beta", "4.bias", "5.weight", "5.bias")
    ]
    assert twice(penalties=bp.L2(1.0)).penalized() == {"0.weight": None, "2.weight": None}


def test_equal_layers_that_were_made_apart_share_nothing() -> None:
    network = bp.Network(3, [bp.Dense(3), bp.Dense(3)], "mean_squared_error")
    assert list(bp.Model(network).parameters) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert network != bp.Network(3, [network.layers[0]] * 2, "mean_squared_error")


def apart(network: bp.Network) -> bp.Network:
    """Return the same network with parameters for every place of its own; a tied weight is plain there."""
    assert all(isinstance(layer, bp.Dense) for layer in network.layers)
    layers = [bp.Dense(d.units, d.activation, d.bias) for d in network.layers]
    return bp.Network(network.inputs, layers, network.loss, network.penalties)


@pytest.mark.parametrize("make", [twice, autoencoder, lambda: autoencoder(False)])
def test_the_gradient_is_the_sum_over_the_uses(make: Any, backend_name: str, rng: np.random.Generator) -> None:
    network = make()
    model, plain = (bp.Model(n, backend_name, "float64") for n in (network, apart(network)))
    x, y = rows_for(network, rng)
    shared = network.spread(model.parameters)
    tied = [n for n in shared if n.endswith("weight") and network.layers[int(n[0])].tie]
    plain.parameters = {n: a.T if n in tied else a for n, a in shared.items()}
    loss, gradients = model.loss_and_gradients(x, y)
    expected_loss, alone = plain.loss_and_gradients(x, y)
    assert loss == pytest.approx(expected_loss, rel=agreement_rtol("float64", 12))
    known = dict(network.shared)
    summed: dict[str, Any] = {}
    for name, g in alone.items():
        owner = known.get(name) or (f"{known[name[0]]}{name[1:]}" if name[0] in known else name)
        summed[owner] = summed.get(owner, 0.0) + (g.T if name in tied else g)
    assert gradients.keys() == summed.keys()
    for name, g in summed.items():
        np.testing.assert_allclose(gradients[name], g, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.thorough(keep=1)
@EVERY
def test_shared_layers_are_checked(make: Any, backend_name: str, rng: np.random.Generator) -> None:
    network = make()
    x, y = rows_for(network, rng)
    for dtype in ("float32", "float64"):
        report = bp.Model(network, backend_name, dtype).check(x, y)
        assert report.passed, str(report)


@pytest.mark.thorough(keep=1)
@EVERY
def test_shared_layers_compile_to_the_same_bits(make: Any, rng: np.random.Generator) -> None:
    network, before = make(), Both.steps
    bp.Model(network, Both(precision="float32")).fit(*rows_for(network, rng), epochs=2, batch_size=5)
    assert Both.steps == before + 6


@pytest.mark.thorough(keep=1)
@EVERY
def test_backends_agree(make: Any, rng: np.random.Generator) -> None:
    network = make()
    comparison = bp.compare_backends(network, *rows_for(network, rng))
    assert comparison.passed, str(comparison)


@EVERY
def test_a_file_keeps_what_is_shared(make: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    network = make()
    model, path = bp.Model(network), tmp_path / "model"
    x, y = rows_for(network, rng)
    model.save(path)
    loaded = bp.load(path)
    assert loaded.network.shared == network.shared
    assert list(loaded.parameters) == list(model.parameters)
    for trained in (model, loaded):
        trained.fit(x, y, epochs=3, batch_size=5)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value, err_msg=name)
    model.load_parameters(path)
    with pytest.raises(bp.ModelFileError, match="is of another network"):
        bp.Model(bp.Network(3, [bp.Dense(3), bp.Dense(3), bp.Dense(2)], "mean_squared_error")).load_parameters(path)


@EVERY
def test_shared_layers_are_explained(make: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    network = make()
    model = bp.Model(network, dtype="float64")
    x, y = rows_for(network, rng, 4)
    traced = model.trace(x, y)
    for place in traced.layers:
        explanation = bp.explain(model, x, y, layer=place, unit=0)
        assert explanation.adds_up, place
        for part in explanation.parameters:
            assert part.name in model.parameters
            added = part.data.value + sum(values for _, values in part.penalties)
            np.testing.assert_allclose(part.gradient, added, rtol=0, atol=1e-12)
            rows = [traced.parameters[part.name][i] for i in part.indices]
            np.testing.assert_array_equal(rows, part.update.old)
    for name, value in model.parameters.items():
        assert "they agree" in paths(model, x, y, f"{name}[{','.join('0' * value.ndim)}]").text(), name
    write_receipt(traced, tmp_path / "receipt")
    assert verify(tmp_path / "receipt").ok
    assert forward(model, x, y).text()
    assert "add_fwd" in graph(model, x, y).dot()
    assert page(model, x, y, steps=1).html()
    assert bp.sensitivity(model, x, y).text()


def test_explanation_shows_the_sum_over_the_uses(rng: np.random.Generator) -> None:
    network = autoencoder()
    model = bp.Model(network, dtype="float64")
    x, y = rows_for(network, rng)
    (weight, _) = bp.explain(model, x, y, layer=0, unit=1).parameters
    assert [place for place, _ in weight.uses] == ["0", "1"]
    assert weight.indices == ((0, 1), (1, 1), (2, 1), (3, 1))
    tied = bp.explain(model, x, y, layer=1, unit=2)
    (row,) = (part for part in tied.parameters if part.name == "0.weight")
    assert row.indices == ((2, 0), (2, 1))
    _, first = row.uses[0]
    assert (
        f"shared parameter, the sum of all its uses: {first[0]:.6g} (layer 0) + ".replace("-", "(-", 1)[:60]
        in tied.text()
    )
    assert "parâmetro compartilhado, a soma de todos os seus usos" in tied.text("pt")


def test_shared_parameters_are_swept_frozen_and_set_by_their_first_name(rng: np.random.Generator) -> None:
    network = twice()
    model = bp.Model(network, dtype="float64")
    x, y = rows_for(network, rng)
    swept = bp.sweep(model, x, y, "0.weight[0,0]", [0.1, 0.2])
    model.parameters = {
        "0.weight": np.where(np.eye(3, dtype=bool) & (np.arange(3) == 0), 0.2, model.parameters["0.weight"])
    }
    assert swept.loss[1] == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-12)
    before = model.parameters
    model.fit(x, y, epochs=1, only="0.*")
    assert (model.parameters["0.weight"] != before["0.weight"]).all()
    np.testing.assert_array_equal(model.parameters["2.weight"], before["2.weight"])
    with pytest.raises(bp.ConfigError, match=r"unknown parameter '9\.weight'"):
        model.fit(x, y, epochs=1, only="9.weight")


def test_every_name_of_a_shared_parameter_is_known(rng: np.random.Generator) -> None:
    network = twice()
    model = bp.Model(network, dtype="float64")
    x, y = rows_for(network, rng)
    before = model.parameters
    model.fit(x, y, epochs=1, only="1.weight", freeze="0.bias")
    moved = {name for name, value in model.parameters.items() if (value != before[name]).any()}
    assert moved == {"0.weight"}
    model.parameters = {"1.weight": np.eye(3)}
    np.testing.assert_array_equal(model.parameters["0.weight"], np.eye(3))
    assert list(model.per_sample_gradients(x, y, only=["1.bias", "2.*"])) == ["0.bias", "2.weight", "2.bias"]
    v = rng.normal(size=(3, 3))
    products = (model.hvp(x, y, {name: v}) for name in ("0.weight", "1.weight"))
    np.testing.assert_array_equal(*(product["0.bias"] for product in products))
    gradients = model.loss_and_gradients(x, y)[1]
    twice_given = r"'0\.weight' twice: its layer is also at the place of '1\.weight'"
    with pytest.raises(
        bp.ConfigError, match=rf"a gradient of parameter requires every parameter once, got {twice_given}"
    ):
        model.apply_gradients({"0.weight": gradients["0.weight"], "1.weight": gradients["0.weight"]})


def test_sharing_changes_no_other_layers_weights() -> None:
    shared, plain = bp.Model(twice()), bp.Model(bp.Network(3, [bp.Dense(3, "tanh"), bp.Dense(3), bp.Dense(2)], "huber"))
    for name, value in shared.parameters.items():
        np.testing.assert_array_equal(plain.parameters[name], value)


@pytest.mark.thorough(keep=1)
def test_a_normalization_s_statistics_are_those_of_its_place(backend_name: str, rng: np.random.Generator) -> None:
    norm = bp.BatchNorm()
    network = bp.Network(2, [norm, bp.Dense(2), norm, bp.Dense(1)], "mean_squared_error")
    model = bp.Model(network, backend_name, "float64")
    assert list(model.parameters)[:2] == ["0.gamma", "0.beta"]
    assert list(model.running) == ["0.mean", "0.variance", "2.mean", "2.variance"]
    x, y = rows_for(network, rng)
    model.fit(x + 5.0, y, epochs=20)
    assert np.all(model.running["0.mean"] > 3.0)
    assert np.all(np.abs(model.running["2.mean"]) != model.running["0.mean"])
    assert model.check(x, y).passed


@dataclass(frozen=True)
class Scale(bp.Layer):
    """A layer of one's own with a factor."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"factor": np.full(1, 1.5)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x * params["factor"], (x, params["factor"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x, factor = residual
        return dy * factor, {"factor": ops.xp.reshape(ops.xp.sum(dy * x), (1,))}


@pytest.mark.thorough(keep=1)
def test_a_layer_of_one_s_own_is_shared_too(backend_name: str, rng: np.random.Generator) -> None:
    scale = Scale()
    network = bp.Network(3, [scale, bp.Dense(4, "tanh"), scale, bp.Dense(2)], "mean_squared_error")
    model = bp.Model(network, backend_name, "float64")
    x, y = rows_for(network, rng)
    assert next(iter(model.parameters)) == "0.factor"
    assert model.check(x, y).passed
    model.fit(x, y, epochs=2)


def test_every_optimizer_keeps_one_state(rng: np.random.Generator) -> None:
    network, wide = twice(), apart(twice())
    x, y = rows_for(network, rng)
    model = bp.Model(network, dtype="float64")
    sums = model.loss_and_gradients(x, y)[1]
    model.fit(x, y, steps=1, optimizer=bp.Momentum(0.1))
    start = bp.Model(network, dtype="float64").parameters
    np.testing.assert_allclose(
        model.parameters["0.weight"], start["0.weight"] - 0.1 * sums["0.weight"], rtol=training_rtol("float64", 1)
    )
    assert len(wide.layers) == 3


def test_a_tied_layer_alone_is_checked(rng: np.random.Generator) -> None:
    assert bp.check_gradients(bp.Dense(4, "tanh", tie=bp.Dense(2)), rng.normal(size=(5, 2))).passed


ENCODER = bp.Dense(2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: bp.Network(2, [ENCODER, bp.Dense(3), ENCODER], "huber"),
            r"layer 2 is the same object as layer 0 \(Dense\) .* got 3 here and 2 there. For parameters of its own",
        ),
        (
            lambda: bp.Network(4, [bp.Dense(4, tie=ENCODER), ENCODER], "huber"),
            "in the same network, before it, got none",
        ),
        (lambda: bp.Network(4, [bp.Dense(2), bp.Dense(4, tie=bp.Dense(2))], "huber"), "Give tie= the same object"),
        (
            lambda: bp.Network(4, [ENCODER, bp.Dense(3, tie=ENCODER)], "huber"),
            r"layer 1 requires 2 inputs and 4 units, the transpose of layer 0's weight \(4, 2\), got 2 inputs and 3 units",
        ),
        (lambda: bp.Dense(4, tie=bp.LayerNorm()), "requires tie to be a Dense layer, got LayerNorm"),
        (lambda: bp.Dense(4, tie=bp.Dense(4, tie=ENCODER)), "a layer with a weight of its own"),
        (lambda: bp.Dense(4, tie=bp.Dense(2, bias="column")), "a layer with a weight of its own"),
        (lambda: bp.Dense(4, bias="column", tie=ENCODER), "a layer with a weight of its own"),
        (lambda: bp.Dense(4, weight_init="he", tie=ENCODER), "has the weight of another layer, got weight_init='he'"),
        (
            lambda: bp.Model(twice()).fit(np.ones((2, 3)), np.ones((2, 2)), epochs=1, update="sequential"),
            "update='sequential' requires layers with parameters of their own",
        ),
    ],
)
def test_invalid_sharing_is_refused(make: Any, words: str) -> None:
    with pytest.raises(bp.ConfigError, match=words):
        make()


def test_layers_without_parameters_may_stand_anywhere(rng: np.random.Generator) -> None:
    bend = bp.Activation("tanh")
    network = bp.Network(3, [bp.Dense(4), bend, bp.Dense(2), bend], "mean_squared_error")
    x, y = rows_for(network, rng)
    bp.Model(network).fit(x, y, epochs=1, update="sequential")


def test_file_with_an_unknown_shared_place_is_refused(tmp_path: Path) -> None:
    from bpengine.io import build, describe

    description = describe(twice())
    description["layers"][1]["place"] = "7"
    with pytest.raises(bp.ModelFileError, match="of place '7', where there is none yet"):
        build(description)
