"""explain: the sums add up to the engine's gradients, in every kind of layer, and say what they are in two languages."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.explain.terms.sums import ULPS
from bpengine.explain.units.explain import explain_trace
from bpengine.i18n.translate import format_factor
from bpengine.kernels.dense import dense_bwd
from tests.explain.networks import random_case, xor
from tests.not_finite import put
from tests.tolerances import agreement_rtol, published_atol


def every_sum_adds_up(network: bp.Network, backend: Any, dtype: str, seed: int, case: tuple[Any, ...]) -> int:
    """Assert it for each unit of a network and return the number of sums; their terms are few."""
    traced = bp.Model(network, backend, dtype, seed=seed).trace(*case)
    checked = 0
    for place, layer in traced.layers.items():
        for unit in range(layer.units):
            explained = explain_trace(traced, place, unit)
            assert explained.incoming is not None
            for sums in explained.sums:
                assert np.all(sums.ulps <= ULPS), (seed, place, unit, sums.kernel[0], np.max(sums.ulps))
                checked += len(sums.value)
            for part in explained.parameters:
                total = part.data.value + sum(values for _, values in part.penalties)
                size = np.abs(part.data.value) + sum(np.abs(values) for _, values in part.penalties)
                assert np.all(np.abs(total - part.gradient) <= ULPS * np.finfo(dtype).eps * size)
    return checked


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_in_200_random_networks_every_sum_is_the_engines_number(dtype: str) -> None:
    checked = 0
    for seed in range(200):
        network, *case = random_case(np.random.default_rng(seed))
        checked += every_sum_adds_up(network, "numpy", dtype, seed, tuple(case))
    assert checked > 30_000


@pytest.mark.thorough  # on NumPy the test above asks the same
def test_sums_add_up_on_every_backend(backend_name: str, request: pytest.FixtureRequest) -> None:
    """Of shapes alike unless the backend is required by name: JAX compiles each kernel for every shape."""
    backend = bp.get_backend(backend_name, precision="float64")
    required = backend_name in request.config.getoption("--require-backend")
    for seed in range(200):
        network, *case = random_case(np.random.default_rng(seed), alike=not required)
        assert every_sum_adds_up(network, backend, "float64", seed, tuple(case))


def test_the_sums_over_the_batch_are_those_of_the_definition() -> None:
    """Computed again by hand: the next units' gradients times the weights, input times gradient."""
    model, x, y = xor()
    traced = model.trace(x, y)
    explained = explain_trace(traced, 0, 2)
    np.testing.assert_array_equal(explained.incoming.left, traced.layers["1"].dz)
    np.testing.assert_array_equal(explained.incoming.right[0], traced.parameters["1.weight"][2])
    (weights,) = explained.parameters
    np.testing.assert_array_equal(weights.data.left, np.hstack([x, np.ones((4, 1))]).T)
    np.testing.assert_array_equal(weights.data.right[0], traced.layers["0"].dz[:, 2])
    assert weights.labels() == ["0.weight[0,2]", "0.weight[1,2]", "0.weight[2,2]"]
    assert weights.bias == (False, False, True)


def test_explanation_of_the_xor_network_has_the_published_numbers() -> None:
    model, x, y = xor(slice(1, 2))
    output = model.explain(x, y, layer=1, unit=0)
    np.testing.assert_allclose(output.dz, [-0.1233517184], rtol=0, atol=published_atol(10))
    hidden = [model.explain(x, y, layer=0, unit=unit) for unit in range(3)]
    sums, deltas = [-0.0472437081, 0.0403360119, 0.0405827154], [-0.0042697321, 0.0097340155, 0.0095464007]
    np.testing.assert_allclose([h.da[0] for h in hidden], sums, rtol=0, atol=published_atol(10))
    np.testing.assert_allclose([h.dz[0] for h in hidden], deltas, rtol=0, atol=published_atol(10))
    assert "-0.1233517184 x 0.383 = -0.04724370815" in hidden[0].text()


