"""What the two estimators do beyond scikit-learn's own checks: targets of every kind, going on, weights, frames, networks."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud, load_wine
from sklearn.exceptions import DataConversionWarning

import bpengine as bp
from bpengine.errors import ConfigError, DataError, ShapeError
from bpengine.sklearn import BackpropClassifier, BackpropRegressor
from tests.tolerances import training_rtol

IRIS, SPECIES = load_iris(return_X_y=True)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "epochs": 4, "learning_rate": 0.05, "random_state": 0}


def classifier(**how: Any) -> BackpropClassifier:
    return BackpropClassifier(**{**SMALL, **how})


def regressor(**how: Any) -> BackpropRegressor:
    return BackpropRegressor(**{**SMALL, **how})


def weights_of(estimator: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([array.ravel() for array in estimator.model_.parameters.values()])


def same(one: Any, other: Any) -> bool:
    return weights_of(one).tobytes() == weights_of(other).tobytes()


@pytest.mark.parametrize(
    "names", [["setosa", "versicolor", "virginica"], [10, 20, 30], [-1.0, 0.0, 2.0], np.array(["a", "b", "c"], object)]
)
def test_classes_keep_their_type(names: Any) -> None:
    named = np.asarray(names)[SPECIES]
    fitted = classifier(epochs=20).fit(IRIS, named)
    assert fitted.classes_.tolist() == list(names)
    assert fitted.predict(IRIS).dtype == named.dtype
    assert fitted.model_.class_names == tuple(names)
    assert (fitted.predict(IRIS) == named).mean() > 0.8
    assert same(fitted, classifier(epochs=20).fit(IRIS, SPECIES))


def test_truth_values_are_classes() -> None:
    assert classifier().fit(IRIS, SPECIES == 1).predict(IRIS[:3]).tolist() == [False, False, False]


@pytest.mark.parametrize("name", ["str", "string", "category"])
def test_a_pandas_column_of_text_is_classes(name: str) -> None:
    text = pd.Series(np.array(["no", "yes"])[SPECIES % 2]).astype(name)
    assert set(classifier().fit(IRIS, text).predict(IRIS)) == {"no", "yes"}


def test_multilabel_targets_are_learned() -> None:
    labels = np.stack([SPECIES == 0, SPECIES > 0, IRIS[:, 0] > 6], axis=1).astype(int)
    fitted = classifier(epochs=30).fit(IRIS, labels)
    assert fitted.multilabel_
    assert fitted.predict(IRIS).shape == fitted.predict_proba(IRIS).shape == labels.shape
    assert fitted.score(IRIS, labels) > 0.8
    with pytest.raises(ConfigError, match="MultiOutputClassifier"):
        classifier().fit(IRIS, labels + np.arange(3))


def test_multi_output_values_are_learned() -> None:
    x, y = load_linnerud(return_X_y=True)
    fitted = regressor(epochs=80).fit(x, y)
    assert fitted.predict(x).shape == y.shape
    assert fitted.score(x, y) > 0.3
    assert regressor().fit(x, y[:, :1]).predict(x).shape == (len(x),)


def test_raw_columns_are_standardised_unless_that_is_not_wanted() -> None:
    x, y = load_wine(return_X_y=True)
    scores = [classifier(epochs=30, standardize=how).fit(x, y).score(x, y) for how in (True, False)]
    assert scores[0] > 0.97 > scores[1]
    x, y = load_diabetes(return_X_y=True)
    fitted = regressor(epochs=60).fit(1e3 * x + 7.0, 1e4 * y)
    assert fitted.score(1e3 * x + 7.0, 1e4 * y) > 0.5
    assert fitted.loss_ < 1


def test_fitted_model_works_without_the_estimator(tmp_path: Any) -> None:
    fitted = classifier().fit(IRIS, np.array(["x", "y", "z"])[SPECIES])
    fitted.model_.save(tmp_path / "model.safetensors")
    again = bp.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(IRIS), fitted.predict_proba(IRIS))
    assert again.class_names == ("x", "y", "z")


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table], ids=["pandas", "pyarrow"])
def test_columns_of_a_frame_are_taken_by_name(make: Any) -> None:
    names = ["a", "b", "c", "d"]
    columns = dict(zip(names, IRIS.T, strict=True))
    fitted = classifier().fit(make(columns), SPECIES)
    assert fitted.feature_names_in_.tolist() == names
    before = fitted.predict_proba(make(columns))
    turned = make({name: columns[name] for name in reversed(names)} | {"further": np.zeros(len(IRIS))})
    np.testing.assert_array_equal(fitted.predict_proba(turned), before)
    np.testing.assert_array_equal(classifier().fit(IRIS, SPECIES).predict_proba(IRIS), before)
    one, other = (classifier().partial_fit(make(columns), SPECIES, [0, 1, 2]) for _ in range(2))
    assert same(one.partial_fit(make(columns), SPECIES), other.partial_fit(turned, SPECIES))
    with pytest.raises(ValueError, match="requires y to be passed"):
        one.partial_fit(turned, None)
    with pytest.raises(ValueError, match=r"yet now missing:\n- d"):
        fitted.predict(make({name: columns[name] for name in names[:3]}))
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- e"):
        fitted.predict(make({"a": columns["a"], "b": columns["b"], "c": columns["c"], "e": columns["d"]}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(fitted.predict_proba(IRIS), before)


def test_a_frame_may_have_columns_of_every_kind_and_missing_cells() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Rio", None], 90),
            "member": rng.random(90) > 0.5,
            "age": np.where(rng.random(90) > 0.2, rng.normal(40, 9, 90), np.nan),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 90), unit="D"),
        }
    )
    y = np.where((frame["city"] == "Oslo") | frame["member"], "yes", "no")
    fitted = classifier(epochs=40).fit(frame, y)
    assert fitted.score(frame, y) > 0.95
    assert "city = Oslo" in fitted.model_.features.input_names
    other = frame.assign(member=frame["member"].map({True: "maybe", False: "no"}))
    with pytest.raises(DataError, match="member"):
        fitted.predict(other)


def test_missing_numbers_are_filled() -> None:
    x = IRIS.copy()
    x[::7, 2] = np.nan
    fitted = classifier(epochs=20).fit(x, SPECIES)
    assert fitted.score(x, SPECIES) > 0.8
    assert fitted.model_.features.input_names[-2:] == ("x2 = (missing)", "x3")


def test_a_column_that_counts_the_rows_is_left_out_with_a_warning() -> None:
    frame = pd.DataFrame({"Unnamed: 0": np.arange(150), "a": IRIS[:, 2], "b": IRIS[:, 3]})
    with pytest.warns(UserWarning, match="'Unnamed: 0' is left out"):
        classifier().fit(frame, SPECIES)


def test_own_network_is_trained_as_given() -> None:
    network = bp.Network(4, [bp.Dense(6, "tanh"), bp.LayerNorm(), bp.Dense(3, "softmax")], "categorical_cross_entropy")
    fitted = classifier(network=network, epochs=40).fit(IRIS, SPECIES)
    assert fitted.model_.network is network
    assert fitted.score(IRIS, SPECIES) > 0.9
    one = bp.Network(4, bp.Dense(1), "sigmoid_cross_entropy")
    two = classifier(network=one, epochs=40).fit(IRIS, SPECIES == 0)
    assert two.predict_proba(IRIS).shape == (150, 2)
    assert two.score(IRIS, SPECIES == 0) > 0.95
    values = bp.Network(4, bp.Dense(1), "huber")
    assert regressor(network=values).fit(IRIS, IRIS[:, 0]).model_.network is values


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (classifier(network=bp.Network(4, bp.Dense(2), "softmax_cross_entropy")), "3 outputs for 3 classes"),
        (classifier(network=bp.Network(4, bp.Dense(1), "sigmoid_cross_entropy")), "3 outputs for 3 classes"),
        (classifier(network=bp.Network(4, bp.Dense(3), "mean_squared_error")), "a loss on classes"),
        (classifier(network=bp.Network(5, bp.Dense(3), "softmax_cross_entropy")), "require a network of 4 inputs"),
        (classifier(network="small"), "requires network to be a bp.Network, got 'small'"),
        (regressor(network=bp.Network(4, bp.Dense(3), "softmax_cross_entropy")), "a loss on values and 1 output"),
        (classifier(hidden_layer_sizes=(8, 0)), "number of units"),
        (classifier(activation="rellu"), "unknown activation 'rellu'"),
        (classifier(optimizer="adan"), "unknown optimizer 'adan'"),
        (classifier(batch_size=0), "batch_size"),
        (classifier(batch_size="all"), "batch_size"),
        (classifier(epochs=0), "epochs"),
        (classifier(standardize=2), "standardize"),
        (classifier(precision="float16"), "precision"),
        (classifier(backend="nump"), "unknown backend 'nump'"),
        (classifier(class_weight="unfair"), "class_weight"),
        (classifier(dropout=1.0), "below 1"),
        (classifier(early_stopping=True, validation_fraction=1.0), "validation_fraction"),
    ],
)  # fmt: skip
@pytest.mark.thorough(keep=8)
def test_invalid_settings_are_refused(estimator: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        estimator.fit(IRIS, SPECIES)


def test_default_network_has_the_documented_layers() -> None:
    how = {"hidden_layer_sizes": (5, 4), "activation": "tanh", "dropout": 0.1, "batch_norm": True, "l1": 0.1, "l2": 0.2}
    network = classifier(**how).fit(IRIS, SPECIES).model_.network
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == [*["Dense", "BatchNorm", "Activation", "Dropout"] * 2, "Dense"]
    assert network.penalties == (bp.L1(0.1), bp.L2(0.2))
    assert classifier(hidden_layer_sizes=7).fit(IRIS, SPECIES).model_.network.sizes == [4, 7, 3]
    assert classifier(hidden_layer_sizes=()).fit(IRIS, SPECIES).model_.network.sizes == [4, 3]


def test_small_tables_are_seen_more_often_unless_epochs_are_given() -> None:
    how: dict[str, Any] = {"epochs": None, "hidden_layer_sizes": ()}
    assert classifier(**how).fit(IRIS, SPECIES).n_iter_ == 400
    assert classifier(**how, batch_size=50).fit(IRIS, SPECIES).n_iter_ == 200
    assert classifier(**how).partial_fit(IRIS, SPECIES, [0, 1, 2]).n_iter_ == 1


def test_optimizer_is_given_by_name_or_object_and_learning_rate_overrides_its_own() -> None:
    by_name = classifier(optimizer="momentum", learning_rate=0.1).fit(IRIS, SPECIES)
    by_object = classifier(optimizer=bp.Momentum(5.0), learning_rate=0.1).fit(IRIS, SPECIES)
    assert same(by_name, by_object)
    assert not same(
        by_name, classifier(optimizer=bp.Momentum(0.1, momentum=0.5), learning_rate=None).fit(IRIS, SPECIES)
    )
    cosine = classifier(learning_rate=bp.Cosine(0.1, steps=4)).fit(IRIS, SPECIES)
    assert cosine.history_.learning_rate[-1] < cosine.history_.learning_rate[0]


@pytest.mark.parametrize("precision", [None, "float32", "float64"])
def test_the_precision_is_that_of_the_rows_unless_it_is_given(precision: str | None) -> None:
    for dtype in ("float32", "float64"):
        fitted = classifier(precision=precision).fit(IRIS.astype(dtype), SPECIES)
        assert fitted.model_.dtype == (precision or dtype)
        assert fitted.predict_proba(IRIS).dtype == (precision or dtype)


def test_backend_is_given_by_name_or_as_a_handle(jax: Any) -> None:
    handles = {"jax": "jax", "handle": bp.get_backend("jax", precision="float64")}
    there = [classifier(backend=handle).fit(IRIS, SPECIES) for handle in handles.values()]  # which compiles twice
    assert {fitted.model_.backend.name for fitted in there} == {"jax"}
    assert same(*there)
    here = classifier().fit(IRIS, SPECIES)
    np.testing.assert_allclose(there[0].loss_curve_, here.loss_curve_, rtol=training_rtol("float64", 4))
    copy = clone(there[1])
    assert repr(copy.backend) == repr(handles["handle"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(there[1])).predict(IRIS), there[1].predict(IRIS))


def test_partial_fit_goes_on_with_the_moments_of_before() -> None:
    whole = classifier(epochs=3).fit(IRIS, SPECIES)
    parts = classifier()
    for _ in range(3):
        parts.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    assert same(whole, parts)
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.n_iter_ == 3
    through = pickle.loads(pickle.dumps(parts)).partial_fit(IRIS, SPECIES)
    assert same(through, parts.partial_fit(IRIS, SPECIES))
    values = regressor()
    for _ in range(3):
        values.partial_fit(IRIS, IRIS[:, 0])
    assert same(values, regressor(epochs=3).fit(IRIS, IRIS[:, 0]))


def test_partial_fit_sees_the_classes_in_any_order() -> None:
    names = np.array(["a", "b", "c"])[SPECIES]
    fitted = classifier(learning_rate=0.01)
    for _ in range(8):
        for start in (0, 60, 30, 90, 120):
            fitted.partial_fit(IRIS[start : start + 30], names[start : start + 30], ["c", "b", "a"])
    assert fitted.predict_proba(IRIS).shape == (150, 3)
    with pytest.raises(DataError, match="got \\['d'\\]"):
        fitted.partial_fit(IRIS[:1], ["d"])
    with pytest.raises(ConfigError, match="the classes of its first call"):
        fitted.partial_fit(IRIS[:1], ["a"], ["a", "b"])
    with pytest.raises(ConfigError, match="requires classes"):
        classifier().partial_fit(IRIS, names)
    with pytest.raises(ConfigError, match="early_stopping=False"):
        classifier(early_stopping=True).partial_fit(IRIS, names, ["a", "b", "c"])
    with pytest.raises(ConfigError, match="dict or None, got 'balanced'"):
        classifier(class_weight="balanced").partial_fit(IRIS, names, ["a", "b", "c"])


def test_partial_fit_of_labels_and_of_values_keeps_their_number() -> None:
    labels = np.stack([SPECIES == 0, SPECIES > 0], axis=1).astype(int)
    fitted = classifier().partial_fit(IRIS, labels).partial_fit(IRIS, labels)
    assert fitted.n_iter_ == 2
    for other in (SPECIES, np.hstack([labels, labels])):
        with pytest.raises(ValueError, match=r"BackpropClassifier|classes"):
            fitted.partial_fit(IRIS, other)
    with pytest.raises(ConfigError, match="1 output as before"):
        regressor().partial_fit(IRIS, SPECIES).partial_fit(IRIS, labels)


def test_a_warm_start_goes_on_and_refuses_another_task() -> None:
    warm = classifier(warm_start=True).fit(IRIS, SPECIES).fit(IRIS, SPECIES)
    assert same(warm, classifier(epochs=8).fit(IRIS, SPECIES))
    assert len(warm.loss_curve_) == warm.n_iter_ == 8
    with pytest.raises(DataError, match=r"classes \[0 1 2\]"):
        warm.fit(IRIS, SPECIES + 1)
    with pytest.raises(ValueError, match="4 features"):
        warm.fit(IRIS[:, :3], SPECIES)
    with pytest.raises(ConfigError, match="warm_start=False"):
        warm.set_params(hidden_layer_sizes=(9,)).fit(IRIS, SPECIES)
    warm.set_params(hidden_layer_sizes=(8,), optimizer="sgd").fit(IRIS, SPECIES)  # its moments begin anew
    assert warm.n_iter_ == 4
    cold = classifier().fit(IRIS, SPECIES).fit(IRIS, SPECIES + 1)
    assert cold.classes_.tolist() == [1, 2, 3]
    assert same(cold, classifier().fit(IRIS, SPECIES))


def test_a_fit_that_fails_changes_nothing() -> None:
    fitted = classifier().fit(IRIS, SPECIES)
    before = dict(vars(fitted))
    names = np.array(["a", "b", "c"])[SPECIES]
    with pytest.raises(ConfigError, match="learning rate"):
        fitted.set_params(learning_rate=-1).fit(IRIS[:, :2], names)
    assert {name for name, value in vars(fitted).items() if value is not before[name]} == {"learning_rate"}
    fresh = classifier(hidden_layer_sizes=(0,))
    with pytest.raises(ConfigError, match="units"):
        fresh.fit(IRIS, SPECIES)
    assert not [name for name in vars(fresh) if name.endswith("_")]


def test_going_on_that_fails_changes_nothing() -> None:
    for make, target in ((classifier, SPECIES), (regressor, IRIS[:, 0])):
        warm, never_failed = (make(warm_start=True, batch_size=30).fit(IRIS, target) for _ in range(2))
        weights, model = weights_of(warm), warm.model_
        with pytest.raises(bp.NonFiniteError):  # after steps that were taken
            warm.set_params(optimizer="sgd", learning_rate=1e40).fit(IRIS, target)
        np.testing.assert_array_equal(weights_of(warm), weights)
        assert warm.model_ is model
        assert warm.n_iter_ == 4
        warm.set_params(optimizer="adam", learning_rate=0.05)
        assert same(warm.fit(IRIS, target), never_failed.fit(IRIS, target))


@pytest.mark.parametrize("kind", [BackpropClassifier, BackpropRegressor])
def test_an_unknown_parameter_is_refused_in_the_name_of_the_estimator(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match=f"^{kind.__name__}.__init__.*'max_iter'"):
        kind(max_iter=3)


def test_early_stopping_holds_out_rows_and_restores_the_best_epoch() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    how: dict[str, Any] = {"early_stopping": True, "n_iter_no_change": 3, "epochs": 200}
    fitted = classifier(**how).fit(x, y)
    assert "no improvement" in fitted.history_.stopped_by
    assert fitted.n_iter_ == len(fitted.history_.validation_loss) < 200
    best = int(np.argmin(fitted.history_.validation_loss)) + 1
    assert best <= fitted.n_iter_ - 3
    assert fitted.score(x, y) > 0.95
    assert same(fitted, classifier(**how).fit(x, y))
    assert "no improvement" in regressor(**how).fit(x, x[:, 0]).history_.stopped_by
    with pytest.raises(ValueError, match="least populated"):  # every class has its share
        classifier(**how).fit(IRIS, np.r_[3, SPECIES[1:]])
    heavier = classifier(**how, validation_fraction=0.3).fit(x, y, sample_weight=np.where(y == 1, 2.0, 1.0))
    assert heavier.history_.validation_loss.shape == (heavier.n_iter_,)


def test_rows_of_weight_0_are_left_out() -> None:
    weights = np.where(np.arange(150) % 3 > 0, 1.0, 0.0)
    some = weights > 0
    assert same(classifier().fit(IRIS, SPECIES, weights), classifier().fit(IRIS[some], SPECIES[some]))
    assert same(regressor().fit(IRIS, IRIS[:, 0], weights), regressor().fit(IRIS[some], IRIS[some, 0]))
    assert not same(classifier().fit(IRIS, SPECIES, 1.0 + weights), classifier().fit(IRIS, SPECIES))
    with pytest.raises(DataError, match="only zeros"):
        classifier().fit(IRIS, SPECIES, np.zeros(150))
    with pytest.raises(DataError, match="got one class: 0"):
        classifier().fit(IRIS, SPECIES, SPECIES == 0)
    for bad in (-weights, np.full(150, np.nan)):
        with pytest.raises(DataError, match="weights"):
            classifier().fit(IRIS, SPECIES, bad)
    with pytest.raises(ShapeError, match="weights require shape"):
        classifier().fit(IRIS, SPECIES, weights[:10])


def test_classes_count_by_their_weights() -> None:
    few = np.r_[0:50, 50:100, 100:110]
    x, y = IRIS[few], SPECIES[few]
    by_name = classifier(class_weight={2: 5.0}).fit(x, y)  # 1 for the others
    assert same(by_name, classifier().fit(x, y, np.where(y == 2, 5.0, 1.0)))
    balanced = classifier(class_weight="balanced").fit(x, y)
    assert same(balanced, classifier().fit(x, y, (len(y) / (3 * np.bincount(y)))[y]))
    weights = np.where(x[:, 0] > 5.5, 3.0, 1.0)
    by_class = weights.sum() / (3 * np.bincount(y, weights))
    assert same(classifier(class_weight="balanced").fit(x, y, weights), classifier().fit(x, y, weights * by_class[y]))
    both = classifier(class_weight={2: 5.0}).fit(x, y, np.where(y == 1, 3.0, 1.0))
    assert same(both, classifier().fit(x, y, np.array([1.0, 3.0, 5.0])[y]))
    assert same(
        classifier(class_weight={0: 2.0, 9: 1.0, 1: 1.0, 2: 1.0}).fit(x, y), classifier(class_weight={0: 2.0}).fit(x, y)
    )
    with pytest.raises(ValueError, match="not in class_weight"):
        classifier(class_weight={"zero": 2.0}).fit(x, y)
    labels = np.stack([y == 0, y > 0], axis=1).astype(int)
    assert classifier(class_weight="balanced").fit(x, labels).multilabel_


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_rows_are_refused(form: Any) -> None:
    with pytest.raises(TypeError, match="Sparse data was passed"):
        classifier().fit(form(IRIS), SPECIES)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        classifier().fit(IRIS, SPECIES).predict(form(IRIS))


def test_rows_that_are_read_only_once_are_refused() -> None:
    x, y = np.eye(4), np.arange(4.0)
    fitted = BackpropRegressor(epochs=2).fit(x, y)
    message = r"X requires an array, got a generator, which is read only once and not supported. Give np\.stack"
    with pytest.raises(ValueError, match=message):
        BackpropRegressor(epochs=2).fit((row for row in x), y)
    with pytest.raises(ValueError, match=message):
        fitted.predict(row for row in x)


def test_unusual_inputs_are_fitted_or_refused_as_scikit_learn_does() -> None:
    assert classifier().fit(IRIS[:, 2:3], SPECIES).predict(IRIS[:, 2:3]).shape == (150,)
    with pytest.warns(DataConversionWarning):
        assert classifier().fit(IRIS, SPECIES[:, None]).predict(IRIS).shape == (150,)
    with pytest.raises(DataError, match="at least two classes in y, got one class: 'a'"):
        classifier().fit(IRIS, ["a"] * 150)
    with pytest.raises(ValueError, match=r"Unknown label type|continuous"):
        classifier().fit(IRIS, IRIS[:, 0])
    for gap in (None, pd.NA):
        for form in (list, lambda cells: np.array(cells, object), lambda cells: pd.Series(cells, dtype="string")):
            with pytest.raises(DataError, match="a target in every row, got a missing one in row 1"):
                classifier().fit(IRIS, form(["a", gap, "b"] * 50))
    with pytest.raises(DataError, match="two columns 'a'"):
        classifier().fit(pd.DataFrame(IRIS, columns=list("abad")), SPECIES)
    with pytest.raises(ValueError, match="infinity"):
        classifier().fit(np.where(IRIS > 7, np.inf, IRIS), SPECIES)
    integers = classifier().fit((10 * IRIS).astype(np.uint8), SPECIES)
    np.testing.assert_array_equal(
        integers.predict((10 * IRIS).astype(float)), integers.predict((10 * IRIS).astype(np.uint8))
    )


def test_the_seed_may_be_a_generator_or_drawn() -> None:
    assert same(*(classifier(random_state=np.random.RandomState(3)).fit(IRIS, SPECIES) for _ in range(2)))
    assert not same(*(classifier(random_state=None).fit(IRIS, SPECIES) for _ in range(2)))
    assert classifier(random_state=11).fit(IRIS, SPECIES).model_.seed == 11


def test_interrupted_fit_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bp.Model, "fit", lambda *_, **__: bp.History(stopped_by="interrupted"))
    with pytest.warns(UserWarning, match="BackpropClassifier: interrupted after 0 steps"):
        fitted = classifier().fit(IRIS, SPECIES)
    assert fitted.n_iter_ == 0
    assert np.isnan(fitted.loss_)


def test_parameters_come_back_and_can_be_set() -> None:
    for estimator in (classifier(class_weight={0: 2.0}), regressor(optimizer=bp.Adam(0.1))):
        again = clone(estimator)
        assert again.get_params() == estimator.get_params()
        assert type(estimator)(**estimator.get_params()).get_params() == estimator.get_params()
    common = BackpropRegressor().get_params()
    assert {**common, "class_weight": None} == BackpropClassifier().get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'layers'"):
        classifier().set_params(layers=3)


def test_the_logarithm_of_a_probability_of_0_is_infinite() -> None:
    fitted = classifier().fit(IRIS, SPECIES)
    np.testing.assert_array_equal(np.exp(fitted.predict_log_proba(IRIS)).round(9), fitted.predict_proba(IRIS).round(9))
    fitted.model_.parameters = {"1.bias": [5000.0, 0.0, 0.0]}
    assert (fitted.predict_log_proba(IRIS)[:, 1] == -np.inf).any()


@pytest.mark.parametrize("names", [["low", "mid", "top"], [10, 20, 30], [1, 2, 3]])
def test_the_model_of_a_classifier_knows_the_names_of_the_classes(names: list[Any], tmp_path: Any) -> None:
    y = np.array(names)[SPECIES]
    fitted = classifier().fit(IRIS, y)
    fitted.model_.save(tmp_path / "model.safetensors")
    for model in (fitted.model_, bp.load(tmp_path / "model.safetensors")):
        assert model.evaluate(IRIS, y)["accuracy"] == pytest.approx(fitted.score(IRIS, y))
        assert model.features is not None
        assert model.features.classes == tuple(names)


def mixed_frame() -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Return 120 rows: a town as text, a code that is a number, an age with gaps; and a class that the code decides."""
    rng = np.random.default_rng(3)
    code = rng.integers(0, 3, 120)
    frame = pd.DataFrame(
        {
            "town": rng.choice(["Oslo", "Rio"], 120),
            "code": code,
            "age": np.where(rng.random(120) < 0.2, np.nan, 40.0 + code),
        }
    )
    return frame, np.where(code == 1, "yes", "no")


