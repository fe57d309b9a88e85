"""What explanations, figures and checks ask of a model; `bpengine.Model` answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from bpengine.backend import ArrayLike, Backend, HostArray
from bpengine.layers.layer import HostArrays
from bpengine.network import Network

# What packages above this one define, which it cannot import:
TableFeatures: TypeAlias = Any  # bpengine.data.Features
TracedStep: TypeAlias = Any  # bpengine.explain.Trace
OptimizerLike: TypeAlias = Any  # bpengine.training.Optimizer, or its name


class TrainedNetwork(Protocol):
    """A network with parameters on a backend."""

    network: Network
    backend: Backend
    seed: int

    @property
    def dtype(self) -> str:
        """The dtype of the parameters."""

    @property
    def parameters(self) -> HostArrays:
        """The parameters by name, as arrays of their own."""

    @property
    def running(self) -> HostArrays:
        """The running statistics by name."""

    @property
    def features(self) -> TableFeatures | None:
        """What the columns of its tables are (`bp.Features`), None where it takes numbers alone."""

    @property
    def class_names(self) -> Sequence[Any] | None:
        """The names of the classes, None where there are none."""

    def predict(self, x: ArrayLike) -> HostArray:
        """Return the predictions for x (rows, inputs)."""

    def trace(
        self, x: ArrayLike, y: ArrayLike | None, weights: ArrayLike | None = None, *, optimizer: OptimizerLike = "sgd"
    ) -> TracedStep:
        """Return the trace of one training step (`bpengine.explain.Trace`)."""

    def loss_and_gradients(
        self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None, *, training: bool = True
    ) -> tuple[float, HostArrays]:
        """Return the loss over all rows and its gradient for every parameter."""

    def to(self, backend: str | Backend) -> SettableNetwork:
        """Return a copy on another backend, whose parameters may be set."""


class SettableNetwork(TrainedNetwork, Protocol):
    """A network whose parameters and running statistics may be set."""

    @property
    def parameters(self) -> HostArrays:
        """The parameters by name."""

    @parameters.setter
    def parameters(self, values: Mapping[str, ArrayLike]) -> None:
        """Set some of the parameters."""


def input_names(model: TrainedNetwork, otherwise: Sequence[str]) -> Sequence[str]:
    """Return the names of a network's inputs that its Features give, or others where it has none."""
    return otherwise if model.features is None else tuple(model.features.input_names)
