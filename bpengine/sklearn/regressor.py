"""BackpropRegressor: a network that predicts values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import RegressorMixin

from bpengine import data
from bpengine.backend import ArrayLike, Backend, HostArray
from bpengine.errors import ConfigError
from bpengine.i18n.counted_nouns import count_of
from bpengine.layers import Layer
from bpengine.network import Network
from bpengine.sklearn.learner import BackpropLearner
from bpengine.sklearn.table_input import TrainingRows
from bpengine.training.metrics.choice import Asked
from bpengine.training.metrics.metric import Metric
from bpengine.training.optimizers import Optimizer

if TYPE_CHECKING:
    from sklearn.utils import Tags


class BackpropRegressor(RegressorMixin, BackpropLearner):
    """A network that predicts one value or several, for scikit-learn.

    The parameters are those of `BackpropClassifier`, without `class_weight`. The default network has one output for each value
    and minimises the mean squared error; a given network needs a loss on values. With `standardize` the targets are
    standardised as well, and predictions are in their own unit; `loss_curve_` is then on the standardised scale.

    Attributes after `fit`: `model_`, `history_`, `loss_curve_`, `loss_`, `n_iter_`, `n_outputs_`, `n_features_in_`,
    `feature_names_in_`, as those of `BackpropClassifier`.

    >>> from sklearn.datasets import load_diabetes
    >>> from bpengine.sklearn import BackpropRegressor
    >>> x, y = load_diabetes(return_X_y=True)
    >>> regressor = BackpropRegressor(hidden_layer_sizes=(20,), epochs=50, learning_rate=0.01, random_state=0)
    >>> bool(regressor.fit(x, y).score(x, y) > 0.5)
    True
    >>> regressor.predict(x[:3]).shape
    (3,)
    """

    _numeric = True

    def __init__(  # defined here for its class name, which Python's error for an unknown parameter contains
        self,
        network: Network | None = None,
        *,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Layer = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        l1: float = 0.0,
        l2: float = 1e-4,
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

    def __sklearn_tags__(self) -> Tags:
        """Declare that several outputs are possible."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one more epoch on these rows, with the optimizer's earlier moments; return the estimator.

        The first call learns the scale of inputs and targets from its rows, which should be like those of later calls.
        """
        return self._partial(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> HostArray:
        """Return the values (rows,) for X (rows, columns), or (rows, outputs) where there are several."""
        values = self._outputs(X)
        return values[:, 0] if values.shape[1] == 1 else values

    def _targets(self, rows: TrainingRows, *, goes_on: bool, classes: HostArray | None) -> TrainingRows:
        wide = np.asarray(rows.y, np.float64).reshape(len(rows.y), -1)
        if goes_on and wide.shape[1] != self.n_outputs_:
            raise ConfigError(
                f"BackpropRegressor requires {count_of(self.n_outputs_, 'output')} as before to go on, got y "
                f"with {wide.shape[1]}."
            )
        self.n_outputs_ = wide.shape[1]
        return rows._replace(y=wide)

    def _network(self, inputs: int) -> Network:
        network = self._usual_or_given(inputs, self.n_outputs_, "mean_squared_error")
        if network.loss.target != "values" or network.outputs != self.n_outputs_:
            raise ConfigError(
                f"BackpropRegressor requires a network with a loss on values and "
                f"{count_of(self.n_outputs_, 'output')} for this y, got "
                f"the loss {network.loss.name!r} and {count_of(network.outputs, 'output')}."
            )
        return network

    def _learned_features(self, rows: TrainingRows) -> data.Features:
        return self._features(rows.x, rows.y, rows.weights)
