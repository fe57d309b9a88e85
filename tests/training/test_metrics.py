"""Metrics: the numbers are scikit-learn's on what `predict` returns; what cannot be scored is told before the work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

import bpengine as bp
from bpengine.extras import cure
from bpengine.training import evaluation
from bpengine.training.metrics.known_metrics import known, names
from bpengine.training.metrics.truth import BINARY, MULTICLASS, MULTILABEL, REGRESSION
from tests.tolerances import value_rtol

ROWS, INPUTS = 60, 3
LOSSES = {
    BINARY: ("sigmoid_cross_entropy", 1),
    f"{BINARY}, two outputs": ("softmax_cross_entropy", 2),
    MULTICLASS: ("softmax_cross_entropy", 5),
    MULTILABEL: ("sigmoid_cross_entropy", 3),
    REGRESSION: ("mean_squared_error", 2),
}
Case = tuple[bp.Model, np.ndarray, np.ndarray]


def case(task: str, backend: str = "numpy", rows: int = ROWS) -> Case:
    loss, outputs = LOSSES[task]
    rng = np.random.default_rng(7)
    model = bp.Model(bp.Network(INPUTS, bp.Dense(outputs), loss), backend, seed=3)
    y: np.ndarray = rng.integers(0, max(2, outputs), rows)
    if task == MULTILABEL:
        y = rng.integers(0, 2, (rows, outputs))
    if task == REGRESSION:
        y = rng.normal(size=(rows, outputs))
    return model, rng.normal(size=(rows, INPUTS)), y


def expected(task: str, y: Any, p: Any, weights: Any) -> dict[str, Any]:
    """Return what scikit-learn says of predictions p (rows, outputs)."""
    w = {"sample_weight": weights}
    if task == REGRESSION:
        return {"r2": sk.r2_score(y, p, **w), "mae": sk.mean_absolute_error(y, p, **w)}
    two = task.startswith(BINARY)
    chosen = p > 0.5 if task == MULTILABEL else p.argmax(axis=1) if p.shape[1] > 1 else p[:, 0] > 0.5
    scores = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    by_average = {
        f"{name}{f'_{average}' if average else ''}": f(
            y, chosen, average=average or ("binary" if two else "macro"), zero_division=0.0, **w
        )
        for name, f in scores.items()
        for average in ("", "macro", "weighted", "micro")
    }
    if task == MULTILABEL:
        areas = {
            "roc_auc": sk.roc_auc_score(y, p, **w),
            "roc_auc_weighted": sk.roc_auc_score(y, p, average="weighted", **w),
        }
        return {**by_average, **areas}
    one = {
        "balanced_accuracy": sk.balanced_accuracy_score(y, chosen, **w), "log_loss": sk.log_loss(y, p, **w),
        "confusion_matrix": sk.confusion_matrix(y, chosen, **w).tolist(),
    }  # fmt: skip
    if two:
        return {**by_average, **one, "roc_auc": sk.roc_auc_score(y, p[:, -1], **w)}
    rest = partial(sk.roc_auc_score, y, p, multi_class="ovr", **w)
    tops = {f"top_{k}": sk.top_k_accuracy_score(y, p, k=k, **w) for k in (2, 3)}
    return {**by_average, **one, **tops, "roc_auc": rest(), "roc_auc_weighted": rest(average="weighted")}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("task", LOSSES)
def test_every_metric_agrees_with_scikit_learn(task: str, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 16)  # several pieces
    model, x, y = case(task)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(x)).astype(np.float32) if weighted else None
    wanted = expected(task, y, model.predict(x), None if weights is None else weights.astype(float))
    rows = [known(name) for name in names(task.partition(",")[0])] + [known("top_2")] * (task == MULTICLASS)
    asked = [row.name for row in rows if row is not None and row.function]
    assert set(wanted) == set(asked)
    scores = model.evaluate(x, y, weights, metrics=asked)
    for name in wanted:
        np.testing.assert_allclose(scores[name], wanted[name], rtol=value_rtol(float, ROWS), err_msg=name)
    assert model.evaluate(x, y, weights) == {n: v for n, v in scores.items() if n not in wanted}


def test_every_backend_scores_what_it_predicts(backend_name: str) -> None:
    model, x, y = case(MULTICLASS, backend_name)
    wanted, asked = expected(MULTICLASS, y, model.predict(x), None), ["f1", "roc_auc", "log_loss", "confusion_matrix"]
    scores = model.evaluate(x, y, metrics=asked)
    for name in asked:
        np.testing.assert_allclose(scores[name], wanted[name], rtol=value_rtol(float, ROWS), err_msg=name)


def test_a_row_of_weight_0_is_left_out() -> None:
    model, x, y = case(MULTICLASS)
    weights = np.ones(ROWS)
    weights[y == 4] = 0
    kept = y != 4
    asked = ["f1", "confusion_matrix", lambda_named("rows", lambda y, p, sample_weight=None: len(y))]
    left_out, without = model.evaluate(x, y, weights, metrics=asked), model.evaluate(x[kept], y[kept], metrics=asked)
    assert left_out["f1"] == without["f1"]
    assert left_out["rows"] == without["rows"] == kept.sum()
    assert left_out["confusion_matrix"] == without["confusion_matrix"]


def lambda_named(name: str, function: Callable[..., Any], **more: Any) -> bp.Metric:
    return bp.Metric(function, name=name, **more)


def test_built_in_scores_are_unchanged_when_named() -> None:
    model, x, y = case(MULTICLASS)
    assert (
        model.evaluate(x, y, metrics=["accuracy", "loss"]) == model.evaluate(x, y, metrics=None) == model.evaluate(x, y)
    )
    assert list(model.evaluate(x, y, metrics="f1")) == ["loss", "accuracy", "f1"]


def test_soft_labels_count_as_their_most_likely_class() -> None:
    model, x, y = case(MULTICLASS)
    soft = np.full((ROWS, 5), 0.1)
    soft[np.arange(ROWS), y] = 0.6
    asked = ["f1", "roc_auc", "log_loss"]
    hard, scores = model.evaluate(x, y, metrics=asked), model.evaluate(x, soft, metrics=asked)
    assert {name: scores[name] for name in asked} == {name: hard[name] for name in asked}


def test_standardised_targets_are_scored_in_their_own_unit() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 2)), 1000 + 50 * rng.normal(size=(50, 1))
    features = bp.Features().fit(x, y)
    model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), dtype="float64", features=features)
    own = lambda_named("own", lambda t, p: float(np.abs(t - p).max()))
    scores = model.evaluate(x, y, metrics=["r2", "mae", own])
    p = model.predict(x)
    wanted = sk.r2_score(y, p), sk.mean_absolute_error(y, p), np.abs(y - p).max()
    assert (scores["r2"], scores["mae"], scores["own"]) == pytest.approx(wanted, rel=value_rtol(float, 1000))
    assert scores["rmse"] == pytest.approx(sk.root_mean_squared_error(y, p), rel=value_rtol(float, 1000))


@pytest.mark.parametrize(("task", "shapes"), [
    (BINARY, ((ROWS, 1), (ROWS, 1))), (MULTICLASS, ((ROWS,), (ROWS, 5))), (REGRESSION, ((ROWS, 2), (ROWS, 2)))
])  # fmt: skip
def test_a_function_of_ones_own_gets_what_predict_returns(task: str, shapes: Any) -> None:
    model, x, y = case(task)
    seen: list[Any] = []

    def own(y_true: Any, prediction: Any) -> np.float32:
        seen.append((y_true, prediction))
        return np.float32(0.5)

    assert model.evaluate(x, y, metrics=[own])["own"] == 0.5
    ((y_true, prediction),) = seen
    assert (y_true.shape, prediction.shape) == shapes
    np.testing.assert_array_equal(prediction, model.predict(x))
    np.testing.assert_array_equal(y_true.ravel(), y.ravel())


def test_a_function_of_scikit_learn_takes_classes() -> None:
    model, x, y = case(MULTICLASS)
    weights = np.linspace(0.5, 2, ROWS)
    metric = bp.Metric(sk.matthews_corrcoef, takes="classes")
    wanted = sk.matthews_corrcoef(y, model.predict(x).argmax(axis=1), sample_weight=weights)
    assert model.evaluate(x, y, weights, metrics=metric)["matthews_corrcoef"] == pytest.approx(wanted)


def own(y_true: Any, prediction: Any) -> Any:
    return prediction


MISTAKES: dict[str, tuple[str, Any, str]] = {
    "a name": (MULTICLASS, "f2", r"unknown metric 'f2'. Did you mean 'f1'\?$"),
    "of classes": (REGRESSION, "f1", r"'f1' requires classes to predict, .* values .*\. Possible are: loss, rmse, r2, mae\.$"),
    "of values": (MULTICLASS, "r2", "'r2' requires values to predict, got a network for more than two .* f1, .*top_3"),
    "of the engine's own": (REGRESSION, "accuracy", "metric 'accuracy' requires classes to predict, got"),
    "without a standard": (REGRESSION, "rmse_standardised", "metric 'rmse_standardised' requires"),
    "of one label": (MULTILABEL, "log_loss", "metric 'log_loss' requires one class for each row, got"),
    "all are at the top": (MULTICLASS, "top_5", "'top_5' is not defined on the rows: they have 5 classes, of which any 5"),
    "one's own of classes": (REGRESSION, bp.Metric(own, takes="classes"), "metric 'own' takes classes, got a network for val"),
    "twice": (BINARY, ["f1", "f1"], "two called 'f1'"),
    "no function": (BINARY, [3], r"Metric requires a function of \(y_true, prediction\), got 3"),
    "no list": (BINARY, 3, "evaluation requires metrics in a list, got 3"),
    "no number": (BINARY, own, "metric 'own' requires its function to return a number, got array"),
    "no name": (BINARY, lambda y, p: 0.0, "requires a name of letters, digits and underscores, got '<lambda>'"),
    "one argument": (BINARY, lambda y: 0.0, "requires a function of two arguments"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_metrics_are_refused(mistake: str) -> None:
    task, asked, text = MISTAKES[mistake]
    model, x, y = case(task)
    with pytest.raises(bp.BpError, match=text):
        model.evaluate(x, y, metrics=asked)


def test_weights_need_a_function_that_takes_them() -> None:
    model, x, y = case(BINARY)
    with pytest.raises(bp.ConfigError, match="metric 'own' takes no row weights: its function is"):
        model.evaluate(x, y, np.ones(ROWS), metrics=[own])
    with pytest.raises(bp.ConfigError, match="kind of argument of a Metric 'labels'"):
        bp.Metric(own, takes="labels")
    for taken in ("f1", "loss", "top_7"):
        with pytest.raises(bp.ConfigError, match=f"Metric requires a name that is not taken, got '{taken}'"):
            bp.Metric(own, name=taken)


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, MULTILABEL])
def test_an_area_without_rows_of_a_class_is_not_defined(task: str) -> None:
    model, x, y = case(task)
    some = y[:, 1] == 0 if task == MULTILABEL else y != 1
    text = "the same answer in every row for output 1" if task == MULTILABEL else "none of class 1, counted from 0"
    with pytest.raises(bp.DataError, match=f"'roc_auc' is not defined on the rows: they have {text}"):
        model.evaluate(x[some], y[some], metrics=["roc_auc"])
    with pytest.raises(bp.DataError, match="not defined on the validation rows"):
        model.fit(x, y, epochs=1, validation=(x[some], y[some]), metrics="roc_auc")
    assert model.fits == 0


def test_log_loss_requires_probabilities() -> None:
    def forward(xp: Any, y: Any, target: Any) -> Any:
        return xp.mean(y * y), y

    loss = bp.CustomLoss(forward, lambda xp, y, dloss: y * (2.0 / y.size), target="classes", name="own_loss")
    model = bp.Model(bp.Network(1, bp.Dense(3, weight_init=[[1.0, 2.0, 3.0]]), loss))
    with pytest.raises(bp.DataError, match="metric 'log_loss' requires probabilities, got predictions from 1 to 9"):
        model.evaluate([[1.0], [2.0], [3.0]], [0, 1, 2], metrics=["log_loss"])
    assert model.evaluate([[1.0], [2.0], [3.0]], [0, 1, 2], metrics=["top_2"])["top_2"] == pytest.approx(2 / 3)


def test_r2_requires_two_rows() -> None:
    model, x, y = case(REGRESSION)
    with pytest.raises(bp.DataError, match="'r2' is not defined on the rows: they have a single row"):
        model.evaluate(x[:1], y[:1], metrics=["r2"])


def test_a_prediction_that_is_not_finite_gives_nan() -> None:
    model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[1e38]]), "mean_squared_error"))
    with np.errstate(all="ignore"):
        assert np.isnan(model.evaluate([[1e3], [0.0]], [1.0, 0.0], metrics=["r2"])["r2"])


def test_missing_scikit_learn_names_the_extra_and_is_not_imported() -> None:
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "import bpengine as bp\n"
        "model = bp.Model(bp.Network(1, bp.Dense(1), 'sigmoid_cross_entropy'))\n"
        "model.evaluate([[1.0]], [1], metrics=[lambda_ := bp.Metric(lambda y, p: 1.0, name='own'), 'accuracy'])\n"
        "try: model.evaluate([[1.0]], [1], metrics=['f1'])\n"
        "except bp.ConfigError as error: print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == f"metric 'f1' requires sklearn, which is not installed. {cure('sklearn')}\n"


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_scores_of_several_classes_are_not_defined_for_a_network_of_one(metric: str) -> None:
    model = bp.Model(bp.Network(INPUTS, bp.Dense(1), "softmax_cross_entropy"))
    with pytest.raises(bp.DataError, match=f"'{metric}' is not defined on the rows: they have a single class"):
        model.evaluate(np.ones((4, INPUTS)), np.zeros(4, int), metrics=[metric])


def test_a_metric_that_writes_into_its_arguments_changes_nothing_else() -> None:
    def rude(y_true: Any, prediction: Any, sample_weight: Any = None) -> float:
        for array in (y_true, prediction, sample_weight):
            array[:] = 0
        return 0.0

    model, x, y = case(BINARY)
    weights, before = np.ones(len(y)), y.copy()
    scores = model.evaluate(x, y, weights=weights, metrics=[bp.Metric(rude), "log_loss", "f1"])
    np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(weights, 1)
    wanted = model.evaluate(x, y, weights=weights, metrics=["log_loss", "f1"])
    assert {name: scores[name] for name in wanted} == wanted


def test_the_confusion_matrix_of_a_single_class_is_one_number_without_a_warning() -> None:
    model = bp.Model(bp.Network(INPUTS, bp.Dense(1), "softmax_cross_entropy"))
    scores = model.evaluate(np.ones((4, INPUTS)), np.zeros(4, int), metrics=["confusion_matrix", "f1"])
    assert scores["confusion_matrix"] == [[4]]
    assert scores["f1"] == 1
