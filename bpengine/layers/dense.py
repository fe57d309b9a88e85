"""Dense: a fully connected layer, y = activation(x w + b)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.errors import ConfigError, whole
from bpengine.kernels._kernel import Array
from bpengine.kernels._own import Pair
from bpengine.layers.activation import Activation, make_activation
from bpengine.layers.contract import run_backward, run_forward
from bpengine.layers.initializers import Explicit, Initializer, make_initializer
from bpengine.layers.layer import Arrays, HostArrays, Layer, Run, local, qualified
from bpengine.ops import Ops

BENT = "activation"  # where the parameters of a layer given as the activation are
BIASES = {"column": "last", "column-first": "first"}  # where the bias row of the weight is


@dataclass(frozen=True, init=False)
class Dense(Layer):
    """`units` outputs, each a weighted sum of all inputs, through an activation.

    activation: a name, a bp.Activation, a pair of functions of one's own (forward, backward) (see `CustomActivation`), or any
    layer, which is run on the sums.
    bias: True for a vector of its own ("bias"); False for none; "column" for the textbook trick that feeds a column of
    ones to the layer and keeps the bias as the last row of the weight matrix; "column-first" for the first row.
    weight_init, bias_init: a name ("auto", "zeros", "normal", "uniform", "glorot", "he", "lecun", "orthogonal"), an
    initialiser, or an array. An array for a weight with a bias row has that row included.

    Parameters: "weight" (inputs, units), or (inputs + 1, units) with a bias row; "bias" (units,); those of a layer given as
    the activation, as "activation.alpha".
    Raises ConfigError for a unit count below 1 or an unknown name.
    """

    units: int
    activation: Layer
    bias: bool | str
    weight_init: Initializer = field(compare=False)
    bias_init: Initializer = field(compare=False)

    def __init__(
        self,
        units: int,
        activation: str | Layer | Pair = "identity",
        bias: bool | str = True,
        weight_init: Any = "auto",
        bias_init: Any = "zeros",
    ) -> None:
        made = make_activation(activation)
        if not (isinstance(bias, bool) or (isinstance(bias, str) and bias in BIASES)):
            raise ConfigError(
                f"Dense requires bias to be one of {', '.join(map(repr, (True, False, *BIASES)))}, got {bias!r}."
            )
        object.__setattr__(self, "units", whole(units, "Dense", "the number of units"))
        object.__setattr__(self, "activation", made)
        object.__setattr__(self, "bias", bias)
        follows = made.name if isinstance(made, Activation) else "one's own"
        object.__setattr__(self, "weight_init", make_initializer(weight_init, follows))
        object.__setattr__(self, "bias_init", make_initializer(bias_init, follows))

    @property
    def _ones(self) -> str | None:
        return BIASES.get(str(self.bias))

    def outputs(self, inputs: int) -> int:
        """Return the number of units, or what the activation makes of it."""
        return self.activation.outputs(self.units)

    def init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
        """Draw the weight, then the bias, then what the activation has."""
        return {**self._init(rng, inputs), **qualified(self.activation.init(rng, self.units), BENT)}

    def init_running(self, inputs: int) -> HostArrays:
        """Return the running statistics of the activation."""
        return qualified(self.activation.init_running(self.units), BENT)

    def _init(self, rng: np.random.Generator, inputs: int) -> HostArrays:
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
        """Return what the activation needs."""
        return self.activation.smallest_batch(run.at(f"{run.place}.{BENT}"))

    def penalized(self) -> dict[str, str | None]:
        """Penalties apply to the weight, without its bias row, and to what the activation says."""
        return {"weight": self._ones, **{f"{BENT}.{name}": row for name, row in self.activation.penalized().items()}}

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Return activation(x w + b)."""
        if self.bias is True:
            z, linear = ops.dense_fwd(x, params["weight"], params["bias"])
        elif self.bias is False:
            z, linear = ops.dense_no_bias_fwd(x, params["weight"])
        else:
            z, linear = ops.dense_bias_column_fwd(x, params["weight"], ones=self._ones)
        inside = run.at(f"{run.place}.{BENT}")
        y, bent, seen = run_forward(self.activation, ops, local(params, BENT), local(running, BENT), z, inside)
        return y, (linear, bent), qualified(seen, BENT)

    def backward(self, ops: Ops, residual: Any, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return dx and the gradients of weight and bias."""
        linear, bent = residual
        dz, more = run_backward(self.activation, ops, bent, dy)
        if self.bias is True:
            dx, dw, db = ops.dense_bwd(linear, dz, need_dx=need_dx)
            return dx, {"weight": dw, "bias": db, **qualified(more, BENT)}
        run = ops.dense_no_bias_bwd if self.bias is False else ops.dense_bias_column_bwd
        dx, dw = run(linear, dz, need_dx=need_dx)
        return dx, {"weight": dw, **qualified(more, BENT)}
