"""Activation: one of the activation kernels, with its options, as a layer or inside a Dense layer; or a custom one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from bpengine.errors import ConfigError, number, unknown
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array
from bpengine.kernels._own import Function, Pair, check_name, check_pair, is_pair, own_activation
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import Arrays, Layer, Run
from bpengine.ops import Ops

ACTIVATIONS = tuple(name for name, kernel in KERNELS.items() if kernel.kind == "activation")


@dataclass(frozen=True, init=False)
class Activation(Layer):
    """Apply an activation: `Activation("relu")`, `Activation("leaky_relu", alpha=0.2)`.

    Raises ConfigError for an unknown name or option, or an option out of its range.

    >>> bp.Dense(4, bp.Activation("leaky_relu", alpha=0.1)).activation.name
    'leaky_relu'
    """

    name: str
    options: dict[str, float] = field(hash=False)

    def __init__(self, name: str, **options: float) -> None:
        if name not in ACTIVATIONS:
            raise unknown("activation", name, ACTIVATIONS)
        known, limits = KERNELS[name].options, KERNELS[name].option_limits
        for option, value in options.items():
            if option not in known:
                raise unknown(f"option of activation {name!r}:", option, known or ["none"])
            options[option] = number(value, f"activation {name!r}", option, **limits.get(option, {}))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", options)

    @property
    def kernel(self) -> Kernel:
        """The row of the KERNELS table."""
        return KERNELS[self.name]

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Apply the kernel to x (batch, features)."""
        y, residual = ops.forward(self.kernel)(x, **self.options)
        return y, residual, running

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return the gradient with respect to the input; refuse a kernel without a backward (step)."""
        return ops.backward(self.kernel)(residual, dy), {}


@dataclass(frozen=True, init=False)
class CustomActivation(Activation):
    """A custom activation: a pair of functions, in the contract of a kernel.

    forward(xp, x) -> (y, residual), x and y (batch, features); backward(xp, residual, dy) -> dx (batch, features).
    name: by default the forward's, without an ending "_forward". A Dense layer with it starts from Glorot's weights.

    `xp` is the array namespace: code in its functions runs on every backend and compiles; no array may be written into.
    `check_gradients(activation)` checks it. A model file keeps its name: `bp.load(path, activations={"name": activation})`.
    Raises ConfigError for anything but such a pair, or for a name that is in use.

    >>> import bpengine as bp
    >>> def cube_forward(xp, x):
    ...     return x * x * x, x
    >>> def cube_backward(xp, x, dy):
    ...     return 3.0 * x * x * dy
    >>> bp.Dense(4, (cube_forward, cube_backward)).activation.name
    'cube'
    """

    pair: Pair
    own: Kernel = field(repr=False, compare=False)

    def __init__(self, forward: Function, backward: Function, *, name: str | None = None) -> None:
        check_pair(forward, backward, "activation", (2,), "forward(xp, x)")
        name = check_name(name, forward, "activation", KERNELS)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", {})
        object.__setattr__(self, "pair", (forward, backward))
        object.__setattr__(self, "own", own_activation(name, forward, backward))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), name=self.name), self.pair  # the row is made from the pair again

    @property
    def kernel(self) -> Kernel:
        """The row made from the pair, which is not in KERNELS."""
        return self.own


def make_activation(spec: object) -> Layer:
    """Return the activation of a layer: an Activation by name, one from a pair of functions, or a layer as it is."""
    if isinstance(spec, str):
        return Activation(spec)
    if isinstance(spec, Layer):
        return spec
    if is_pair(spec):
        return CustomActivation(*spec)
    if isinstance(spec, type) and issubclass(spec, Layer):
        raise ConfigError(f"an activation is required, got the class {spec.__name__}. Call it: {spec.__name__}(...).")
    if callable(spec):
        raise ConfigError(
            f"an activation of one's own requires a pair (forward, backward), got the function {spec!r} alone. "
            "A gradient is not found by itself: write its backward."
        )
    return Activation(cast(str, spec))  # which refuses what is no name
