"""Dense: a fully connected layer, y = activation(x w + b)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.errors import ConfigError, whole
from bpengine.kernels._kernel import Array
from bpengine.kernels._own import Pair
from bpengine.kernels._trees import Tree
from bpengine.layers.activation import Activation, make_activation
from bpengine.layers.chain import extent_of
from bpengine.layers.contract import run_backward, run_forward, shapes_of
from bpengine.layers.initializers import Explicit, Initializer, InitializerLike, make_initializer
from bpengine.layers.layer import Arrays, ArrayShapes, HostArrays, Layer, Run, Shapes, local, qualified
from bpengine.ops import Ops

BENT = "activation"  # the prefix of the parameters of a layer given as the activation
BIASES = {"column": "last", "column-first": "first"}  # where the bias row of the weight is


@dataclass(frozen=True, init=False)
class Dense(Layer):
    """`units` outputs, each a weighted sum of all inputs, through an activation.

    activation: a name, a bp.Activation, a custom pair of functions (forward, backward) (see `CustomActivation`), or any
    layer, which is run on the sums.
    bias: True for a vector of its own ("bias"); False for none; "column" for the textbook trick that feeds a column of
    ones to the layer and keeps the bias as the last row of the weight matrix; "column-first" for the first row.
    tie: an earlier Dense layer of the same network, whose transposed weight is this layer's weight, as in the decoder of an
    autoencoder. The gradient of the weight is the sum of both uses; the bias is this layer's own (True or False).
    weight_init, bias_init: a name ("auto", "zeros", "normal", "uniform", "glorot", "he", "lecun", "orthogonal"), an
    initialiser, or an array. An array for a weight with a bias row includes that row.

    Parameters: "weight" (inputs, units), or (inputs + 1, units) with a bias row; "bias" (units,); those of a layer passed as
    the activation, such as "activation.alpha".
    Raises ConfigError for a unit count below 1, an unknown name, or a tie to anything but a Dense layer with its own weight
    and without a bias row.

    >>> import bpengine as bp
    >>> encoder = bp.Dense(3, "tanh")
    >>> network = bp.Network(8, [encoder, bp.Dense(8, tie=encoder)], "mean_squared_error")
    >>> list(bp.Model(network).parameters)
    ['0.weight', '0.bias', '1.bias']
    """

    units: int
    activation: Layer
    bias: bool | str
    weight_init: Initializer = field(compare=False)
    bias_init: Initializer = field(compare=False)
    tie: Dense | None = field(repr=False)

    def __init__(
        self,
        units: int,
        activation: str | Layer | Pair = "identity",
        bias: bool | str = True,
        *,
        weight_init: InitializerLike = "auto",
        bias_init: InitializerLike = "zeros",
        tie: Dense | None = None,
    ) -> None:
        resolved = make_activation(activation)
        if not (isinstance(bias, bool) or (isinstance(bias, str) and bias in BIASES)):
            raise ConfigError(
                f"Dense requires bias to be one of {', '.join(map(repr, (True, False, *BIASES)))}, got {bias!r}."
            )
        object.__setattr__(self, "units", whole(units, "Dense", "the number of units"))
        object.__setattr__(self, "activation", resolved)
        if not isinstance(resolved, Activation):
            object.__setattr__(self, "_extent", extent_of([resolved], "Dense"))
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "tie", tie)
        if tie is not None:
            self._check_tie(weight_init)
        follows = resolved.name if isinstance(resolved, Activation) else "one's own"
        object.__setattr__(self, "weight_init", make_initializer(weight_init, follows))
        object.__setattr__(self, "bias_init", make_initializer(bias_init, follows))

    def _check_tie(self, weight_init: InitializerLike) -> None:
        tie: Any = self.tie
        if not isinstance(tie, Dense):
            raise ConfigError(
                f"Dense requires tie to be a Dense layer, got {tie!r}. Give the object in the list of layers."
            )
        if tie.tie is not None or tie._ones or self._ones:
            raise ConfigError(
                "Dense requires tie to be a layer with a weight of its own, and neither to keep its bias as a row of the "
                f"weight, got bias={tie.bias!r} there and bias={self.bias!r} here{', and a tie there' if tie.tie else ''}."
            )
        if not (isinstance(weight_init, str) and weight_init == "auto"):
            raise ConfigError(
                f"Dense with a tie has the weight of another layer, got weight_init={weight_init!r}. Give it to that layer."
            )

    @property
    def _ones(self) -> str | None:
        return BIASES.get(str(self.bias))

    @property
    def _kernel(self) -> str:
        if self._ones:
            return "dense_bias_column"
        return f"dense{'' if self.tie is None else '_transposed'}{'' if self.bias else '_no_bias'}"

    def outputs(self, inputs: int) -> int:
        """Return the number of units, or of outputs of an activation layer that takes so many inputs."""
        return self.activation.outputs(self.units)

    def init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        """Draw the weight, then the bias, then the activation's parameters."""
        return {**self._init(rng, inputs), **qualified(self.activation.init(rng, self.units), BENT)}

    def init_running(self, inputs: int) -> HostArrays:
        """Return the running statistics of the activation."""
        return qualified(self.activation.init_running(self.units), BENT)

    def shapes(self, inputs: int) -> Shapes:
        """Return the shapes of weight, bias and the activation's arrays."""
        own: ArrayShapes = {} if self.tie is not None else {"weight": (inputs + bool(self._ones), self.units)}
        if self.bias is True:
            own["bias"] = (self.units,)
        inner = shapes_of(self.activation, self.units)
        return Shapes({**own, **qualified(inner.params, BENT)}, qualified(inner.running, BENT))

    def _init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        if self.tie is not None:
            return {"bias": self.bias_init(rng, (self.units,))} if self.bias else {}
        if self._ones and isinstance(self.weight_init, Explicit):
            return {"weight": self.weight_init(rng, (inputs + 1, self.units))}
        weight = self.weight_init(rng, (inputs, self.units))
        if self.bias is False:
            return {"weight": weight}
        bias = self.bias_init(rng, (self.units,))
        if self._ones is None:
            return {"weight": weight, "bias": bias}
        rows = (weight, bias[None, :]) if self._ones == "last" else (bias[None, :], weight)
        return {"weight": np.concatenate(rows)}

    def smallest_batch(self, run: Run) -> int:
        """Return the number of rows that the activation needs."""
        return self.activation.smallest_batch(run.at(f"{run.place}.{BENT}"))

    def penalized(self) -> dict[str, str | None]:
        """Return the weight, without its bias row, and the activation's penalized parameters."""
        own = {"weight": self._ones} if self.tie is None else {}
        return {**own, **{f"{BENT}.{name}": row for name, row in self.activation.penalized().items()}}

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Return activation(x w + b)."""
        z, linear = self.linear(ops, params, x)
        inside = run.at(f"{run.place}.{BENT}")
        y, bent, seen = run_forward(self.activation, ops, local(params, BENT), local(running, BENT), z, inside)
        return y, (linear, bent), qualified(seen, BENT)

    def linear(self, ops: Ops, params: Arrays, x: Array) -> tuple[Array, Any]:
        """Return x w + b, and the residual of its backward."""
        own = [params["weight"], params["bias"]] if self.bias is True else [params["weight"]]
        how = {"ones": self._ones} if self._ones else {}
        y, residual = ops.forward(self._kernel)(x, *own, **how)
        return y, residual

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return dx and the gradients of weight and bias."""
        linear, bent = residual
        dz, more = run_backward(self.activation, ops, bent, dy)
        dx, *own = ops.backward(self._kernel)(linear, dz, need_dx=need_dx)
        return dx, {**dict(zip(("weight", "bias"), own, strict=False)), **qualified(more, BENT)}