def test_metrics_are_recorded_for_the_rows_held_out() -> None:
    how: dict[str, Any] = {"epochs": 6, "metrics": ["f1", bp.Metric(len_of, larger_is_better=True)]}
    fitted = classifier(**how).fit(IRIS, SPECIES)
    scores = fitted.history_.validation_scores
    assert list(scores) == ["loss", "accuracy", "f1", "len_of"]
    assert scores["f1"].shape == (6,)
    assert scores["len_of"].tolist() == [15.0] * 6  # a tenth of the rows
    assert fitted.n_iter_ == 6
    stopped = classifier(early_stopping=True, monitor="accuracy", n_iter_no_change=2, epochs=300).fit(IRIS, SPECIES)
    assert stopped.history_.stopped_by == "no improvement of accuracy on validation data for 2 epochs"
    assert same(stopped, clone(stopped).fit(IRIS, SPECIES))
    values = regressor(early_stopping=True, monitor="mae", metrics="r2", epochs=5).fit(IRIS, 1e3 * IRIS[:, 0])
    scores = values.history_.validation_scores
    assert {"r2", "mae"} <= set(scores)
    assert 10 < scores["mae"][-1] < 1e3  # in the unit of y


def len_of(y_true: Any, prediction: Any) -> float:
    """Return how many rows are scored."""
    return float(len(y_true))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"monitor": "f1"}, "monitor='f1' requires early_stopping=True"),
        ({"metrics": ["f2"]}, "unknown metric 'f2'"),
        ({"metrics": ["r2"]}, "r2"),
        ({"early_stopping": True, "monitor": "confusion_matrix"}, "confusion_matrix"),
        ({"missing": "keep"}, "unknown missing of Features: 'keep'"),
        ({"categorical": "code"}, "categorical to be a list of columns, got the text 'code'"),
        ({"categorical": [4]}, "got 4 for 4 columns"),
        ({"categorical": [True]}, "names or numbers of columns, got True"),
        ({"categorical": ["x9"]}, "unknown column 'x9'"),
        ({"features": "scaled"}, "features to be a bp.Features, got 'scaled'"),
    ],
)
def test_invalid_scores_and_columns_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        classifier(**how).fit(IRIS, SPECIES)


