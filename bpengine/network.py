"""Network: layers and a loss, a frozen description; forward, loss and gradients as pure functions of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bpengine.errors import ConfigError, whole
from bpengine.kernels._kernel import Array
from bpengine.kernels._own import Pair
from bpengine.layers import LAYERS, CustomActivation, Residual
from bpengine.layers.activation import Activation
from bpengine.layers.chain import (
    backward_chain,
    check_layers,
    forward_chain,
    init_chain,
    init_running_chain,
    shapes_chain,
    sizes,
)
from bpengine.layers.dense import Dense
from bpengine.layers.layer import Arrays, HostArrays, Layer, Run, Shapes
from bpengine.layers.residual import neediest
from bpengine.layers.sharing import Shared, gather, owned, shared_places, spread
from bpengine.losses import Loss, make_loss
from bpengine.ops import Ops, in_scope
from bpengine.output.rich_form import RichForm
from bpengine.penalties import Penalty
from bpengine.streams import stream

if TYPE_CHECKING:
    from bpengine.summary.network_summary import Summary

INFERENCE = Run(training=False)


class Forward(NamedTuple):
    """What a forward pass leaves: raw outputs (batch, outputs), one residual per layer, new running statistics."""

    y: Array
    residuals: list[Any]
    running: Arrays


@dataclass(frozen=True, init=False)
class Network(RichForm):
    """A feed-forward network: `inputs` features, `layers` in order, a `loss`, and `penalties` on the weights.

    The same layer object in several places has one set of parameters, named by its first place; its gradient is the sum over
    all places, and a penalty counts once. (Two equal layer objects share nothing.) A normalization has separate running
    statistics for each place, since each place has other inputs. `shared` lists which places share parameters.

    Raises ConfigError for unknown names, and for a loss that does not fit the last activation (probabilities where
    logits are required, or the other way round).

    >>> network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1, "sigmoid")], "binary_cross_entropy")
    >>> network.sizes
    [2, 3, 1]
    """

    inputs: int
    layers: tuple[Layer, ...]
    loss: Loss
    penalties: tuple[Penalty, ...]
    shared: Shared = field(repr=False)

    def __init__(
        self,
        inputs: int,
        layers: Layer | Sequence[Layer],
        loss: str | Loss | Pair,
        penalties: Penalty | Sequence[Penalty] = (),
    ) -> None:
        penalties = tuple(penalties) if isinstance(penalties, Iterable) else (penalties,)
        for penalty in penalties:
            if not isinstance(penalty, Penalty):
                raise ConfigError(f"Network requires penalties such as bp.L2(1e-4), got {penalty!r}.")
        object.__setattr__(self, "inputs", whole(inputs, "Network", "the number of inputs"))
        object.__setattr__(self, "layers", check_layers(layers, "Network"))
        object.__setattr__(self, "loss", make_loss(loss))
        object.__setattr__(self, "penalties", penalties)
        sizes(self.layers, self.inputs)  # a layer may refuse the number of features that reaches it
        object.__setattr__(self, "shared", shared_places(self.layers, self.inputs))
        _check_fit(self.loss, last_activation(self.layers))

    @property
    def sizes(self) -> list[int]:
        """The number of features before each layer and after the last.

        >>> bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error").sizes
        [2, 3, 1]
        """
        return sizes(self.layers, self.inputs)

    @property
    def outputs(self) -> int:
        """The number of outputs.

        >>> bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error").outputs
        1
        """
        return self.sizes[-1]

    def summary(self, batch_size: int = 32, dtype: str = "float32") -> Summary:
        """Return layers, shapes, parameters, operations and memory of a training step on `batch_size` rows.

        Raises ConfigError for a batch that is smaller than a layer needs, and for another dtype than float32 and float64.

        >>> bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error").summary().parameters
        13
        """
        from bpengine.summary.network_summary import summarize  # not at the top: no fit needs it

        return summarize(self, batch_size, dtype)

    def __str__(self) -> str:
        return str(self.summary(self.smallest_batch(Run(training=True))))

    def _html_parts(self) -> Iterable[str]:
        return self.summary()._html_parts()

    def init(self, seed: int) -> tuple[HostArrays, HostArrays]:
        """Return initial parameters ("0.weight", ...) and running statistics, in float64, the same on every backend.

        >>> params, running = bp.Network(2, bp.Dense(1), "mean_squared_error").init(seed=0)
        >>> params["0.weight"].shape
        (2, 1)
        """
        streams = [stream("initial weights", seed, i) for i in range(len(self.layers))]
        params = owned(self.shared, init_chain(self.layers, streams, self.inputs, set()))
        return params, init_running_chain(self.layers, self.inputs)

    def shapes(self) -> Shapes:
        """Return the shapes of parameters and running statistics, named as `init` names them; no values are drawn.

        A custom layer without `shapes` makes its arrays for this.

        >>> bp.Network(2, bp.Dense(1), "mean_squared_error").shapes().params
        {'0.weight': (2, 1), '0.bias': (1,)}
        """
        shapes = shapes_chain(self.layers, self.inputs)
        return Shapes(owned(self.shared, shapes.params), shapes.running)

    def smallest_batch(self, run: Run) -> int:
        """Return the smallest number of rows of a step: 2 with a BatchNorm layer that trains, else 1.

        >>> network = bp.Network(2, [bp.Dense(1), bp.BatchNorm()], "mean_squared_error")
        >>> network.smallest_batch(bp.layers.Run(training=True, counter=None))
        2
        """
        return neediest(self.layers, run)[0]

    def spread(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters under the names of all places that use them, as the layers at these places get them.

        >>> first = bp.Dense(2)
        >>> network = bp.Network(2, [first, first], "mean_squared_error")
        >>> sorted(network.spread(network.init(seed=0)[0]))
        ['0.bias', '0.weight', '1.bias', '1.weight']
        """
        return spread(self.shared, params) if self.shared else dict(params)

    def names(self, params: Iterable[str]) -> dict[str, str]:
        """Return every name of each parameter, one for each place that uses it, with its first name.

        >>> first = bp.Dense(2)
        >>> network = bp.Network(2, [first, first], "mean_squared_error")
        >>> network.names(["0.weight", "0.bias"])["1.weight"]
        '0.weight'
        """
        return self.spread({name: name for name in params})

    def penalized(self) -> dict[str, str | None]:
        """Return the parameters that penalties apply to, each with its bias row: None, "first" or "last".

        >>> bp.Network(2, bp.Dense(1), "mean_squared_error").penalized()
        {'0.weight': None}
        """
        rows = ((i, name, row) for i, layer in enumerate(self.layers) for name, row in layer.penalized().items())
        return owned(self.shared, {f"{i}.{name}": row for i, name, row in rows})

    @in_scope
    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run = INFERENCE) -> Forward:
        """Run the layers on x (batch, inputs).

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> network.forward(ops, params, running, np.array([[3.0]])).y
        array([[6.]])
        """
        return Forward(*forward_chain(self.layers, ops, self.spread(params), running, x, run))

    @in_scope
    def data_loss(self, ops: Ops, y: Array, target: Array, weights: Array | None = None) -> tuple[Array, Any]:
        """Return the loss of raw outputs y against the target, without penalties, and its residual.

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> loss, residual = network.data_loss(ops, np.array([[6.0]]), np.array([[5.0]]))
        >>> float(loss)
        1.0
        """
        if self.loss.smoothing:
            how = {"smoothing": self.loss.smoothing, "binary": self.loss.target == "binary"}
            target = ops.at("loss").smooth_labels(target, y, **how)
        rows = (y, target, weights) if self.loss.weighted else (y, target)
        value, residual = ops.at("loss").forward(self.loss.kernel)(*rows, **self.loss.settings)
        return value, residual

    @in_scope
    def penalty_terms(
        self, ops: Ops, params: Arrays, samples: float, weights: Array | None = None
    ) -> list[tuple[Penalty, str, Array, Any]]:
        """Return (penalty, parameter name, value, residual) for every penalty on every weight.

        `samples` is the number of rows of the loss, `weights` (rows,) are their weights: see `Penalty`.

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> [(name, float(value)) for _, name, value, _ in network.penalty_terms(ops, params, samples=1)]
        [('0.weight', 0.2)]
        """
        terms = []
        for penalty in self.penalties:
            for name, bias_row in self.penalized().items():
                value, residual = penalty.forward(ops.at("penalty"), params[name], bias_row, samples, weights)
                terms.append((penalty, name, value, residual))
        return terms

    @in_scope
    def total_loss(
        self, ops: Ops, params: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None, run: Run
    ) -> Array:
        """Return the loss with penalties, computed by forward kernels alone; oracles differentiate it.

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> x, target = np.array([[3.0]]), np.array([[5.0]])
        >>> run = bp.layers.Run(training=False, counter=None)
        >>> round(float(network.total_loss(ops, params, running, x, target, None, run)), 6)
        1.2
        """
        y = self.forward(ops, params, running, x, run._replace(weights=weights)).y
        loss = self.data_loss(ops, y, target, weights)[0]
        return add_up(ops, loss, self.penalty_terms(ops, params, x.shape[0], weights))

    @in_scope
    def loss_and_gradients(
        self, ops: Ops, params: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None, run: Run
    ) -> tuple[Array, Arrays, Arrays]:
        """Return (loss, gradient of exactly this loss for every parameter, new running statistics).

        Shapes: x (batch, inputs); target as the loss requires; weights (batch,) or None -> loss ().

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> x, target = np.array([[3.0]]), np.array([[5.0]])
        >>> run = bp.layers.Run(training=False, counter=None)
        >>> loss, gradients, _ = network.loss_and_gradients(ops, params, running, x, target, None, run)
        >>> gradients["0.bias"]
        array([2.])
        """
        passed = self.forward(ops, params, running, x, run._replace(weights=weights))
        loss, dy, terms = self.loss_and_cotangent(ops, params, passed.y, target, weights)
        _, by_layer = backward_chain(self.layers, ops, passed.residuals, dy, need_dx=False)
        gradients = gather(self.shared, ops, by_layer) if self.shared else by_layer
        if terms:
            gradients = {**gradients, **self.add_penalties(ops, terms, gradients)}
        return loss, gradients, passed.running

    @in_scope
    def loss_and_cotangent(
        self, ops: Ops, params: Arrays, y: Array, target: Array, weights: Array | None
    ) -> tuple[Array, Array, list[Any]]:
        """Return (loss with penalties, dloss/dy, penalty terms) for raw outputs y.

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> loss, dy, terms = network.loss_and_cotangent(ops, params, np.array([[6.0]]), np.array([[5.0]]), None)
        >>> dy
        array([[2.]])
        """
        loss, residual = self.data_loss(ops, y, target, weights)
        dy = ops.at("loss").backward(self.loss.kernel)(residual, ops.xp.ones_like(loss))
        if not self.penalties:
            return loss, dy, []
        terms = self.penalty_terms(ops, params, y.shape[0], weights)
        return add_up(ops, loss, terms), dy, terms

    @in_scope
    def add_penalties(self, ops: Ops, terms: list[Any], gradients: Arrays) -> Arrays:
        """Return the given gradients of penalized parameters, with the penalty's gradient added.

        >>> network = bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error", bp.L2(0.1))
        >>> ops, (params, running) = bp.get_backend("numpy", precision="float64").ops(), network.init(seed=0)
        >>> terms = network.penalty_terms(ops, params, samples=1)
        >>> network.add_penalties(ops, terms, {"0.weight": np.array([[1.0]])})["0.weight"].round(6)
        array([[1.2]])
        """
        touched: Arrays = {}
        ops = ops.at("penalty")
        for penalty, name, value, residual in terms:
            if name in gradients:
                extra = penalty.backward(ops, residual, ops.xp.ones_like(value))
                touched[name] = ops.add_fwd(touched.get(name, gradients[name]), extra)[0]
        return touched


