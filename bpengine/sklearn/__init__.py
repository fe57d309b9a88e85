"""Estimators for scikit-learn: BackpropClassifier and BackpropRegressor, loaded when they are asked for (extra "sklearn").

table_input: rows as scikit-learn checks them. learner: what both estimators share. classifier, regressor: targets.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("sklearn") is None:
    raise ImportError(
        "bpengine.sklearn requires the package 'scikit-learn', which is not installed. Install it with: "
        "pip install 'bpengine[sklearn]'"
    )

from bpengine.sklearn.classifier import BackpropClassifier
from bpengine.sklearn.regressor import BackpropRegressor

__all__ = ["BackpropClassifier", "BackpropRegressor"]
