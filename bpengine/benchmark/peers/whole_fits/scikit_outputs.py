"""The outputs of scikit-learn's MLPClassifier for two classes, in the form that the other contenders have."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Classifier(Protocol):
    """What is asked of an `MLPClassifier`."""

    out_activation_: str
    _label_binarizer: object


class BothClasses:
    """Turns the labels 0 and 1 into a column for each class, in place of scikit-learn's `LabelBinarizer`."""

    y_type_ = "multiclass"

    def transform(self, y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return labels (rows,) as (rows, 2)."""
        return np.stack([1 - y, y], axis=1)


def with_an_output_for_each_class(model: Classifier, outputs: int) -> None:
    """Give a classifier after its first `partial_fit` a softmax over two outputs, where the network has two.

    By itself it has a single logistic output for two classes, which is another network: with the weights of two outputs it
    trains neither. Networks with other numbers of outputs stay as they are.
    """
    if outputs == 2:
        model._label_binarizer, model.out_activation_ = BothClasses(), "softmax"
