"""The base of both estimators: the parameters of the default network, a new or continued fit, rows to predict."""

from __future__ import annotations

import numbers
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bpengine import data
from bpengine.backend import ArrayLike, Backend, HostArray
from bpengine.errors import ConfigError, flag, number, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.layers import Layer
from bpengine.layers.dense import Dense
from bpengine.layers.hidden_blocks import hidden_blocks
from bpengine.model import Model
from bpengine.network import Network
from bpengine.penalties import L1, L2, Penalty
from bpengine.sklearn.column_rules import unlearned_features, with_usable_rows
from bpengine.sklearn.table_input import TrainingRows, dtype_of, rows_to_predict, training_rows
from bpengine.training.history import History
from bpengine.training.metrics.choice import Asked, listed
from bpengine.training.metrics.metric import Metric
from bpengine.training.optimizers import OPTIMIZERS, Optimizer, make_optimizer
from bpengine.training.stopping import NoImprovement, default_epochs

if TYPE_CHECKING:
    from sklearn.utils import Tags

AUTO_BATCH = 200  # rows of a step with batch_size="auto", as in scikit-learn


class BackpropLearner(BaseEstimator, ABC):
    """Base of both estimators; the subclasses define the targets."""

    _numeric: ClassVar[bool]  # whether targets are numbers
    model_: Model
    history_: History

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
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.l1 = l1
        self.l2 = l2
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.shuffle = shuffle
        self.standardize = standardize
        self.missing = missing
        self.categorical = categorical
        self.features = features
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.monitor = monitor
        self.metrics = metrics
        self.warm_start = warm_start
        self.random_state = random_state
        self.backend = backend
        self.precision = precision
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        """Declare that missing numbers are allowed, as long as a rule fills them."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = getattr(self.features, "missing", self.missing) == "fill"
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on X (rows, columns), numbers or a data frame, and y; return the estimator.

        sample_weight: (rows,), 0 leaves a row out, 2 counts it twice. With `warm_start` a second call continues where the
        previous one ended, with the optimizer's moments (as long as the optimizer is the same).
        """
        return self._learn(X, y, sample_weight, epochs=self.epochs, goes_on=self.warm_start and self._fitted)

    @property
    def _fitted(self) -> bool:
        return self.__sklearn_is_fitted__()

    def _learn(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        *,
        epochs: int | None,
        goes_on: bool,
        classes: HostArray | None = None,
    ) -> Self:
        """Train for some epochs, from the start or from the end of the last call; a failed call changes nothing."""
        with self._unless_it_fails(goes_on=goes_on):
            x, y = training_rows(self, x, y, reset=not goes_on, numeric=self._numeric)
            x, y, weights = without_left_out(x, y, sample_weight)
            usable = with_usable_rows(self, TrainingRows(x, y, weights, None))
            whole_rows = self._targets(usable, goes_on=goes_on, classes=classes)
            seed = self.model_.seed if goes_on else self._seed()
            rows, held_out = self._parts(whole_rows, seed)
            if goes_on:
                self._require_same_network()
                self._train(self.model_, rows, held_out, epochs, self.history_)
            else:
                self._train(self._begin(rows, seed), rows, held_out, epochs, None)
        return self

    @contextmanager
    def _unless_it_fails(self, *, goes_on: bool) -> Iterator[None]:
        """Restore the estimator when the block raises: its attributes, and the state of a continued model."""
        attributes, state = dict(vars(self)), self.model_.__getstate__() if goes_on else None
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(attributes)
            if state is not None:
                self.model_.__setstate__(state)
            raise

    def _partial(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, classes: HostArray | None = None
    ) -> Self:
        if self.early_stopping or listed(self.metrics):
            raise ConfigError(
                f"{type(self).__name__}.partial_fit requires early_stopping=False and no metrics: it is one pass over the "
                "rows, and holds none of them out."
            )
        return self._learn(x, y, sample_weight, epochs=1, goes_on=self._fitted, classes=classes)

    @abstractmethod
    def _targets(self, rows: TrainingRows, *, goes_on: bool, classes: HostArray | None) -> TrainingRows:
        """Return rows with targets for the model's Features; raise ValueError for targets that differ from earlier ones.

        classes: all classes of this and later calls, None for those that occur.
        """

    @abstractmethod
    def _network(self, inputs: int) -> Network:
        """Return the network for the seen targets; raise ConfigError for one that does not fit them."""

    @abstractmethod
    def _learned_features(self, rows: TrainingRows) -> data.Features:
        """Return the Features learned from the training rows."""

    def _require_same_network(self) -> None:
        network = self._network(self.model_.network.inputs)
        if network != self.model_.network:
            raise ConfigError(
                f"{type(self).__name__} requires the network of before to go on, got parameters of another one. "
                "Set warm_start=False and call fit to begin anew."
            )

    def _begin(self, rows: TrainingRows, seed: int) -> Model:
        """Return a new, untrained model."""
        features = self._learned_features(rows)
        network = self._network(features.inputs)
        if isinstance(self.backend, Backend) and self.precision is None:
            dtype = self.backend.dtype
        elif self.precision is None:
            dtype = dtype_of(rows.x)
        else:
            dtype = "float64" if self.precision == "float64" else "float32"
        how: dict[str, Any] = {"precision": self.precision, "device": self.device, "features": features}
        return Model(network, self.backend, dtype, seed, **how)

    def _usual_or_given(self, inputs: int, outputs: int, loss: str) -> Network:
        """Return the given network, or else the default one."""
        if self.network is not None:
            if not isinstance(self.network, Network):
                raise ConfigError(
                    f"{type(self).__name__} requires network to be a bp.Network, got {self.network!r}. "
                    "Layers alone are hidden_layer_sizes=(100,)."
                )
            return self.network
        sizes = self.hidden_layer_sizes
        units = np.atleast_1d(np.asarray(sizes, object)).tolist()  # a single number is one layer
        batch_norm = flag(self.batch_norm, type(self).__name__, "batch_norm")
        hidden = hidden_blocks(units, self.activation, self.dropout, batch_norm=batch_norm)
        penalties: list[Penalty] = [*([L1(self.l1)] if self.l1 != 0 else []), *([L2(self.l2)] if self.l2 != 0 else [])]
        return Network(inputs, [*hidden, Dense(outputs)], loss, penalties)

    def _encoded_targets(self, features: data.Features, y: HostArray) -> HostArray:
        """Return the targets of TrainingRows in the form that the network learns."""
        return features.encode_target(y)

    def _features(
        self, x: HostArray | data.Table | data.Dataset, y: HostArray | None, weights: HostArray | None
    ) -> data.Features:
        """Return the Features learned from the training rows; y are targets that are values.

        The rows may be those of a Dataset, which states the kind of the targets.
        """
        features = unlearned_features(self, data.as_table(x).names)
        features.fit(x, y, task=None if y is None else "regression", weights=weights)
        for warning in features.warnings():
            warnings.warn(localized(f"{type(self).__name__}: {warning}"), stacklevel=4)
        return features

    def _parts(self, rows: TrainingRows, seed: int) -> tuple[TrainingRows, TrainingRows | None]:
        """Return the rows to train on and those to validate with, if early stopping or metrics ask for them."""
        stops = flag(self.early_stopping, type(self).__name__, "early_stopping")
        if not stops and self.monitor != "loss":
            raise ConfigError(
                f"monitor={self.monitor!r} requires early_stopping=True, got False. Give both, or neither."
            )
        if not stops and not listed(self.metrics):
            return rows, None
        share = number(self.validation_fraction, type(self).__name__, "validation_fraction", low=0, above=True, below=1)
        training, held_out = train_test_split(
            np.arange(len(rows.y)), test_size=share, random_state=seed % 2**32, stratify=rows.groups
        )
        return rows.take(np.sort(training)), rows.take(np.sort(held_out))

    def _seed(self) -> int:
        """Return the seed of the model: `random_state` if it is a number, else a seed drawn from it."""
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _optimizer(self) -> Optimizer:
        if self.learning_rate is None:
            return make_optimizer(self.optimizer)
        if isinstance(self.optimizer, str) and self.optimizer in OPTIMIZERS:
            return OPTIMIZERS[self.optimizer](self.learning_rate)
        return replace(make_optimizer(self.optimizer), learning_rate=self.learning_rate)

    def _batch(self, rows: int) -> int | None:
        """Return the rows of a step, None for all of them."""
        size = AUTO_BATCH if self.batch_size == "auto" else self.batch_size
        if size is None:
            return None
        size = whole(size, type(self).__name__, "batch_size")
        return size if size < rows else None

    def _train(
        self, model: Model, rows: TrainingRows, held_out: TrainingRows | None, epochs: int | None, past: History | None
    ) -> None:
        """Train a model, continuing the History `past` if there is one, and keep both."""
        features, optimizer, batch = model.features, self._optimizer(), self._batch(len(rows.y))
        assert features is not None  # since `_begin`

        def encoded(part: TrainingRows) -> tuple[Any, ...]:
            weights = () if part.weights is None else (part.weights,)
            return features.encoded(part.x, model.dtype), self._encoded_targets(features, part.y), *weights

        x, y, *weights = encoded(rows)
        same_rule = past is not None and past.end is not None and past.end.rule == optimizer.rule
        history = model.fit(
            x,
            y,
            weights=weights[0] if weights else None,
            optimizer=optimizer,
            batch_size=batch,
            epochs=default_epochs(len(rows.y), batch or len(rows.y)) if epochs is None else epochs,
            shuffle=self.shuffle,
            validation=None if held_out is None else encoded(held_out),
            metrics=self.metrics,
            stop=NoImprovement(self.n_iter_no_change, self.tol, monitor=self.monitor) if self.early_stopping else (),
            progress=bool(self.verbose),
            continue_from=past if same_rule else None,
        )
        self._keep(model, history)

    def _keep(self, model: Model, history: History) -> None:
        if history.stopped_by == "interrupted":
            warnings.warn(
                localized(f"{type(self).__name__}: interrupted after {count_of(history.steps, 'step')}."),
                stacklevel=5,
            )
        self.model_, self.history_ = model, history
        self.loss_curve_ = [epoch.loss for epoch in history.epochs]
        self.n_iter_ = len(self.loss_curve_)
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else float("nan")
        self.n_outputs_ = model.network.outputs

    def _outputs(self, x: ArrayLike) -> HostArray:
        """Return the model's predictions (rows, outputs); raise NotFittedError before a fit."""
        check_is_fitted(self)
        return self.model_.predict(rows_to_predict(self, x))


def without_left_out(
    x: HostArray | data.Table, y: HostArray, sample_weight: ArrayLike | None
) -> tuple[HostArray | data.Table, HostArray, HostArray | None]:
    """Return rows, targets and weights without the rows of weight 0; weights that are all 1 become None.

    Raises ShapeError or DataError for weights that are not one number of at least 0 for every row, or are all 0.
    """
    if sample_weight is None:
        return x, y, None
    weights = np.asarray(data.check_weights(np.asarray(sample_weight, np.float64), len(y), dtype="float64"))
    rows = np.flatnonzero(weights)
    return x[rows], y[rows], None if (weights[rows] == 1).all() else weights[rows]
