"""Activation: one of the activation kernels, with its options, as a layer or inside a Dense layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bpengine.errors import number, unknown
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, Layer, Run
from bpengine.ops import Ops

ACTIVATIONS = tuple(name for name, kernel in KERNELS.items() if kernel.kind == "activation")


@dataclass(frozen=True, init=False)
class Activation(Layer):
    """Apply an activation: `Activation("relu")`, `Activation("leaky_relu", alpha=0.2)`.

    Raises ConfigError for an unknown name or option.
    """

    name: str
    options: dict[str, float] = field(hash=False)

    def __init__(self, name: str, **options: float) -> None:
        if name not in ACTIVATIONS:
            raise unknown("activation", name, ACTIVATIONS)
        known = KERNELS[name].options
        for option, value in options.items():
            if option not in known:
                raise unknown(f"option of activation {name!r}:", option, known or ["none"])
            options[option] = number(value, f"activation {name!r}", option)
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

    def backward(self, ops: Ops, residual: Any, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return the gradient with respect to the input; refuse a kernel without a backward (step)."""
        return ops.backward(self.kernel)(residual, dy), {}


def make_activation(spec: Any) -> Activation:
    """Return an Activation from a name or from one made already."""
    return spec if isinstance(spec, Activation) else Activation(spec)
