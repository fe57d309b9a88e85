"""Rows of data checked against a network before training or evaluation, and the scores of predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from bpengine import data
from bpengine.backend import ArrayLike, HostArray
from bpengine.errors import ConfigError, DataError, ShapeError
from bpengine.losses import CustomLoss
from bpengine.network import Network
from bpengine.streams import stream
from bpengine.system.quiet import Quiet
from bpengine.training.reduction import require_reduction

if TYPE_CHECKING:
    from bpengine.data.features.target_kinds import ValueTarget

ROOTS = {"squared_error": "rmse", "standardised": "rmse_standardised"}  # the name of the root of a mean
PLAIN = (np.ndarray, list, tuple)  # rows that are numbers alone, for which nothing of tables is loaded
ROWS = 4  # rows on which a user's loss is tested for being a mean


class Rows(NamedTuple):
    """Checked arrays of equal length, still on the host: x (rows, inputs), target or None, weights (rows,) or None."""

    x: HostArray
    target: Any
    weights: Any

    def part(self, part: slice) -> Rows:
        """Return some of the rows, without copying them."""
        return Rows._make(None if array is None else array[part] for array in self)

    @property
    def arrays(self) -> tuple[HostArray, ...]:
        """The arrays that are not None, in the order a training step takes them."""
        return tuple(a for a in self if a is not None)

    def dtypes(self, dtype: str) -> tuple[str, ...]:
        """Return the dtypes of `arrays` on the device: labels stay whole numbers."""
        labels = self.target is not None and self.target.dtype.kind in "iu" and self.target.ndim == 1
        dtypes = (dtype, "int32" if labels else dtype, dtype)
        return tuple(kind for array, kind in zip(self, dtypes, strict=True) if array is not None)


def check_rows(
    network: Network,
    x: ArrayLike,
    y: ArrayLike | None,
    weights: ArrayLike | None = None,
    *,
    dtype: str,
    who: str = "x",
    part: tuple[int, int] = (0, 1),
) -> Rows:
    """Return the data ready for the network in `dtype`, the one they will be computed in.

    part: (k, n) reads the k-th of n parts of x alone.
    Raises ShapeError or DataError naming what is wrong and where.
    """
    features = data.check_features(x, network.inputs, what=who, dtype=dtype, part=part)
    target = check_target(network, y, dtype)
    data.check_same_length(features, target)
    if isinstance(network.loss, CustomLoss):
        _require_reduction(network, target)
    if weights is None:
        return Rows(features, target, None)
    if not network.loss.weighted:
        raise ConfigError(
            f"loss {network.loss.name!r} takes no row weights: its forward is forward(xp, y, target). Give it a fourth "
            "argument, weights (rows,) or None, or leave the weights out."
        )
    return Rows(features, target, data.check_weights(weights, len(features), dtype=dtype, outputs=network.outputs))


class FeatureModel(Protocol):
    """The attributes of a model that its rows are prepared by."""

    network: Network

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""

    @property
    def features(self) -> data.Features | None:
        """The Features of its columns, None where it takes numbers alone."""


def model_rows(model: FeatureModel, x: ArrayLike, y: ArrayLike | None, weights: ArrayLike | None = None) -> Rows:
    """Return the data ready for a model's network: encoded by its Features, and checked.

    x: numbers (rows, inputs); for a model with Features, rows of a table, whose targets y are in their own unit, classes by
    name, or named by a column of x.
    Raises ShapeError or DataError naming what is wrong and where.
    """
    return check_rows(model.network, *encoded_rows(model.features, x, y, model.dtype), weights, dtype=model.dtype)


def encoded_rows(
    features: data.Features | None, x: ArrayLike, y: ArrayLike | None, dtype: str
) -> tuple[ArrayLike, ArrayLike | None]:
    """Return inputs and targets as the network takes them, unchanged without Features or if encoded already."""
    inputs = encoded_inputs(features, x, dtype)
    return inputs, y if features is None or isinstance(x, data.Encoded) else features.encode_target(y, x)


def encoded_validation(
    features: data.Features | None, validation: Sequence[ArrayLike] | None, dtype: str
) -> Sequence[ArrayLike | None] | None:
    """Return validation rows (x, y) or (x, y, weights) with x and y as the network takes them."""
    if features is None or not isinstance(validation, (tuple, list)) or len(validation) < 2:
        return validation
    x, y, *weights = validation
    return (*encoded_rows(features, x, y, dtype), *weights)


def encoded_inputs(features: data.Features | None, x: ArrayLike, dtype: str) -> ArrayLike:
    """Return the network's inputs for rows of a table, or x itself where it is numbers and there are no Features."""
    if features is None and isinstance(x, PLAIN):
        return x
    if isinstance(x, data.Encoded):
        return x.x
    if features is not None:
        return features.transform(x, dtype)
    return data.as_table(x).matrix() if data.is_table_like(x) else x


def own_features(network: Network, x: ArrayLike, y: ArrayLike) -> data.Features | None:
    """Return Features for a data frame passed to a model without any: columns unchanged, by name; None for other rows.

    Raises ShapeError when the network has not as many inputs.
    """
    if isinstance(x, PLAIN) or not data.is_table_like(x):
        return None
    plain = data.Features(scale="none", missing="refuse", scale_target=False)
    named = isinstance(y, str)
    features = plain.fit(x, y if named else None)
    if features.classes is None and named:
        features = plain.fit(data.as_table(x).without([str(y)]))
    require_fit(network, features)
    return features


