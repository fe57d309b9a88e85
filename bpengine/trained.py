"""What explanations, figures and checks ask of a model; `bpengine.Model` answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from bpengine.backend import ArrayLike, Backend, HostArray
from bpengine.layers.layer import HostArrays
from bpengine.network import Network


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
    def features(self) -> Any:
        """What the columns of its tables are (`bp.Features`), None where it takes numbers alone."""

    @property
    def class_names(self) -> Sequence[Any] | None:
        """The names of the classes, None where there are none."""

    def predict(self, x: ArrayLike) -> HostArray:
        """Return the predictions for x (rows, inputs)."""

    def trace(
        self, x: ArrayLike, y: ArrayLike | None, weights: ArrayLike | None = None, *, optimizer: Any = "sgd"
    ) -> Any:
        """Return the trace of one training step (`bpengine.explain.Trace`)."""

    def loss_and_gradients(
        self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None, *, training: bool = True
    ) -> tuple[float, HostArrays]:
        """Return the loss over all rows and its gradient for every parameter."""

    def to(self, backend: str | Backend) -> Any:
        """Return a copy on another backend, whose parameters may be set."""


def input_names(model: TrainedNetwork, otherwise: Sequence[str]) -> Sequence[str]:
    """Return the names of a network's inputs that its Features give, or others where it has none."""
    return otherwise if model.features is None else tuple(model.features.input_names)
