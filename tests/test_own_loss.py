"""A loss of one's own: a pair of functions does everything that a built-in loss does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, graph, paths, write_receipt
from bpengine.explain.page import page
from tests.backends.test_compiled import Both
from tests.tolerances import agreement_rtol, training_rtol


def square_forward(xp: Any, y: Any, target: Any, weights: Any = None) -> Any:
    """Write the mean squared error anew: the built-in one is its reference."""
    diff = y - target
    rows = xp.ones_like(y[:, 0]) if weights is None else weights
    factor = (rows / (xp.sum(rows) * y.shape[1]))[:, None]
    return xp.sum(diff * diff * factor), (diff, factor)


def square_backward(xp: Any, residual: Any, dloss: Any) -> Any:
    diff, factor = residual
    return 2.0 * diff * factor * dloss


def log_cosh_forward(xp: Any, y: Any, target: Any) -> Any:
    diff = y - target
    return xp.mean(xp.log(xp.cosh(diff))), diff


def log_cosh_backward(xp: Any, diff: Any, dloss: Any) -> Any:
    return xp.tanh(diff) * (dloss / diff.size)


def sum_forward(xp: Any, y: Any, target: Any) -> Any:
    return 0.5 * xp.sum((y - target) ** 2), y - target


def sum_backward(xp: Any, diff: Any, dloss: Any) -> Any:
    return diff * dloss


def half_forward(xp: Any, y: Any, target: Any) -> Any:
    return 0.5 * xp.mean((y - target) ** 2), y - target


def half_backward(xp: Any, diff: Any, dloss: Any) -> Any:
    return diff * (1.0 / diff.size) * dloss


HALF = (half_forward, half_backward)


def binary_forward(xp: Any, y: Any, target: Any) -> Any:
    return xp.mean(xp.log(1.0 + xp.exp(y)) - target * y), (y, target)


def binary_backward(xp: Any, residual: Any, dloss: Any) -> Any:
    y, target = residual
    return (1.0 / (1.0 + xp.exp(-y)) - target) * (dloss / y.size)


SQUARE, LOG_COSH = (square_forward, square_backward), (log_cosh_forward, log_cosh_backward)


def model_of(loss: Any, backend: str = "numpy", dtype: str = "float64") -> bp.Model:
    return bp.Model(bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], loss), backend, dtype, seed=2)


@pytest.fixture
def data(rng: np.random.Generator) -> Any:
    return rng.normal(size=(30, 3)), rng.normal(size=(30, 2))


@pytest.mark.thorough(keep=1)
def test_a_loss_written_anew_is_the_built_in_one_everywhere(backend_name: str, data: Any) -> None:
    own, builtin = (model_of(loss, backend_name) for loss in (SQUARE, "mean_squared_error"))
    weights = np.arange(1.0, 31.0)
    for settings in ({}, {"weights": weights}):
        for model in (own, builtin):
            model.fit(*data, optimizer=bp.Adam(0.05), epochs=4, batch_size=8, validation=data, **settings)
        np.testing.assert_allclose(own.predict(data[0]), builtin.predict(data[0]), rtol=training_rtol("float64", 40))
        for name, value in builtin.evaluate(*data, **settings).items():
            assert own.evaluate(*data, **settings)[name] == pytest.approx(value, rel=training_rtol("float64", 40))
    loss, gradients = own.loss_and_gradients(*data, weights)
    expected_loss, expected = builtin.loss_and_gradients(*data, weights)
    assert loss == pytest.approx(expected_loss, rel=training_rtol("float64", 40))
    for name, value in expected.items():
        np.testing.assert_allclose(gradients[name], value, rtol=0, atol=1e-6 * np.max(np.abs(value)), err_msg=name)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_own_loss_has_the_same_bits(dtype: str, data: Any) -> None:
    for loss in (SQUARE, LOG_COSH):
        network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], loss)
        before = Both.steps
        bp.Model(network, Both(precision=dtype), dtype=dtype).fit(*data, epochs=2, batch_size=8)
        assert Both.steps == before + 8


def test_backends_agree(data: Any) -> None:
    comparison = bp.compare_backends(bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], LOG_COSH), *data)
    assert comparison.passed, str(comparison)


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1.0), ("sum", 1.0)])
def test_own_loss_is_evaluated_in_pieces(
    reduction: str, factor: float, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = LOG_COSH if reduction == "mean" else (sum_forward, sum_backward)
    model = model_of(bp.CustomLoss(*pair, reduction=reduction))
    whole = model.evaluate(*data)["loss"]
    monkeypatch.setattr("bpengine.training.evaluation.CHUNK", 7)
    assert model.evaluate(*data)["loss"] == pytest.approx(whole, rel=agreement_rtol("float64", 30))


def test_link_and_target_are_used(data: Any) -> None:
    y = (data[1] > 0).astype(float)
    own = model_of(bp.CustomLoss(binary_forward, binary_backward, link="sigmoid", target="binary"))
    builtin = model_of("sigmoid_cross_entropy")
    np.testing.assert_array_equal(own.predict(data[0]), builtin.predict(data[0]))
    assert own.evaluate(data[0], y) == pytest.approx(builtin.evaluate(data[0], y), rel=agreement_rtol("float64", 30))
    with pytest.raises(bp.DataError, match="numbers from 0 to 1"):
        own.fit(*data, epochs=1)
    with pytest.raises(bp.ConfigError, match="applies 'sigmoid' itself, but the network already ends in 'sigmoid'"):
        bp.Network(3, [bp.Dense(2, "sigmoid")], own.network.loss)


def too_large(xp: Any, diff: Any, dloss: Any) -> Any:
    return xp.tanh(diff) * dloss


def test_own_loss_is_checked_like_a_kernel(data: Any) -> None:
    for subject in (LOG_COSH, bp.CustomLoss(*LOG_COSH), bp.CustomLoss(*SQUARE)):
        assert bp.check_gradients(subject).passed
        assert bp.check_gradients(subject, {"y": data[0], "target": data[0] + 1.0}).passed
    binary = bp.CustomLoss(binary_forward, binary_backward, link="sigmoid", target="binary")
    assert bp.check_gradients(binary).passed
    report = bp.check_gradients((log_cosh_forward, too_large))
    assert str(report.guilty).startswith("log_cosh_bwd, dy: ")
    assert "the number of values, 15, is missing as a divisor" in report.guilty.words


@pytest.mark.thorough(keep=1)
def test_wrong_own_loss_in_a_network_is_found_and_named(backend_name: str, data: Any) -> None:
    assert model_of(LOG_COSH, backend_name, "float32").check(*data).passed
    report = model_of((log_cosh_forward, too_large), backend_name, "float32").check(*data)
    assert not report.passed
    assert str(report.guilty).startswith("log_cosh_bwd in the loss, dy: ")
    assert "the number of values, 60, is missing as a divisor" in report.guilty.words


def test_a_sum_that_is_said_to_be_a_mean_is_found(data: Any) -> None:
    wrong = bp.CustomLoss(sum_forward, sum_backward)
    for check in (lambda: bp.check_gradients(wrong), lambda: model_of(wrong).check(*data)):
        with pytest.raises(bp.ConfigError, match="loss 'sum' requires the reduction 'sum', got 'mean'"):
            check()
    with pytest.raises(bp.ConfigError, match="requires the reduction 'mean', got 'sum'"):
        bp.check_gradients(bp.CustomLoss(*LOG_COSH, reduction="sum"))


def test_own_loss_is_explained(backend_name: str, data: Any, tmp_path: Path) -> None:
    model = model_of(LOG_COSH, backend_name, "float32")
    explanation = bp.explain(model, *data, layer=1, unit=0, sample=3)
    assert explanation.adds_up
    assert "your loss log_cosh, row 3, output 0" in explanation.text()
    assert "sua função de perda log_cosh, amostra 3, saída 0" in explanation.text("pt")
    assert paths(model, *data, "0.weight[0,0]").text().endswith("they agree")
    assert forward(model, *data, sample=0).text()
    assert "log_cosh_fwd" in graph(model, *data).dot()
    about = json.loads(page(model, *data, steps=1).html().split('id="content">')[1].split("</script")[0])["about"]
    assert about["own_loss"] is True
    with pytest.raises(bp.ConfigError, match="a receipt requires kernels of the KERNELS table, got loss 'log_cosh'"):
        write_receipt(model.trace(*data), tmp_path / "receipt.jsonl")


def test_file_keeps_an_own_loss_by_name(data: Any, tmp_path: Path) -> None:
    model, path = model_of(LOG_COSH), tmp_path / "model.safetensors"
    model.fit(*data, epochs=1)
    model.save(path)
    for loss in (LOG_COSH, bp.CustomLoss(*LOG_COSH)):
        assert bp.load(path, losses={"log_cosh": loss}).evaluate(*data) == model.evaluate(*data)
    model.load_parameters(path)
    refused = {
        "the loss 'log_cosh', which is one's own. Pass losses=": None,
        "has the link None, got one with 'tanh'": {"log_cosh": bp.CustomLoss(*LOG_COSH, link="tanh")},
        "has the name 'log_cosh', got one with 'square'": {"log_cosh": bp.CustomLoss(*SQUARE)},
        "requires a CustomLoss or a pair": {"log_cosh": 3},
    }
    for words, losses in refused.items():
        with pytest.raises(bp.ModelFileError, match=words):
            bp.load(path, losses=losses)


def test_result_of_an_own_loss_is_checked(backend_name: str, data: Any) -> None:
    def per_row(xp: Any, y: Any, target: Any) -> Any:
        return xp.mean((y - target) ** 2, axis=1), y - target

    def alone(xp: Any, y: Any, target: Any) -> Any:
        return xp.mean((y - target) ** 2)

    def kept(xp: Any, y: Any, target: Any) -> Any:
        return xp.sum((y - target) ** 2, keepdims=True), y - target

    def summed(xp: Any, diff: Any, dloss: Any) -> Any:
        return xp.sum(diff, axis=0) * dloss

    def number(xp: Any, y: Any, target: Any) -> Any:
        return 0.0, y - target

    cases = [
        (
            (per_row, sum_backward),
            r"loss 'per_row' requires its forward to return a loss of shape \(\), got shape \(4,\)",
        ),
        ((kept, sum_backward), r"loss of shape \(\), got shape \(1, 1\). Sum or average over all axes"),
        ((alone, sum_backward), r"requires its forward to return two results, \(output, residual\)"),
        ((number, sum_backward), r"return a loss of shape \(\), got float"),
        (
            bp.CustomLoss(sum_forward, summed, reduction="sum"),
            r"requires its backward to return dy of shape \(8, 2\), got shape \(2,\)",
        ),
    ]
    for pair, words in cases:
        with pytest.raises(bp.ShapeError, match=words):
            model_of(pair, backend_name).fit(data[0], data[1], batch_size=8, epochs=1)


def test_numbers_stay_in_the_models_dtype(backend_name: str, data: Any) -> None:
    """A constant of NumPy's makes float64 of float32, in the loss and in its gradient; neither reaches the parameters."""

    def wide(xp: Any, y: Any, target: Any) -> Any:
        return xp.mean((y - target) ** 2) * np.float64(0.5), y - target

    def wide_backward(xp: Any, diff: Any, dloss: Any) -> Any:
        return diff * (np.float64(1.0) / diff.size) * dloss

    models = [model_of(pair, backend_name, "float32") for pair in ((wide, wide_backward), HALF)]
    losses = [model.fit(*data, optimizer=bp.SGD(0.1), steps=3).loss for model in models]
    np.testing.assert_allclose(losses[0], losses[1], rtol=training_rtol("float32", 3))
    assert {p.dtype for p in models[0].parameters.values()} == {np.dtype(np.float32)}


