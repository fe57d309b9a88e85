"""BackpropClassifier: a network that predicts a class, or yes or no for each of several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from bpengine import data
from bpengine.backend import ArrayLike, Backend, HostArray
from bpengine.errors import ConfigError, DataError
from bpengine.i18n.counted_nouns import count_of
from bpengine.layers import Layer
from bpengine.model import Model
from bpengine.network import Network
from bpengine.sklearn.learner import BackpropLearner
from bpengine.sklearn.table_input import TrainingRows
from bpengine.system.quiet import Quiet
from bpengine.training.metrics.choice import Asked
from bpengine.training.metrics.metric import Metric
from bpengine.training.optimizers import Optimizer

if TYPE_CHECKING:
    from sklearn.utils import Tags

MULTILABEL = "multilabel-indicator"


class BackpropClassifier(ClassifierMixin, BackpropLearner):
    """A network that predicts classes, for scikit-learn: it works in `Pipeline`, `GridSearchCV`, `cross_val_score` and others.

    Names and defaults are those of `MLPClassifier` where they mean the same. y: classes of any type (text, numbers, truth
    values), or an array of 0 and 1 (rows, labels) for several labels. X: numbers, or a data frame (pandas, polars, pyarrow)
    with columns of every kind, which `bp.Features` encodes as numbers; a frame's columns are found by name, in any order.
    Missing numbers are filled with the median of the training rows, and a further input indicates them.

    network: a whole `bp.Network`; the other parameters down to `l2` are then ignored. Its loss is one on classes with an
    output for each, or a binary one with one output for two classes, or with one for each label.
    hidden_layer_sizes: units of each hidden layer. activation: that of hidden layers, a name or a layer. dropout: share of
    the hidden outputs that are dropped, from 0 to below 1. batch_norm: normalise before each activation.
    l1, l2: strengths of `bp.L1` and `bp.L2` on all weights. (`alpha` of scikit-learn is l2 times the rows of a batch.)
    class_weight: "balanced", or {class: weight} (1 for a class that is not named), or None; for several labels as in
        `sklearn.utils.compute_sample_weight`.
    optimizer: a name or a bp.Optimizer. learning_rate: a number or a schedule; None is the optimizer's default, 0.001 for
    Adam. batch_size: rows of a step; "auto" is 200, None all rows; never more than there are. epochs: passes over the rows,
    exactly this many unless `early_stopping` ends the fit; None is 200 for up to 10,000 rows, fewer for more, at least 20
    and at least 400 steps, as on the command line. shuffle: a new order in each epoch.
    standardize: scale each number to mean 0 and standard deviation 1 of the training rows before the network. True by default,
    unlike in scikit-learn: a network learns little from columns of very different scales, which is the most frequent
    reason why it fails on a table. Columns that a Pipeline has standardised do not change, up to rounding. `partial_fit`
    learns the scale from its first call.
    missing: cells without a value are filled and indicated by an input ("fill"), their rows are left out of the training with
    a warning ("drop"), or refused ("refuse"); with the last two, rows to predict must have none.
    categorical: columns that are categories although they hold numbers, by name or counted from 0.
    features: a `bp.Features`, whose settings replace `standardize`, `missing` and `categorical`: other scales, rare values,
    columns to drop. Each fit learns a new copy of it.
    early_stopping: hold out `validation_fraction` of the rows, every class in its share, and stop when the loss on them has
        not fallen by more than `tol` for `n_iter_no_change` epochs; the model is that of the best epoch.
    monitor: a score to watch in place of the loss, by its name in `metrics` of `bp.Model.evaluate`, or a `bp.Metric`.
    metrics: further scores of held-out rows, in `history_.validation_scores` for each epoch. Rows are held out for them also
    without `early_stopping`.
    warm_start: `fit` continues where the previous call ended, with the optimizer's moments; the classes must be the same.
    random_state: a number, which is the seed of the `bp.Model`; a RandomState; or None for a new seed each time.
    backend, device: where the model runs: "numpy", "jax", "cupy", or a Backend. precision: "float64", "float32", "tf32" or
    "bfloat16"; None is float32 for an X of float32, otherwise float64. verbose: show the progress.

    Attributes after `fit`: `model_`, the `bp.Model`, which takes rows of the same columns and can be saved; `history_`,
    its `bp.History`; `classes_`; `multilabel_`; `loss_curve_`, the mean loss of each epoch, `loss_` the last of them,
    `n_iter_` their number; `n_outputs_`, the network's outputs; `n_features_in_`; `feature_names_in_` for frames.

    Raises ValueError or its subclasses in bpengine (ConfigError, DataError, ShapeError) for invalid parameters and data;
    NonFiniteError when training diverges.

    >>> from sklearn.datasets import load_wine
    >>> from sklearn.model_selection import cross_val_score
    >>> from bpengine.sklearn import BackpropClassifier
    >>> x, y = load_wine(return_X_y=True)
    >>> classifier = BackpropClassifier(hidden_layer_sizes=(20,), epochs=50, learning_rate=0.01, random_state=0)
    >>> bool(cross_val_score(classifier, x, y, cv=3).min() > 0.9)
    True
    >>> classifier.fit(x, y).predict_proba(x[:2]).shape
    (2, 3)
    """

    _numeric = False
    classes_: HostArray
    multilabel_: bool

    def __init__(
        self,
        network: Network | None = None,
        *,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Layer = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        l1: float = 0.0,
        l2: float = 1e-4,
        class_weight: Mapping[Any, float] | str | None = None,
        optimizer: str | Optimizer = "adam",
        learning_rate: object = None,
        batch_size: int | str | None = "auto",
        epochs: int | None = None,
        shuffle: bool = True,
        standardize: bool = True,
        missing: str = "fill",
        categorical: Sequence[str | int] = (),
        features: data.Features | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        monitor: str | Metric = "loss",
        metrics: Asked | Sequence[Asked] = (),
        warm_start: bool = False,
        random_state: object = None,
        backend: str | Backend = "numpy",
        precision: str | None = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            network, hidden_layer_sizes=hidden_layer_sizes, activation=activation, dropout=dropout, batch_norm=batch_norm,
            l1=l1, l2=l2, optimizer=optimizer, learning_rate=learning_rate, batch_size=batch_size, epochs=epochs,
            shuffle=shuffle, standardize=standardize, missing=missing, categorical=categorical, features=features,
            early_stopping=early_stopping, validation_fraction=validation_fraction, n_iter_no_change=n_iter_no_change,
            tol=tol, monitor=monitor, metrics=metrics, warm_start=warm_start, random_state=random_state, backend=backend,
            precision=precision, device=device, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Tags:
        """Declare that several labels are possible."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: Sequence[Any] | HostArray | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one more epoch on these rows, with the optimizer's earlier moments; return the estimator.

        classes: all classes of this and later calls, in the first call; later calls and several labels do not need it.
        The first call learns the scale of the inputs from its rows, which should be like those of later calls.
        """
        if isinstance(self.class_weight, str):
            raise ConfigError(
                f"partial_fit requires class_weight to be a dict or None, got {self.class_weight!r}: it does not know the "
                "rows to come. Give sample_weight, or the weights as a dict."
            )
        known = None if classes is None else np.unique(classes)
        if known is None and not self._fitted and type_of_target(y) != MULTILABEL:
            raise ConfigError("partial_fit requires classes, all that will come, in its first call.")
        return self._partial(X, y, sample_weight, known)

    def predict(self, X: ArrayLike) -> HostArray:
        """Return the class of each row (rows,), or 0 and 1 (rows, labels), for X (rows, columns)."""
        probabilities = self.predict_proba(X)
        if self.multilabel_:
            return (probabilities > 0.5).astype(np.int64)
        return np.asarray(self.classes_[np.argmax(probabilities, axis=1)])

    def predict_proba(self, X: ArrayLike) -> HostArray:
        """Return the probabilities of the classes (rows, classes), or of each label (rows, labels), for X (rows, columns)."""
        probabilities = self._outputs(X)
        if probabilities.shape[1] == 1 and not self.multilabel_:
            return np.concatenate([1 - probabilities, probabilities], axis=1)
        return probabilities

    def predict_log_proba(self, X: ArrayLike) -> HostArray:
        """Return the logarithms of `predict_proba`; minus infinity where that is 0."""
        with Quiet():
            return np.asarray(np.log(self.predict_proba(X)))

    def _targets(self, rows: TrainingRows, *, goes_on: bool, classes: HostArray | None) -> TrainingRows:
        kind = type_of_target(rows.y, input_name="y", raise_unknown=True)
        check_classification_targets(rows.y)
        if kind == "multiclass-multioutput":
            raise ConfigError(
                "BackpropClassifier requires one class for each row, or labels of 0 and 1, got several columns of classes. "
                "sklearn.multioutput.MultiOutputClassifier fits one classifier for each column."
            )
        if goes_on and (kind == MULTILABEL) != self.multilabel_:
            raise ConfigError(
                "BackpropClassifier requires y of the kind of before to go on: one class each, or labels."
            )
        labels = rows.y if kind == MULTILABEL else column_or_1d(rows.y, warn=True)
        self._know(labels, classes, goes_on=goes_on, multilabel=kind == MULTILABEL)
        if self.multilabel_:
            weights = _product(rows.weights, self._weights_of_labels(labels))
            return rows._replace(y=np.asarray(labels, np.float64), weights=weights)
        numbers = np.searchsorted(self.classes_, labels)
        weights = _product(rows.weights, self._weights_of_classes(numbers, labels, rows.weights))
        return rows._replace(y=numbers, weights=weights, groups=numbers)

    def _know(self, labels: HostArray, classes: HostArray | None, *, goes_on: bool, multilabel: bool) -> None:
        """Set the classes; raise ValueError where they differ from earlier ones, or are fewer than two."""
        seen = np.arange(labels.shape[1]) if multilabel else np.unique(labels)
        if goes_on and classes is not None and not np.array_equal(classes, self.classes_):
            raise ConfigError(f"partial_fit requires the classes of its first call, {self.classes_}, got {classes}.")
        known = self.classes_ if goes_on else seen if classes is None else classes
        strange = np.setdiff1d(seen, known)
        if len(strange) or (multilabel and len(seen) != len(known)):
            raise DataError(
                f"y requires the classes {known} that are known, got {strange if len(strange) else seen} as well."
            )
        if len(known) < 2 and not multilabel:
            raise DataError(
                f"BackpropClassifier requires at least two classes in y, got one class: {known.tolist()[0]!r}."
            )
        self.classes_, self.multilabel_ = known, multilabel

    def _weights_of_labels(self, labels: HostArray) -> HostArray | None:
        return None if self.class_weight is None else np.asarray(compute_sample_weight(self.class_weight, labels))

    def _weights_of_classes(self, numbers: HostArray, labels: HostArray, weights: HostArray | None) -> HostArray | None:
        """Return each row's weight by its class: "balanced" gives all classes that occur the same sum of weights."""
        if self.class_weight is None:
            return None
        if self.class_weight == "balanced":
            sums = np.bincount(numbers, weights, minlength=len(self.classes_))
            by_class = sums.sum() / (np.count_nonzero(sums) * np.where(sums > 0, sums, 1.0))
        else:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
        return np.asarray(by_class[numbers])

    def _network(self, inputs: int) -> Network:
        classes = len(self.classes_)
        loss = "sigmoid_cross_entropy" if self.multilabel_ else "softmax_cross_entropy"
        network = self._usual_or_given(inputs, classes, loss)
        if self.multilabel_:
            fits = network.loss.target == "binary" and network.outputs == classes
        elif network.loss.target == "binary":
            fits = network.outputs == 1 and classes == 2
        else:
            fits = network.loss.target == "classes" and network.outputs == classes
        if not fits:
            wanted = (
                f"a binary loss and {classes} outputs for {classes} labels"
                if self.multilabel_
                else f"a loss on classes and {classes} outputs for {classes} classes"
            )
            raise ConfigError(
                f"BackpropClassifier requires a network with {wanted}, got the loss {network.loss.name!r} and "
                f"{count_of(network.outputs, 'output')}."
            )
        return network

    def _learned_features(self, rows: TrainingRows) -> data.Features:
        if self.multilabel_:
            return self._features(rows.x, None, rows.weights)
        table, names = data.as_table(rows.x), tuple(self.classes_.tolist())
        dataset = data.Dataset(
            "training rows", table, rows.y, feature_names=table.names, class_names=names, task="classification",
            source="fit", named=table.named,
        )  # fmt: skip
        return self._features(dataset, None, rows.weights)

    def _encoded_targets(self, features: data.Features, y: HostArray) -> HostArray:
        return y  # already class numbers

    def _begin(self, rows: TrainingRows, seed: int) -> Model:
        model = super()._begin(rows, seed)
        if not self.multilabel_:
            model.class_names = self.classes_.tolist()
        return model


def _product(one: HostArray | None, other: HostArray | None) -> HostArray | None:
    """Return the product of two weights of each row."""
    if one is None or other is None:
        return other if one is None else one
    return np.asarray(one * other)
