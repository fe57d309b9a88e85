"""Estimators for scikit-learn: BackpropClassifier and BackpropRegressor, loaded when they are asked for (extra "sklearn").

table_input: rows as scikit-learn checks them. column_rules: what the parameters say of the columns. learner: what both
estimators share. classifier, regressor: targets.
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
