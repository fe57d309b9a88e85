"""Estimators for scikit-learn: BackpropClassifier and BackpropRegressor, loaded on first use (extra "sklearn").

table_input: rows as scikit-learn checks them. column_rules: how the parameters treat columns. learner: the base of both
estimators. classifier, regressor: their targets.
"""

from __future__ import annotations

from importlib.util import find_spec

from bpengine.extras import cure

if find_spec("sklearn") is None:
    raise ImportError(
        f"bpengine.sklearn requires the package 'scikit-learn', which is not installed. {cure('sklearn')}"
    )

from bpengine.sklearn.classifier import BackpropClassifier
from bpengine.sklearn.regressor import BackpropRegressor

__all__ = ["BackpropClassifier", "BackpropRegressor"]