def test_a_loss_that_averages_says_so_and_shows_the_share_of_each_row() -> None:
    network = bp.Network(2, [bp.Dense(3)], "softmax_cross_entropy")
    explained = bp.Model(network, dtype="float64").explain(np.eye(2), [0, 2], layer=0, unit=1, weights=[1.0, 3.0])
    np.testing.assert_allclose(explained.incoming.right[:, 0], [0.25, 0.75])
    assert "The loss is an average" in explained.text()
    assert explained.hidden is False


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_the_step_leads_to_the_new_value(optimizer: str) -> None:
    model, x, y = xor()
    explained = model.explain(x, y, layer=0, unit=1, optimizer=optimizer)
    update = explained.parameters[0].update
    model.fit(x, y, optimizer=optimizer, steps=1)
    np.testing.assert_array_equal(update.new, model.parameters["0.weight"][:, 1])
    np.testing.assert_allclose(update.old - update.step_size, update.new, rtol=agreement_rtol("float64"))
    if optimizer == "sgd":
        np.testing.assert_array_equal(update.step_size, update.learning_rate * update.slope)
        assert "slope x learning rate = step size" in explained.text()
    else:
        assert "the rule: " in explained.text()
        assert f"Step of {optimizer}" in explained.text()


class WrongDense(NumpyBackend):
    """A wrong backward that leaves out the first unit of the next layer."""

    def replacements(self) -> Mapping[str, Callable[..., Any]]:
        def wrong(res: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx, dw, db = dense_bwd(np, res, dy, need_dx=need_dx)
            return None if dx is None else dx - dy[:, :1] @ res.w[:, :1].T, dw, db

        return {"dense_bwd": wrong}


def test_wrong_backward_pass_does_not_add_up_and_is_reported() -> None:
    network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(2)], "half_sum_squares")
    x, y = np.eye(2), np.ones((2, 2))
    good = bp.Model(network, NumpyBackend("float64"), "float64").explain(x, y, layer=0, unit=0)
    bad = bp.Model(network, WrongDense("float64"), "float64").explain(x, y, layer=0, unit=0)
    assert good.adds_up
    assert not bad.adds_up
    assert "do NOT add up" in bad.text()
    assert "NÃO somam" in bad.text("pt")


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 1000), ("float64", 300)])
def test_rounding_of_a_long_sum_is_not_reported_as_wrong(dtype: str, rows: int) -> None:
    """A long sum of equal numbers is rounded in one direction; the rounding error is listed as a term."""
    rng = np.random.default_rng(1)
    network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(4)], "mean_absolute_error")
    model = bp.Model(network, dtype=dtype)
    explained = model.explain(rng.normal(size=(rows, 3)), 5 + rng.uniform(size=(rows, 4)), layer=1, unit=0)
    assert explained.adds_up
    assert "do NOT add up" not in explained.text()
    for sums in explained.sums:
        for r in range(len(sums.value)):
            terms = sums.terms(r, largest=12)
            total = math.fsum([*(term.product for term in terms), terms.rest, terms.rounding])
            assert abs(total - terms.value) <= ULPS * np.finfo("float64").eps * sums.magnitude[r]


def test_terms_left_out_are_one_term_and_the_sum_adds_up() -> None:
    rng = np.random.default_rng(0)
    network = bp.Network(3, [bp.Dense(4, "relu"), bp.Dense(40)], "half_sum_squares")
    explained = bp.Model(network, dtype="float64").explain(
        rng.normal(size=(3, 3)), rng.normal(size=(3, 40)), layer=0, unit=1
    )
    terms = explained.incoming.terms(2, largest=5)
    assert (len(terms.terms), terms.left_out) == (5, 35)
    total = sum(term.product for term in terms) + terms.rest + terms.rounding
    np.testing.assert_allclose(total, terms.value, rtol=agreement_rtol("float64", 40))
    left_out = np.delete(np.abs(explained.incoming.product[2]), [term.unit for term in terms])
    assert min(abs(term.product) for term in terms) >= left_out.max()
    assert "35 smaller terms" in explained.text(largest=5)
    many = bp.Model(network, dtype="float64").explain(
        rng.normal(size=(9, 3)), rng.normal(size=(9, 40)), layer=0, unit=1
    )
    line = next(line for line in many.text().splitlines() if line.startswith("  0.weight[2,1]: gradient = "))
    rows = many.parameters[0].data.terms(2, largest=4)
    written = " + ".join(f"{t.left:.6g} x {format_factor(t.right, 6)}" for t in rows)
    assert f"= {written} + {format_factor(rows.rest, 6)} [5 smaller terms] = " in line
    assert [explained.incoming.terms(0, largest).left_out for largest in (38, 39, 40)] == [2, 0, 0]


def test_explanation_covers_one_row_or_all_rows() -> None:
    model, x, y = xor()
    whole, one = (model.explain(x, y, layer=0, unit=1, sample=s) for s in (None, 2))
    assert (whole.rows, one.rows) == ((0, 1, 2, 3), (2,))
    np.testing.assert_array_equal(one.dz, whole.dz[2:3])
    np.testing.assert_array_equal(one.incoming.product, whole.incoming.product[2:3])
    np.testing.assert_array_equal(one.parameters[0].gradient, whole.parameters[0].gradient)
    assert "Row 2" in one.text()
    assert "Row 0" not in one.text()


