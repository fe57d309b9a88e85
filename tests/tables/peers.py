"""scikit-learn's networks on the sample tables, as its users prepare them: what held-out scores are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

LAYERS = (64, 32)  # the hidden layers of `bpengine train`
MOST = 2000  # epochs of scikit-learn at most; large values that are not scaled take them all
DATES = {"sold": "%Y-%m-%d", "Datum": "%d.%m.%Y"}  # columns of the samples
FEW = 10  # numbers that are classes


def frame_of(path: Path) -> pd.DataFrame:
    """Read a sample as its user would: "?" is missing, dates are days, a column that counts the rows is left out."""
    how: dict[str, Any] = {"sep": ";", "decimal": ","} if path.name == "energie.csv" else {"skipinitialspace": True}
    frame = pd.read_csv(path, na_values=["?"], **how)
    for name, form in DATES.items():
        if name in frame:
            frame[name] = (pd.to_datetime(frame[name], format=form) - pd.Timestamp(0)).dt.days
    return frame.drop(columns=[name for name in frame if str(name).startswith("Unnamed")])


def is_classes(y: pd.DataFrame) -> bool:
    """Return whether targets are classes: one column of text, or of few numbers."""
    return y.shape[1] == 1 and (not pd.api.types.is_numeric_dtype(y.iloc[:, 0]) or y.iloc[:, 0].nunique() <= FEW)


def peer(x: pd.DataFrame, *, classes: bool, seed: int, scaled: bool = False) -> Any:
    """Return a network behind StandardScaler and OneHotEncoder for such columns; missing cells get an input of their own.

    scaled: whether targets that are values are standardised as well. All other settings are scikit-learn's own.
    """
    numbers = [name for name in x if pd.api.types.is_numeric_dtype(x[name]) and x[name].dtype != bool]
    texts = [name for name in x if name not in numbers and x[name].nunique() < 20]
    known = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="(missing)"), known), texts),
    )
    kind = MLPClassifier if classes else MLPRegressor
    network = kind(hidden_layer_sizes=LAYERS, random_state=seed, max_iter=MOST)
    return make_pipeline(
        columns, TransformedTargetRegressor(network, transformer=StandardScaler()) if scaled else network
    )


def score(truth: Any, predicted: Any, *, classes: bool) -> float:
    """Return the share of the rows whose class is right, or R², the mean over the targets."""
    if classes:
        return float(accuracy_score(np.asarray(truth).astype(str), np.asarray(predicted).astype(str)))
    return float(r2_score(np.asarray(truth, float), np.asarray(predicted, float)))
