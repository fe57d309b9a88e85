"""Rows of data checked against a network before training or evaluation, and the scores of predictions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bpengine import data
from bpengine.backend import HostArray
from bpengine.errors import ConfigError, DataError
from bpengine.losses import CustomLoss
from bpengine.network import Network
from bpengine.streams import stream
from bpengine.training.reduction import require_reduction

ROWS = 4  # a user's loss is run on so many to see whether it is a mean


class Rows(NamedTuple):
    """Checked arrays of equal length, still on the host: x (rows, inputs), target or None, weights (rows,) or None."""

    x: HostArray
    target: Any
    weights: Any

    @property
    def arrays(self) -> tuple[HostArray, ...]:
        """The arrays that are not None, in the order a training step takes them."""
        return tuple(a for a in self if a is not None)

    def dtypes(self, dtype: str) -> tuple[str, ...]:
        """Return the dtypes of `arrays` on the device: labels stay whole numbers."""
        labels = self.target is not None and self.target.dtype.kind in "iu" and self.target.ndim == 1
        dtypes = (dtype, "int32" if labels else dtype, dtype)
        return tuple(kind for array, kind in zip(self, dtypes, strict=True) if array is not None)


def check_rows(network: Network, x: Any, y: Any, weights: Any = None, *, dtype: str, who: str = "x") -> Rows:
    """Return the data ready for the network in `dtype`, the one they will be computed in.

    Raises ShapeError or DataError naming what is wrong and where.
    """
    features = data.check_features(x, network.inputs, what=who, dtype=dtype)
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


def _require_reduction(network: Network, target: HostArray) -> None:
    """Raise ConfigError for a user's loss that is a sum and says mean: losses of parts of a batch would add up wrongly."""
    some = np.asarray(target[:ROWS])
    y = stream("own loss", 0).uniform(0.1, 0.9, (len(some), network.outputs))
    assert isinstance(network.loss, CustomLoss)
    with np.errstate(all="ignore"):
        require_reduction(network.loss, y, some if some.ndim == 1 else some.astype(float))


def classes_of(network: Network) -> int:
    """Return the number of classes that may have names: a single binary output stands for two."""
    return 2 if network.loss.target == "binary" and network.outputs == 1 else network.outputs


def check_target(network: Network, y: Any, dtype: str) -> HostArray:
    """Return targets of the kind that the network's loss takes; raise DataError for numbers that `dtype` cannot hold."""
    kind = network.loss.target
    if kind == "classes":
        return data.check_class_labels(y, network.outputs)
    if kind == "binary":
        return data.check_binary_targets(y, network.outputs)
    return data.check_targets(y, network.outputs, dtype=dtype)


def scores(
    network: Network, predicted: HostArray, target: HostArray, weights: HostArray | None = None
) -> dict[str, float]:
    """Return sums over the rows: "accuracy" for classes, "squared_error" for values.

    To be divided by the number of rows or, where rows have weights (rows,), by the sum of these. A row of binary targets
    counts as right when every output is on the right side of 1/2.
    """
    kind = network.loss.target
    if kind == "classes":
        labels = target if target.ndim == 1 else np.argmax(target, axis=1)
        return {"accuracy": _total(np.argmax(predicted, axis=1) == labels, weights)}
    if kind == "binary":
        return {"accuracy": _total(np.all((predicted > 0.5) == (target > 0.5), axis=1), weights)}
    return {"squared_error": _total(np.mean((predicted.astype(float) - target) ** 2, axis=1), weights)}


def _total(values: HostArray, weights: HostArray | None) -> float:
    """Return the sum of values (rows,), each times its weight, in float64."""
    return float(np.sum(values if weights is None else values * weights.astype(float), dtype=float))


def held(what: str, value: Any, dtype: str) -> HostArray:
    """Return numbers as an array of a model's dtype.

    Raises DataError naming the first that is not finite there: "`what` requires finite numbers that float32 can hold, ...".
    """
    numbers = data.real_array(value, what)
    with np.errstate(all="ignore"):
        array: HostArray = np.asarray(numbers, dtype=dtype)
    if (bad := ~np.isfinite(array)).any():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), array.shape))
        hint = "Use dtype='float64', or smaller numbers." if np.isfinite(numbers[where]) else "Give other numbers."
        raise DataError(
            f"{what} requires finite numbers that {dtype} can hold, got {numbers[where]} at {list(where)}. {hint}"
        )
    return array