def test_explanation_has_text_in_two_languages_table_rows_and_json() -> None:
    from rich.console import Console

    model, x, y = xor()
    explained = model.explain(x, y, layer=0, unit=0)
    assert str(explained) == explained.text("en")
    for word in ("camada oculta", "gradiente", "peso", "viés (bias)", "taxa de aprendizado", "tamanho do passo"):
        assert word in explained.text("pt")
    console = Console(width=200, record=True, file=StringIO())
    console.print(explained.table("pt"))
    assert "dL/da" in console.export_text()
    rows = explained.to_rows()
    sums = {(r["quantity"], r["of"], r["row"]) for r in rows}
    for quantity, of, row in sums:
        own = [r for r in rows if (r["quantity"], r["of"], r["row"]) == (quantity, of, row)]
        scale = sum(abs(r["product"]) for r in own)
        assert abs(sum(r["product"] for r in own) - own[0]["value"]) <= agreement_rtol("float64", len(own)) * scale
    plain = json.loads(json.dumps(explained.to_json(), allow_nan=False))
    assert plain["adds_up"] is True
    assert plain["parameters"][2]["bias"] is True
    with pytest.raises(bp.ConfigError, match="unknown language 'fr'"):
        explained.text("fr")


def test_non_finite_numbers_are_marked_and_their_cause_named() -> None:
    model, x, y = xor()
    put(model, {"0.weight": np.full((3, 3), np.nan)})
    explained = model.explain(x, y, layer=1, unit=0)
    assert "First cause: parameter '0.weight', row 0, column 0 = nan" in explained.text()
    assert "nan (!)" in explained.text("pt")
    assert "Primeira causa: parâmetro '0.weight', linha 0, coluna 0 = nan (9 de 9 valores)" in explained.text("pt")
    record = explained.to_json()
    assert (
        record["first_bad"] == str(explained.first_bad) == "parameter '0.weight', row 0, column 0 = nan (9 of 9 values)"
    )
    assert json.loads(json.dumps(explained.to_json(), allow_nan=False))["da"][0] is None


@pytest.mark.parametrize(
    ("layer", "unit", "sample", "words"),
    [
        (2, 0, None, "requires layer to be 0 to 1, or inside a Residual '1.0', got 2"),
        ("1.7", 0, None, "got '1.7'"),
        (True, 0, None, "got True"),
        (0, 3, None, "layer 0 has the units 0 to 2, got unit 3"),
        (0, 0, 4, "requires sample to be a row from 0 to 3, got 4"),
    ],
)
def test_unknown_layer_unit_or_row_is_refused_with_the_range(
    layer: Any, unit: int, sample: int | None, words: str
) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(3), bp.Residual([bp.Dense(3)])], "half_sum_squares"))
    with pytest.raises(bp.ConfigError, match=words.replace("[", r"\[")):
        model.explain(np.zeros((4, 2)), np.zeros((4, 3)), layer=layer, unit=unit, sample=sample)


def test_networks_without_hidden_layers_or_parameters_are_explained() -> None:
    single = bp.Model(bp.Network(2, [bp.Dense(1)], "half_sum_squares")).explain([[1, 2]], [[0]], layer=0, unit=0)
    assert "output layer" in single.text()
    assert "from the loss" in single.text()
    bare = bp.Model(bp.Network(1, [bp.Activation("tanh")], "half_sum_squares")).explain([[1]], [[0]], layer=-1, unit=-1)
    assert bare.parameters == ()
    assert bare.adds_up


def test_pictures_and_pages_are_loaded_on_first_use() -> None:
    packages = "('bpengine.explain.figures', 'bpengine.explain.page')"
    script = f"import sys, bpengine as bp; bp.explain; print(sum(n in sys.modules for n in {packages}))"
    asked = "; print(bp.explain.figures.KINDS[0], callable(bp.explain.page.page), 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script + asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "boundary", "True", "False"]
    with pytest.raises(AttributeError, match="has no attribute 'figuers'"):
        _ = bp.explain.figuers


def test_explain_is_callable_however_it_is_imported() -> None:
    import bpengine.explain
    from bpengine.explain import explain

    assert bp.explain is explain is bpengine.explain
    model, x, y = xor()
    assert bp.explain(model, x, y, layer=0, unit=0).place == "0"
