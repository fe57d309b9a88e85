"""What scikit-learn asks of every estimator, by its own checks; none may fail."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from typing import Any
from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import bpengine.sklearn
from bpengine.extras import install_command
from bpengine.sklearn import BackpropClassifier, BackpropRegressor

ESTIMATORS = [
    BackpropClassifier(hidden_layer_sizes=(16,), epochs=20, learning_rate=0.05),
    BackpropRegressor(hidden_layer_sizes=(16,), epochs=20, learning_rate=0.05),
]
NOT_RUN = (
    "SCIPY_ARRAY_API is not set: not checking array_api input",  # below, in a process where it is set
    "BackpropClassifier does not have a decision_function method.",  # a network has probabilities
)
WITH_ARRAY_API = """
from sklearn.utils.estimator_checks import check_estimator
from tests.estimators.test_conventions import ESTIMATORS
from bpengine.extras import install_command
for estimator in ESTIMATORS:
    results = check_estimator(estimator, on_skip=None)
    ran = [result for result in results if result["check_name"] == "check_array_api_input"]
    print([result["status"] for result in ran])
"""


@pytest.mark.thorough(keep=50)
@parametrize_with_checks(ESTIMATORS)
def test_estimators_pass_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    assert why_not_run(estimator, check) in (None, *NOT_RUN)


def why_not_run(estimator: Any, check: Any) -> str | None:
    """Run a check; return why it was skipped, or None."""
    try:
        check(estimator)
    except SkipTest as reason:
        return str(reason)
    return None


@pytest.mark.thorough(keep=0)
def test_estimators_pass_the_checks_with_array_api_dispatch() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITH_ARRAY_API],
        env={**os.environ, "SCIPY_ARRAY_API": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["['passed']"] * 2, ended.stderr


def test_missing_scikit_learn_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape(install_command("sklearn"))):
        importlib.reload(bpengine.sklearn)
