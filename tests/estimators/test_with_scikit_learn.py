"""The estimators inside of what scikit-learn offers: pipelines, searches, cross-validation, calibration, importance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import bpengine as bp
from bpengine.sklearn import BackpropClassifier, BackpropRegressor

SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "epochs": 40, "learning_rate": 0.1, "random_state": 0}


def test_estimator_works_in_a_pipeline_with_its_parameters() -> None:
    x, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), BackpropClassifier(**SMALL))
    pipeline.set_params(backpropclassifier__epochs=40, backpropclassifier__optimizer=bp.Nesterov(0.1))
    assert pipeline.get_params()["backpropclassifier__epochs"] == 40
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.93
    weighted = pipeline.fit(x, y, backpropclassifier__sample_weight=np.where(y == 0, 2.0, 1.0))
    assert weighted.score(x, y) > 0.95
    bare = cross_val_score(BackpropClassifier(**SMALL), x, y, cv=3).mean()
    assert bare > 0.93


def test_columns_are_transformed_before() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"city": rng.choice(["Oslo", "Rio", "Bonn"], 120), "age": rng.normal(40, 9, 120)})
    y = np.where(frame["city"] == "Oslo", "yes", "no")
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"]), ("age", StandardScaler(), ["age"])])
    pipeline = Pipeline([("columns", columns), ("model", BackpropClassifier(**SMALL))]).fit(frame, y)
    assert pipeline.score(frame[["age", "city"]], y) > 0.95
    named = Pipeline([("columns", columns), ("model", BackpropClassifier(**SMALL))]).set_output(transform="pandas")
    with pytest.raises(ValueError, match="sparse"):  # scikit-learn's: a frame holds no sparse columns
        named.fit(frame, y)
    named.set_params(columns__city__sparse_output=False).fit(frame, y)
    assert named["model"].feature_names_in_.tolist() == [
        "city__city_Bonn",
        "city__city_Oslo",
        "city__city_Rio",
        "age__age",
    ]


def test_a_grid_is_searched_in_two_processes() -> None:
    x, y = load_iris(return_X_y=True)
    grid = {"hidden_layer_sizes": [(2,), (8,)], "optimizer": ["adam", bp.SGD(0.1)]}
    search = GridSearchCV(BackpropClassifier(**SMALL), grid, n_jobs=2, cv=2).fit(x, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(x, y) > 0.9
    here = BackpropClassifier(**SMALL).set_params(**search.best_params_).fit(x, y)
    there = Parallel(n_jobs=2)([delayed(here.predict_proba)(x)])[0]
    np.testing.assert_array_equal(there, here.predict_proba(x))
    np.testing.assert_array_equal(there, search.predict_proba(x))


@pytest.mark.thorough(keep=0)
def test_cross_validation_scores_by_name_work() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    assert cross_val_score(BackpropClassifier(**SMALL), x, y, cv=2, scoring="roc_auc").min() > 0.95
    assert cross_val_predict(BackpropClassifier(**SMALL), x, y, cv=2, method="predict_proba").shape == (len(x), 2)
    x, y = load_diabetes(return_X_y=True)
    assert cross_val_score(BackpropRegressor(**SMALL), x, y, cv=2, scoring="r2").min() > 0.3


def test_probabilities_are_calibrated() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    calibrated = CalibratedClassifierCV(BackpropClassifier(**SMALL), cv=2).fit(x, y)
    assert calibrated.score(x, y) > 0.95


def test_permutation_importance_finds_the_petals() -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    fitted = BackpropClassifier(**SMALL).fit(x, y)
    importance = permutation_importance(fitted, x, y, n_repeats=2, random_state=0)
    assert np.argmax(importance.importances_mean) >= 2  # the petals


@pytest.mark.thorough(keep=0)
def test_bagging_voting_stacking_and_multi_output_take_the_estimators() -> None:
    x, y = load_iris(return_X_y=True)
    bagged = BaggingClassifier(BackpropClassifier(**SMALL), n_estimators=3, random_state=0).fit(x, y)
    assert bagged.score(x, y) > 0.9
    voting = VotingClassifier(
        [("net", BackpropClassifier(**SMALL)), ("linear", LogisticRegression(max_iter=1000))], voting="soft"
    )
    assert voting.fit(x, y).score(x, y) > 0.9
    assert MultiOutputClassifier(BackpropClassifier(**SMALL)).fit(x, np.stack([y, 2 - y], axis=1)).predict(x).shape == (
        150,
        2,
    )
    stacked = StackingRegressor([("net", BackpropRegressor(**SMALL)), ("ridge", Ridge())], cv=2).fit(x, x[:, 0] ** 2)
    assert stacked.score(x, x[:, 0] ** 2) > 0.9
    logs = TransformedTargetRegressor(BackpropRegressor(**SMALL), func=np.log, inverse_func=np.exp).fit(x, x[:, 0])
    assert logs.score(x, x[:, 0]) > 0.9
