"""Inputs: training and evaluation data checked against a network, before anything is touched."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bpengine import data
from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.network import Network


class Rows(NamedTuple):
    """Checked arrays of equal length, still on the host: x (rows, inputs), target or None, weights (rows,) or None."""

    x: HostArray
    target: Any
    weights: Any

    @property
    def arrays(self) -> tuple[HostArray, ...]:
        """The arrays that are there, in the order a training step takes them."""
        return tuple(a for a in self if a is not None)

    def dtypes(self, dtype: str) -> tuple[str, ...]:
        """Return the dtypes they are brought to the device in: labels stay whole numbers."""
        return tuple(
            "int32" if a is self.target and a.dtype.kind in "iu" and a.ndim == 1 else dtype for a in self.arrays
        )


def check_rows(network: Network, x: Any, y: Any, weights: Any = None, *, who: str = "x") -> Rows:
    """Return the data ready for the network; raise ShapeError or DataError naming what is wrong and where."""
    features = data.check_features(x, network.inputs, what=who)
    target = check_target(network, y)
    data.check_same_length(features, target)
    if weights is not None and not network.loss.weighted:
        raise ConfigError(
            f"loss {network.loss.name!r} takes no row weights: its forward is forward(xp, y, target). Give it a fourth "
            "argument, weights (rows,) or None, or leave the weights out."
        )
    return Rows(features, target, None if weights is None else data.check_weights(weights, len(features)))


def check_target(network: Network, y: Any) -> HostArray:
    """Return targets of the kind that the network's loss is compared with."""
    kind = network.loss.target
    if kind == "classes":
        return data.check_class_labels(y, network.outputs)
    if kind == "binary":
        return data.check_binary_targets(y, network.outputs)
    return data.check_targets(y, network.outputs)


def scores(network: Network, predicted: HostArray, target: HostArray) -> dict[str, float]:
    """Return sums over the rows, to be divided by their number: "accuracy" for classes, "squared_error" for values.

    A row of binary targets counts as right when every output is on the right side of 1/2.
    """
    kind = network.loss.target
    if kind == "classes":
        labels = target if target.ndim == 1 else np.argmax(target, axis=1)
        return {"accuracy": float(np.sum(np.argmax(predicted, axis=1) == labels))}
    if kind == "binary":
        return {"accuracy": float(np.sum(np.all((predicted > 0.5) == (target > 0.5), axis=1)))}
    return {"squared_error": float(np.sum(np.mean((predicted.astype(float) - target) ** 2, axis=1)))}
