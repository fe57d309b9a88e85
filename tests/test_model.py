"""The public face: predictions, scores, parameters, moving between backends, and what every mistake is answered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training import evaluation
from tests.tolerances import agreement_rtol
from tests.training.networks import everything, labelled

NETWORK = bp.Network(4, [bp.Dense(6, "relu"), bp.Dense(3)], "softmax_cross_entropy")
REGRESSION = bp.Network(4, [bp.Dense(6, "tanh"), bp.Dense(2)], "mean_squared_error")
SMALL = bp.Model(bp.Network(1, [bp.Dense(1)], "mean_squared_error"))


def test_predict_is_forward_through_the_link(backend_name: str, rng: np.random.Generator) -> None:
    model, x = bp.Model(NETWORK, backend_name, "float64"), rng.normal(size=(9, 4))
    raw, probabilities = model.forward(x), model.predict(x)
    expected = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=agreement_rtol(float, 3))
    values = bp.Model(REGRESSION, backend_name)
    np.testing.assert_array_equal(values.predict(x), values.forward(x))


def test_evaluate_gives_the_scores_of_the_predictions(backend_name: str, rng: np.random.Generator) -> None:
    x, labels, values = rng.normal(size=(20, 4)), rng.integers(0, 3, 20), rng.normal(size=(20, 2))
    model = bp.Model(NETWORK, backend_name)
    assert model.evaluate(x, labels)["accuracy"] == np.mean(np.argmax(model.predict(x), axis=1) == labels)
    assert model.evaluate(x, np.eye(3)[labels]) == model.evaluate(x, labels)
    scores = bp.Model(REGRESSION, backend_name, "float64").evaluate(x, values)
    assert scores["rmse"] ** 2 == pytest.approx(scores["loss"], rel=agreement_rtol(float, 40))


@pytest.mark.parametrize("loss", ["sum_squared_residuals", "mean_squared_error", "huber"])
@pytest.mark.parametrize("weighted", [False, True])
def test_evaluation_in_pieces_gives_the_loss_over_all_rows(
    loss: str, weighted: bool, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Pieces add up to the loss over all rows, also with weights and with a penalty."""
    x, y, weights = rng.normal(size=(23, 4)), rng.normal(size=(23, 2)), rng.uniform(0, 2, 23)
    weights[4:8] = 0.0  # a piece without any weight
    network = bp.Network(4, REGRESSION.layers, loss, bp.L2(0.1))
    model = bp.Model(network, dtype="float64")
    row_weights = weights if weighted else None
    whole = model.loss_and_gradients(x, y, row_weights)[0]
    monkeypatch.setattr(evaluation, "CHUNK", 4)
    pieces = model.evaluate(x, y, row_weights)
    assert pieces["loss"] == pytest.approx(whole, rel=agreement_rtol(float, 46))
    squares = np.average(np.mean((model.predict(x) - y) ** 2, axis=1), weights=row_weights)
    assert pieces["rmse"] == pytest.approx(np.sqrt(squares), rel=agreement_rtol(float, 46))
    np.testing.assert_allclose(
        model.predict(x), bp.Model(network, dtype="float64").predict(x), rtol=agreement_rtol(float, 6)
    )