def test_partial_fit_holds_no_rows_out() -> None:
    with pytest.raises(ConfigError, match="no metrics"):
        classifier(metrics=["f1"]).partial_fit(IRIS, SPECIES, [0, 1, 2])


def test_rows_with_missing_cells_are_dropped_or_refused() -> None:
    frame, y = mixed_frame()
    complete = frame["age"].notna().to_numpy()
    left_out = f"{np.count_nonzero(~complete)} of 120 rows have missing cells and are left out"
    weights = np.arange(1.0, 121.0)
    with pytest.warns(UserWarning, match=left_out):
        dropped = classifier(missing="drop").fit(frame, y, weights)
    assert same(dropped, classifier().fit(frame[complete], y[complete], weights[complete]))
    assert dropped.predict(frame[complete]).shape == (np.count_nonzero(complete),)
    with pytest.raises(DataError, match="missing value in row"):
        dropped.predict(frame)
    with pytest.raises(DataError, match="missing value in row"):
        classifier(missing="refuse").fit(frame, y)
    with pytest.raises(DataError, match="a row without missing cells, got none of 3"):
        regressor(missing="drop").fit([[1.0, np.nan], [np.nan, 2.0], [np.nan, 3.0]], [1.0, 2.0, 3.0])
    x = np.where(np.arange(150)[:, None] % 5 == 0, np.nan, IRIS)
    with pytest.warns(UserWarning, match="30 of 150 rows"):
        parts = regressor(missing="drop").partial_fit(x, IRIS[:, 0])
    assert same(parts, regressor().partial_fit(x[np.arange(150) % 5 > 0], IRIS[np.arange(150) % 5 > 0, 0]))
    assert classifier().__sklearn_tags__().input_tags.allow_nan
    assert not classifier(missing="drop").__sklearn_tags__().input_tags.allow_nan