def test_integer_results_and_writes_are_refused(data: Any) -> None:
    def whole(xp: Any, y: Any, target: Any) -> Any:
        return xp.sum(xp.astype(y > target, xp.int32)), y

    def writing(xp: Any, y: Any, target: Any) -> Any:
        y -= target
        return xp.mean(y * y), y

    def writing_backward(xp: Any, diff: Any, dloss: Any) -> Any:
        diff *= dloss
        return diff

    with pytest.raises(bp.ShapeError, match="loss 'whole' requires its forward to return a loss of float64, got int"):
        model_of((whole, sum_backward)).loss_and_gradients(*data)
    for pair, method in (((writing, sum_backward), "forward"), ((HALF[0], writing_backward), "backward")):
        with pytest.raises(bp.ConfigError, match=f"requires its {method} to leave its arguments as they are"):
            model_of(pair).fit(*data, epochs=1)


def test_invalid_losses_are_refused(data: Any) -> None:
    def three(xp: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return a

    cases: list[tuple[Any, str]] = [
        (lambda: bp.CustomLoss(three, sum_backward), r"requires forward\(xp, y, target\) or .*, got a function of 5"),
        (lambda: bp.CustomLoss(sum_forward, sum_forward, name="x"), None),
        (lambda: bp.CustomLoss(sum_forward, three), r"requires backward\(xp, residual, dloss\), got a function of 5"),
        (lambda: bp.CustomLoss(sum_forward, None), "requires backward to be a function"),
        (lambda: bp.CustomLoss(lambda xp, y, t: y, sum_backward), "requires a name such as 'my_loss', got '<lambda>'"),
        (lambda: bp.CustomLoss(*LOG_COSH, name="huber"), "a name of its own, got 'huber'"),
        (lambda: bp.CustomLoss(*LOG_COSH, link="sigmiod"), "unknown link .* Did you mean 'sigmoid'"),
        (lambda: bp.CustomLoss(*LOG_COSH, target="class"), "unknown target of a loss 'class'"),
        (lambda: bp.CustomLoss(*LOG_COSH, reduction="none"), "unknown reduction of a loss 'none'"),
        (lambda: bp.Network(1, bp.Dense(1), sum_forward), r"requires a pair \(forward, backward\), got the function"),
        (lambda: bp.Network(1, bp.Dense(1), bp.CustomLoss), "got the class CustomLoss. Call it"),
        (lambda: model_of(LOG_COSH).fit(*data, epochs=1, weights=np.ones(30)), "loss 'log_cosh' takes no row weights"),
        (lambda: model_of(LOG_COSH).evaluate(*data, np.ones(30)), "loss 'log_cosh' takes no row weights"),
    ]
    for make, words in cases:
        if words is None:
            make()
            continue
        with pytest.raises(bp.ConfigError, match=words):
            make()