def test_rows_of_a_file_are_scored_as_those_in_memory_and_the_file_is_looked_up_once(
    backend_name: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a network that gives back its input: what was read is gone two pieces later."""
    np.save(tmp_path / "x.npy", rng.normal(size=(23, 4)).astype(np.float32))
    x, y = np.load(tmp_path / "x.npy", mmap_mode="r"), rng.normal(size=(23, 4))
    same = bp.Model(bp.Network(4, bp.Activation("identity"), "mean_squared_error"), backend_name)
    expected = same.evaluate(np.array(x), y)
    looked_up: list[object] = []
    find = bp.data.RowFile.behind

    def behind(array: Any) -> Any:
        looked_up.extend([array] * isinstance(array, np.memmap))
        return find(array)

    monkeypatch.setattr(bp.data.RowFile, "behind", behind)
    monkeypatch.setattr(evaluation, "CHUNK", 4)
    np.testing.assert_array_equal(same.forward(x), x)
    assert same.evaluate(x, y) == pytest.approx(expected, rel=agreement_rtol("float32", 23 * 4))
    assert len(looked_up) == 2 * (1 + 1)  # each time x is checked, and then read


def test_parameters_are_copies_and_can_be_set(backend_name: str) -> None:
    model = bp.Model(NETWORK, backend_name)
    taken = model.parameters
    taken["0.weight"][...] = 7.0
    assert not np.any(model.parameters["0.weight"] == 7.0)
    model.parameters = {"0.weight": taken["0.weight"]}
    np.testing.assert_array_equal(model.parameters["0.weight"], 7.0)
    with pytest.raises(bp.ConfigError, match=r"Did you mean '1\.bias'"):
        model.parameters = {"1.bia": [0.0]}
    with pytest.raises(bp.ShapeError, match=r"requires the shape \(3,\), got \(2,\)"):
        model.parameters = {"1.bias": [0.0, 1.0]}


def test_returned_arrays_survive_training(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng, features=4)
    model = bp.Model(NETWORK, backend_name)
    _, gradients = model.loss_and_gradients(x, y)
    held = model.parameters, gradients
    copies = [{name: array.copy() for name, array in part.items()} for part in held]
    model.fit(x, y, batch_size=10, epochs=3)
    for part, copied in zip(held, copies, strict=True):
        for name in part:
            np.testing.assert_array_equal(part[name], copied[name])


def test_model_moved_to_another_backend_predicts_the_same(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    model = bp.Model(everything(), "numpy", "float64")
    model.fit(x, y, epochs=3)
    moved = model.to(backend_name)
    assert moved.backend.name == backend_name
    np.testing.assert_allclose(moved.predict(x), model.predict(x), rtol=agreement_rtol(float, 64))
    for name, value in model.running.items():
        np.testing.assert_array_equal(moved.running[name], value)


def test_repr_shows_backend_and_precision() -> None:
    text = repr(bp.Model(NETWORK, "numpy", "float64", seed=4))
    for part in ("4-6-3", "softmax_cross_entropy", "51 parameters", "'float64'", "seed=4"):
        assert part in text


X = np.zeros((6, 4))
LABELS = np.array([0, 1, 2, 0, 1, 2])


def bad(row: int, column: int, value: float) -> np.ndarray:
    x = X.copy()
    x[row, column] = value
    return x


MISTAKES: dict[str, tuple[Callable[[], Any], Any, type[bp.BpError], str]] = {
    "wrong feature count": (lambda: X[:, :3], LABELS, bp.ShapeError, r"requires shape \(rows, 4\), got \(6, 3\)"),
    "one-dimensional x": (lambda: X[0], LABELS, bp.ShapeError, r"A single sample is x\[None, :\]"),
    "no rows": (lambda: X[:0], LABELS[:0], bp.DataError, "at least one row"),
    "another length": (lambda: X, LABELS[:5], bp.ShapeError, r"got x \(6, 4\) and y \(5,\)"),
    "label too large": (lambda: X, LABELS + 1, bp.DataError, r"The labels start at 1; use y - 1"),
    "label negative": (lambda: X, LABELS - 1, bp.DataError, "got -1 in row 0"),
    "label not whole": (lambda: X, LABELS + 0.5, bp.DataError, r"whole class numbers, got 0\.5 in row 0"),
    "NaN": (lambda: bad(2, 3, np.nan), LABELS, bp.DataError, "row 2.*column 3"),
    "infinity": (lambda: bad(5, 0, -np.inf), LABELS, bp.DataError, "row 5.*column 0"),
    "a string column": (lambda: np.where(X == 0, "red", ""), LABELS, bp.DataError, "red"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("method", ["fit", "evaluate", "loss_and_gradients"])
def test_bad_data_is_named_and_changes_nothing(mistake: str, method: str) -> None:
    make, y, kind, message = MISTAKES[mistake]
    model, before = bp.Model(NETWORK), bp.Model(NETWORK).parameters
    settings = {"epochs": 1} if method == "fit" else {}
    with pytest.raises(kind, match=message):
        getattr(model, method)(make(), y, **settings)
    assert all(np.array_equal(value, before[name]) for name, value in model.parameters.items())
    assert model.fits == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adan", "epochs": 1}, "Did you mean 'adam'"),
        ({"optimizer": bp.Adam, "epochs": 1}, r"got the class Adam\. Call it"),
        ({}, "neither epochs nor steps"),
        ({"epochs": 0}, "epochs to be a whole number of at least 1, got 0"),
        ({"epochs": 2.5}, r"got 2\.5"),
        ({"epochs": 1, "batch_size": -3}, "batch_size to be a whole number of at least 1, got -3"),
        ({"epochs": 1, "only": ["1.biass"]}, r"Did you mean '1\.bias'"),
        ({"epochs": 1, "only": []}, "at least one parameter to train"),
        ({"epochs": 1, "update": "parallel"}, "unknown update 'parallel'"),
        ({"epochs": 1, "clip_norm": 0}, "clip_norm above 0"),
        ({"epochs": 1, "clip_norm": 1.0, "update": "sequential"}, "Drop one"),
        ({"epochs": 1, "stop": bp.NoImprovement(3)}, "requires validation data"),
        ({"epochs": 1, "stop": [bp.LossBelow(1), bp.LossBelow(2)]}, "one rule of each kind"),
        ({"epochs": 1, "stop": "soon"}, "requires stop to be"),
        ({"epochs": 1, "stop": [None]}, "requires stop to be"),
        ({"epochs": 1, "callbacks": 3}, r"callbacks to be functions of \(model, epoch\), .*got 3"),
        ({"epochs": 1, "callbacks": [print, "x"]}, "callbacks to be functions"),
        ({"epochs": 1, "callbacks": bp.Checkpoint}, "callbacks to be functions"),
        (
            {"epochs": 1, "callbacks": lambda model: None},
            r"take two arguments, \(model, epoch\), got .* with \(model\)",
        ),
        ({"epochs": 1, "callbacks": [print, lambda a, b, c: None]}, r"two arguments.* with \(a, b, c\)"),
        ({"epochs": 1, "shuffle": "no"}, "shuffle to be True or False, got 'no'"),
        ({"epochs": 1, "progress": None}, "progress to be True or False"),
        ({"epochs": 1, "track_step_size": 2}, "track_step_size to be True or False"),
        ({"epochs": True}, "epochs to be a whole number"),
        ({"epochs": 1, "validation": 5}, r"validation=\(x, y\) or \(x, y, weights\), got int"),
        ({"epochs": 1, "validation": (X,)}, "got 1 arrays"),
        ({"epochs": 1, "validation": (X[:, :2], LABELS)}, "validation x requires shape"),
        ({"epochs": 1, "weights": -np.ones(6)}, "at least 0, got -1"),
        ({"epochs": 1, "weights": np.ones(5)}, r"requires? shape \(6,\), got \(5,\)"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    model, before = bp.Model(NETWORK), bp.Model(NETWORK).parameters
    with pytest.raises(bp.BpError, match=message):
        model.fit(X, LABELS, **settings)
    assert all(np.array_equal(value, before[name]) for name, value in model.parameters.items())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bp.Model(NETWORK, "nunpy"), "Did you mean 'numpy'"),
        (lambda: bp.Model(NETWORK, dtype="float16"), "unknown dtype 'float16'"),
        (lambda: bp.Model(NETWORK, precision="tf32"), "'numpy' computes in float32 or float64"),
        (lambda: bp.Model(NETWORK, dtype="float32", precision="float64"), "contradict each other"),
        (lambda: bp.Model(NETWORK, seed=-1), "seed to be a whole number"),
        (lambda: bp.Model([bp.Dense(1)]), r"requires a bp\.Network"),
        (lambda: bp.SGD(-0.1), r"learning rate of at least 0, got -0\.1\. The sign of the descent is built in"),
        (lambda: bp.Adam(float("nan")), "learning rate of at least 0, got nan"),
        (lambda: bp.Adam(beta1=1.0), r"beta1 of at least 0 and below 1, got 1\.0"),
        (lambda: bp.Cosine(0.1, 0), "steps to be a whole number of at least 1, got 0"),
        (lambda: bp.StepSizeBelow(0), "tolerance above 0"),
        (lambda: bp.LossBelow(float("nan")), "LossBelow requires a value to be a finite number, got nan"),
        (lambda: bp.LossBelow("0.1"), "got '0.1'"),
        (lambda: bp.L2(0.1, per_sample="no"), "L2 requires per_sample to be True or False"),
        (lambda: bp.layers.initializers.Normal(-1), "Normal requires std of at least 0"),
        (lambda: bp.Checkpoint(3), "Checkpoint requires a path"),
        (lambda: bp.load(3), "load requires a path"),
        (lambda: bp.data.load(3), "data.load requires a path"),
        (lambda: SMALL.save(3), "writing requires a path"),
        (lambda: SMALL.jacobian([[1.0]], link="no"), "jacobian requires link"),
        (lambda: SMALL.loss_and_gradients([[1.0]], [1.0], training="no"), "loss_and_gradients requires training"),
        (lambda: SMALL.check([[1.0]], [1.0], perturbed="no"), "check_gradients requires perturbed"),
        (lambda: SMALL.check([[1.0]], [1.0], oracles=3), "check_gradients requires oracles in a list, got 3"),
        (lambda: bp.compare_backends(SMALL.network, [[1.0]], [1.0], 3), "compare_backends requires backends in a list"),
        (lambda: bp.sweep(SMALL, [[1.0]], [1.0], 3, [1.0]), "sweep requires a parameter by name, or two in a list"),
        (lambda: bp.data.load("xor").split(test_fraction="a"), "split requires a test_fraction"),
        (lambda: bp.data.load("xor").split(seed=-1), "split requires seed"),
        (lambda: SMALL.hvp([[1.0]], [1.0], {"0.bias": [1e39]}), "finite numbers that float32 can hold, got 1e"),
        (lambda: bp.NoImprovement(2, float("nan")), "min_delta of at least 0, got nan"),
        (lambda: bp.NoImprovement(2, -1.0), r"min_delta of at least 0, got -1\.0"),
        (lambda: bp.NoImprovement(0), "epochs to be a whole number of at least 1, got 0"),
        (lambda: bp.NoImprovement(2, restore_best="yes"), "restore_best to be True or False"),
        (lambda: bp.Checkpoint("m.safetensors", every=-1), "every to be a whole number of at least 1, got -1"),
        (lambda: bp.Checkpoint("m.safetensors", best=1), "best to be True or False, got 1"),
        (lambda: bp.L2(-1), "strength of at least 0, got -1"),
    ],
)
def test_invalid_construction_is_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(bp.BpError, match=message):
        build()


def test_none_and_numpys_numbers_are_settings_too() -> None:
    model = bp.Model(NETWORK, seed=np.int64(3))
    rules = [bp.NoImprovement(np.int64(3)), bp.LossBelow(np.float32(0))]
    history = model.fit(X, LABELS, epochs=np.int64(2), callbacks=None, stop=None, shuffle=np.True_)
    assert len(history.epochs) == 2
    assert model.fit(X, LABELS, epochs=2, validation=(X, LABELS), stop=tuple(rules)).steps == 2


def test_a_rule_of_ones_own_is_not_taken_for_its_base(backend_name: str) -> None:
    """Steps are kept by what they depend on; a class that binds another rule must get a step of its own."""

    class Still(bp.SGD):
        def bind(self, ops: Any) -> Any:
            return lambda w, dw, t, lr: (w + 0.0 * dw,)

    model = bp.Model(NETWORK, backend_name)
    model.fit(X, LABELS, optimizer=bp.SGD(0.1), steps=1)
    before = model.parameters
    model.fit(X, LABELS, optimizer=Still(0.1), steps=1)
    assert all((model.parameters[name] == value).all() for name, value in before.items())


def test_a_callable_schedule_that_turns_negative_changes_nothing() -> None:
    model, before = bp.Model(NETWORK), bp.Model(NETWORK).parameters
    with pytest.raises(bp.ConfigError, match=r"got -1\.0"):
        model.fit(X, LABELS, optimizer=bp.SGD(lambda step: 1.0 - step), epochs=10)
    assert all(np.array_equal(value, before[name]) for name, value in model.parameters.items())


def test_model_read_from_its_file_predicts_the_same(
    tmp_path: Path, backend_name: str, rng: np.random.Generator
) -> None:
    x, y = labelled(rng)
    model = bp.Model(everything(), backend_name)
    model.fit(x, y, epochs=2)
    model.save(tmp_path / "model.safetensors")
    loaded = bp.load(tmp_path / "model.safetensors", backend=backend_name)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.network == model.network
