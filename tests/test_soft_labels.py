"""Soft and smoothed labels: what a cross-entropy is trained on, told and checked by is one and the same function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, verify, write_receipt
from bpengine.explain.page import page
from tests.backends.test_compiled import Both
from tests.tolerances import agreement_rtol, oracle_rtol

LOSSES = ("softmax_cross_entropy", "categorical_cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy")


def model_of(loss: Any, backend: Any = "numpy", dtype: str = "float64") -> bp.Model:
    name = getattr(loss, "name", loss)
    last = {"categorical_cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(name, "identity")
    return bp.Model(bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(3, last)], loss), backend, dtype, seed=2)


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    return rng.normal(size=(12, 3))


@pytest.fixture
def soft(rng: np.random.Generator) -> Any:
    return rng.dirichlet(np.ones(3), 12)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", LOSSES[:2])
def test_soft_labels_are_taken_by_everything(name: str, backend_name: str, x: Any, soft: Any) -> None:
    model = model_of(name, backend_name)
    p = model.predict(x)
    log_p = np.log(p)
    wanted = -np.mean(np.sum(soft * log_p, axis=1))
    scores = model.evaluate(x, soft)
    assert scores["loss"] == pytest.approx(wanted, rel=oracle_rtol())
    assert scores["accuracy"] == np.mean(p.argmax(axis=1) == soft.argmax(axis=1))
    loss, gradients = model.loss_and_gradients(x, soft)
    assert loss == pytest.approx(wanted, rel=oracle_rtol())
    np.testing.assert_allclose(gradients["1.bias"], np.mean(p - soft, axis=0), rtol=1e-9, atol=1e-12)
    assert model.check(x, soft).passed
    model.fit(x, soft, optimizer=bp.Adam(0.05), epochs=30, batch_size=5, validation=(x, soft))
    assert model.evaluate(x, soft)["loss"] < wanted
    assert "accuracy" in model.evaluate(x, soft)
    assert forward(model, x, soft, sample=0).verdicts[0].target == soft[0].argmax()
    assert page(model, x, soft, steps=1).html()


def test_one_hot_rows_give_the_loss_of_class_numbers(x: Any) -> None:
    labels = np.arange(12) % 3
    model = model_of("softmax_cross_entropy")
    assert model.evaluate(x, np.eye(3)[labels]) == model.evaluate(x, labels)


def test_soft_labels_rounded_to_float32_are_accepted(x: Any, soft: Any) -> None:
    rounded = soft.astype(np.float32)
    model = model_of("softmax_cross_entropy")
    for labels in (rounded, rounded.astype(float), soft.astype(np.float16)):
        model.evaluate(x, labels)
    soft[7] *= 1.01
    with pytest.raises(bp.DataError, match=r"in row 7, with the sum 1\.01"):
        model.evaluate(x, soft)


def smoothed(t: Any, name: str, s: float) -> Any:
    return (1.0 - s) * t + s / (3 if name in LOSSES[:2] else 2)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", LOSSES)
def test_smoothing_is_the_loss_of_smoothed_targets(name: str, backend_name: str, x: Any) -> None:
    """The convention of Szegedy et al. and of PyTorch: (1 - s) t + s / K, and (1 - s) t + s / 2 for yes or no."""
    hard = np.eye(3)[np.arange(12) % 3]
    own = model_of(bp.Loss(name, label_smoothing=0.1), backend_name)
    plain = model_of(name, backend_name)
    target = smoothed(hard, name, 0.1)
    loss, gradients = own.loss_and_gradients(x, hard)
    wanted, expected = plain.loss_and_gradients(x, target)
    assert loss == pytest.approx(wanted, rel=oracle_rtol())
    for parameter, value in expected.items():
        np.testing.assert_allclose(gradients[parameter], value, rtol=0, atol=1e-12, err_msg=parameter)
    assert own.evaluate(x, hard)["loss"] == pytest.approx(wanted, rel=oracle_rtol())
    assert own.evaluate(x, hard)["accuracy"] == plain.evaluate(x, hard)["accuracy"]
    assert own.fit(x, hard, epochs=1).loss[0] == pytest.approx(wanted, rel=oracle_rtol())
    assert own.check(x, hard).passed


def test_the_value_is_that_of_optax(jax: Any, x: Any) -> None:
    import optax

    model, labels = model_of(bp.Loss("softmax_cross_entropy", label_smoothing=0.2)), np.arange(12) % 3
    with jax.enable_x64(True):
        targets = optax.smooth_labels(jax.numpy.asarray(np.eye(3)[labels]), 0.2)
        wanted = float(optax.softmax_cross_entropy(jax.numpy.asarray(model.forward(x)), targets).mean())
    assert model.evaluate(x, labels)["loss"] == pytest.approx(wanted, rel=agreement_rtol("float64", 36))


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", LOSSES)
def test_soft_labels_compile_to_the_same_bits(name: str, x: Any) -> None:
    target = np.arange(12) % 3 if name in LOSSES[:2] else np.eye(3)[np.arange(12) % 3]
    before = Both.steps
    model_of(bp.Loss(name, label_smoothing=0.1), Both(precision="float32"), "float32").fit(
        x, target, batch_size=5, epochs=2
    )
    assert Both.steps == before + 6


def test_a_receipt_proves_the_smoothing(tmp_path: Path, x: Any) -> None:
    path = tmp_path / "receipt.jsonl"
    for name, target in (("softmax_cross_entropy", np.arange(12) % 3), ("sigmoid_cross_entropy", np.eye(3)[[0] * 12])):
        model = model_of(bp.Loss(name, label_smoothing=0.1))
        write_receipt(model.trace(x, target), path)
        assert verify(path).ok, str(verify(path))
        receipt = path.read_text()
        for wrong in (
            receipt.replace('"label_smoothing":0.1', '"label_smoothing":0.2'),
            receipt.replace('"label_smoothing":0.1,', ""),
        ):
            assert wrong != receipt
            path.write_text(wrong)
            assert not verify(path).ok


def test_file_keeps_the_smoothing(tmp_path: Path, x: Any) -> None:
    model = model_of(bp.Loss("softmax_cross_entropy", label_smoothing=0.1))
    model.save(tmp_path / "m")
    loaded = bp.load(tmp_path / "m")
    assert loaded.network.loss == model.network.loss
    assert loaded.evaluate(x, np.arange(12) % 3) == model.evaluate(x, np.arange(12) % 3)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("softmax_cross_entropy", 1.0, "label_smoothing of at least 0 and below 1, got 1.0"),
        ("softmax_cross_entropy", -0.1, "label_smoothing of at least 0 and below 1, got -0.1"),
        ("mean_squared_error", 0.1, "unknown option of loss 'mean_squared_error': 'label_smoothing'"),
    ],
)
def test_invalid_soft_labels_are_refused(name: str, value: float, words: str) -> None:
    with pytest.raises(bp.ConfigError, match=words):
        bp.Loss(name, label_smoothing=value)
    assert bp.Loss("softmax_cross_entropy", label_smoothing=0).smoothing == 0.0