def add_up(ops: Ops, loss: Array, terms: list[Any]) -> Array:
    """Return the loss with its penalty terms."""
    for _, _, value, _ in terms:
        loss = ops.at("penalty").add_fwd(loss, value)[0]
    return loss


def last_activation(layers: Sequence[Layer]) -> Activation | None:
    """Return the activation that computes the network's outputs, or None when another kind of layer does."""
    last = layers[-1]
    if isinstance(last, Dense):
        last = last.activation
    return last if isinstance(last, Activation) else None


def _check_fit(loss: Loss, activation: Activation | None) -> None:
    makes = activation.kernel.output if activation else "any"
    wants = loss.kernel.output
    name = activation.name if activation else "none"
    if wants == "probabilities" and makes != "probabilities":
        raise ConfigError(
            f"loss {loss.name!r} requires probabilities, but the network ends in the activation {name!r}. "
            f"End it in 'sigmoid' or 'softmax', or use 'sigmoid_cross_entropy' or 'softmax_cross_entropy' on raw outputs."
        )
    if wants == "scores" and makes == "probabilities":
        raise ConfigError(
            f"loss {loss.name!r} requires raw outputs (logits) and applies {loss.link!r} itself, but the network already "
            f"ends in {name!r}. End it in a layer without activation, or use a loss on probabilities."
        )


def foreign(layers: Iterable[Layer]) -> str | None:
    """Return the name of the first custom layer, or None."""
    for layer in layers:
        if type(layer) is CustomActivation:
            return f"activation {layer.name!r}"
        if type(layer) not in (*LAYERS.values(), Layer):
            return type(layer).__name__
        within = layer.layers if isinstance(layer, Residual) else [layer.activation] if isinstance(layer, Dense) else []
        if inner := foreign(within):
            return inner
    return None