def test_numeric_columns_may_be_categories_by_name_or_position() -> None:
    frame, y = mixed_frame()
    by_name, by_place = (classifier(categorical=[column]).fit(frame, y) for column in ("code", 1))
    assert "code = 2" in by_name.model_.features.input_names
    assert same(by_name, by_place)
    assert not same(by_name, classifier().fit(frame, y))
    codes = frame[["code", "age"]].to_numpy()
    assert "x0 = 1" in classifier(categorical=[0]).fit(codes, y).model_.features.input_names


def test_features_are_settings_that_each_fit_learns_from_anew() -> None:
    frame, y = mixed_frame()
    features = bp.Features(scale="minmax", drop=["town"], categorical=["code"], missing="drop")
    estimator = classifier(features=features, categorical=["nobody"])  # which is not looked at
    with pytest.warns(UserWarning, match="missing cells"):
        fitted = estimator.fit(frame, y)
    assert fitted.model_.features.input_names == ("code = 0", "code = 1", "code = 2", "age")
    assert features.inputs == 0
    copy = clone(estimator)
    with pytest.warns(UserWarning, match="missing cells"):
        assert same(copy.fit(frame, y), fitted)
    with pytest.warns(UserWarning, match="missing cells"):
        assert pickle.loads(pickle.dumps(fitted)).fit(frame, y).model_.features.inputs == 4
    ages = classifier(features=bp.Features(missing="drop", drop=["age"])).fit(frame, y)  # whose gaps do not count
    assert same(ages, classifier().fit(frame[["town", "code"]], y))
    labels = np.stack([y == "yes", y == "no"], axis=1).astype(int)
    assert classifier(features=bp.Features(scale="robust")).fit(frame, labels).multilabel_
    unscaled = regressor(features=bp.Features(scale_target=False)).fit(IRIS, 100 * IRIS[:, 0])
    assert unscaled.loss_ > 100
