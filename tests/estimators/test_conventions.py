"""What scikit-learn asks of every estimator, by its own checks; none may fail."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from bpengine.sklearn import BackpropClassifier, BackpropRegressor

ESTIMATORS = [
    BackpropClassifier(hidden_layer_sizes=(16,), epochs=20, learning_rate=0.05),
    BackpropRegressor(hidden_layer_sizes=(16,), epochs=20, learning_rate=0.05),
]


@parametrize_with_checks(ESTIMATORS)
def test_conventions(estimator: Any, check: Any) -> None:
    check(estimator)
