"""Options for networks, shared by several commands, and the network, model and optimizer made from them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

import bpengine as bp
from bpengine.backend import BLAS
from bpengine.cli.size_limits import require_memory
from bpengine.cli.whole_numbers import whole
from bpengine.data import Dataset
from bpengine.errors import ConfigError, unknown
from bpengine.layers import Layer
from bpengine.layers.activation import ACTIVATIONS
from bpengine.layers.hidden_blocks import hidden_blocks
from bpengine.losses import LOSSES
from bpengine.training import OPTIMIZERS, Optimizer

Layers = Annotated[str, typer.Option(metavar="UNITS", help="Hidden layers, first to last; '' for none.")]
Activation = Annotated[str, typer.Option(metavar="NAME", help=f"Of hidden layers: {', '.join(ACTIVATIONS)}.")]
LossName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"One of {', '.join(LOSSES)}.  [default: softmax_cross_entropy for classes, "
        "mean_squared_error for values]",
    ),
]
OutputActivation = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of the last layer.  [default: what the loss asks for]"),
]
BackendName = Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(bp.backend_names())}.")]
Dtype = Annotated[str, typer.Option(metavar="NAME", help="float32 or float64.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of the NumPy backend's matrix products; 1 where the cores have other work.  [default: BLAS's own]",
    ),
]
Blas = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Library of the NumPy backend's matrix products: {', '.join(BLAS)}.  [default: NumPy's own]",
    ),
]
OptimizerName = Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(OPTIMIZERS)}.")]
LearningRate = Annotated[float, typer.Option(help="Step size of the optimizer.")]
LOSS_OF_TASK = {"classification": "softmax_cross_entropy", "regression": "mean_squared_error"}


def units(text: str) -> list[int]:
    """Return the units of the hidden layers from "64,32"; nothing for an empty text."""
    try:
        return [whole(part, "--layers") for part in text.split(",")] if text.strip() else []
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError(
            f"--layers requires whole numbers separated by commas, such as 64,32, got {text!r}."
        ) from None


def hidden_layers(
    text: str, activation: str, dropout: float, *, batch_norm: bool = False, bias: bool = True
) -> list[Layer]:
    """Return the hidden layers, each with normalization and dropout if requested."""
    counts = units(text)
    if dropout != 0 and not counts:
        raise ConfigError(f"--dropout {dropout} requires hidden layers to drop from, got --layers ''.")
    if batch_norm and not counts:
        raise ConfigError("--batch-norm requires hidden layers to normalise, got --layers ''.")
    return hidden_blocks(counts, activation, dropout, batch_norm=batch_norm, bias=bias)


class LastLayer(NamedTuple):
    """The last layer's units and activation, and the loss on it."""

    outputs: int
    activation: str
    loss: bp.Loss

    @property
    def open(self) -> bool:
        """Whether its outputs are values without limits, so that targets may be standardised."""
        return self.loss.target == "values" and self.activation == "identity"


def last_layer(data: Dataset, loss: bp.Loss | None, activation: str | None = None) -> LastLayer:
    """Return the last layer for a data set; with a binary loss, two classes have a single output."""
    loss = loss or bp.Loss(LOSS_OF_TASK[data.task])
    outputs = 1 if loss.target == "binary" and data.classes == 2 else data.outputs
    last = "sigmoid" if loss.kernel.output == "probabilities" else "identity"
    if last == "sigmoid" and loss.target == "classes":
        last = "softmax"
    return LastLayer(outputs, last if activation is None else activation, loss)


def network(
    data: Dataset,
    hidden: list[Layer],
    last: LastLayer,
    *,
    inputs: int | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    bias: bool = True,
) -> bp.Network:
    """Return the network for a data set; `inputs` is by default the set's number of features."""
    penalties = [*([bp.L1(l1)] if l1 != 0 else []), *([bp.L2(l2)] if l2 != 0 else [])]
    layers = [*hidden, bp.Dense(last.outputs, last.activation, bias)]
    return bp.Network(inputs or data.features, layers, last.loss, penalties)


def fresh_network(data: Dataset, layers: str, activation: str, loss: bp.Loss | None) -> bp.Network:
    """Return a network for a data set, not trained, without dropout and penalties."""
    return network(data, hidden_layers(layers, activation, 0.0), last_layer(data, loss))


def model(
    network: bp.Network,
    backend: str,
    dtype: str,
    seed: int,
    *,
    copies: int = 2,
    threads: int | None = None,
    blas: str | None = None,
) -> bp.Model:
    """Return an untrained model; raise ConfigError where `copies` of its parameters do not fit into memory."""
    require_memory(network, dtype, copies=copies)
    if threads is None and blas is None:
        return bp.Model(network, backend, dtype, seed)
    return bp.Model(network, bp.get_backend(backend, precision=dtype, threads=threads, blas=blas), dtype, seed)


def optimizer(name: str, learning_rate: float) -> Optimizer:
    """Return an optimizer by name; raise ConfigError with the nearest names."""
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name](learning_rate)