def require_fit(network: Network, features: data.Features) -> None:
    """Raise ShapeError or ConfigError unless a network has the inputs and outputs that Features ask for."""
    if not isinstance(features, data.Features) or not features.columns:
        raise ConfigError(f"a model requires bp.Features that were fitted, got {features!r}. Call fit(x, y) before.")
    if features.inputs != network.inputs:
        names = ", ".join(features.input_names[:8])
        raise ShapeError(
            f"the features require a network of {features.inputs} inputs ({names}{', ...' * (features.inputs > 8)}), got one "
            f"of {network.inputs}. Make it with bp.Network(features.inputs, ...)."
        )
    kind = network.loss.target
    if features.classes is not None:
        if kind != "values" and len(features.classes) != classes_of(network):
            raise ShapeError(
                f"the features have {len(features.classes)} classes, the network has outputs for {classes_of(network)}. "
                "Make its last layer with features.outputs units."
            )
    elif unit_of(features) is not None and kind != "values":
        raise ConfigError(
            f"loss {network.loss.name!r} takes {kind}, the features standardise values. Use a loss of values, or "
            "Features(scale_target=False)."
        )


def unit_of(features: data.Features | None) -> HostArray | None:
    """Return the unit of each output (outputs,) where targets are standardised, else None."""
    target = _scaled_target(features)
    return None if target is None else np.array(target.scale)


def decoder_of(features: data.Features | None) -> Callable[[HostArray], HostArray] | None:
    """Return the function that converts standardised values (rows, outputs) to their own unit, None without scaling."""
    target = _scaled_target(features)
    return None if target is None else target.decode


def _scaled_target(features: data.Features | None) -> ValueTarget | None:
    """Return what features know of targets that they standardise, None where they do not."""
    if features is None:
        return None
    from bpengine.data.features.target_kinds import ValueTarget  # loaded with the features, and not without

    return features.target if isinstance(features.target, ValueTarget) and features.target.scaled else None


def _require_reduction(network: Network, target: HostArray) -> None:
    """Raise ConfigError for a loss that is declared a mean but is a sum: losses of parts of a batch would add up wrongly."""
    some = np.asarray(target[:ROWS])
    y = stream("own loss", 0).uniform(0.1, 0.9, (len(some), network.outputs))
    assert isinstance(network.loss, CustomLoss)
    with Quiet():
        require_reduction(network.loss, y, some if some.ndim == 1 else some.astype(float))


def classes_of(network: Network) -> int:
    """Return the number of classes that may have names: a single binary output stands for two."""
    return 2 if network.loss.target == "binary" and network.outputs == 1 else network.outputs


def check_target(network: Network, y: ArrayLike | None, dtype: str) -> HostArray:
    """Return targets of the kind that the network's loss takes; raise DataError for numbers that `dtype` cannot hold."""
    kind = network.loss.target
    if kind == "classes":
        return data.check_class_labels(y, network.outputs)
    if kind == "binary":
        return data.check_binary_targets(y, network.outputs)
    return data.check_targets(y, network.outputs, dtype=dtype)


def evaluated_names(network: Network, unit: HostArray | None) -> tuple[str, ...]:
    """Return the names of the scores that every evaluation gives, in their order."""
    return ("loss", *(ROOTS.get(name, name) for name in score_names(network, unit)))


def score_names(network: Network, unit: HostArray | None) -> tuple[str, ...]:
    """Return the names of the sums that `scores` gives, in their order."""
    if network.loss.target != "values":
        return ("accuracy",)
    return ("squared_error",) if unit is None else ("squared_error", "standardised")


def scores(
    network: Network,
    predicted: HostArray,
    target: HostArray,
    weights: HostArray | None = None,
    unit: HostArray | None = None,
) -> dict[str, float]:
    """Return sums over the rows: "accuracy" for classes, "squared_error" for values.

    unit (outputs,): of values that were standardised; "squared_error" is then in their own unit, "standardised" as learned.

    To be divided by the number of rows or, where rows have weights (rows,), by the sum of these. A row of binary targets
    counts as right when every output is on the right side of 1/2.
    """
    kind = network.loss.target
    if kind == "classes":
        labels = target if target.ndim == 1 else np.argmax(target, axis=1)
        return {"accuracy": _total(np.argmax(predicted, axis=1) == labels, weights)}
    if kind == "binary":
        return {"accuracy": _total(np.all((predicted > 0.5) == (target > 0.5), axis=1), weights)}
    error = predicted.astype(float) - target
    sums = {"squared_error": _total(np.mean((error if unit is None else error * unit) ** 2, axis=1), weights)}
    return sums if unit is None else {**sums, "standardised": _total(np.mean(error**2, axis=1), weights)}


def _total(values: HostArray, weights: HostArray | None) -> float:
    """Return the sum of values (rows,), each times its weight, in float64."""
    return float(np.sum(values if weights is None else values * weights.astype(float), dtype=float))


def held(what: str, value: object, dtype: str) -> HostArray:
    """Return numbers as an array of a model's dtype.

    Raises DataError naming the first that is not finite there: "`what` requires finite numbers that float32 can hold, ...".
    """
    numbers = data.real_array(value, what)
    with Quiet():
        array: HostArray = np.asarray(numbers, dtype=dtype)
    if (bad := ~np.isfinite(array)).any():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), array.shape))
        hint = "Use dtype='float64', or smaller numbers." if np.isfinite(numbers[where]) else "Give other numbers."
        raise DataError(
            f"{what} requires finite numbers that {dtype} can hold, got {numbers[where]} at {list(where)}. {hint}"
        )
    return array
