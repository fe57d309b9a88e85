"""Optimizers: a learning rate and the options of one update-rule kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar

from bpengine.errors import ConfigError, number, unknown
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Array, Namespace
from bpengine.layers.layer import Arrays
from bpengine.ops import Ops
from bpengine.training.schedules import Schedule, make_schedule


@dataclass(frozen=True)
class Optimizer:
    """Base: `kernel` names the update rule; fields beside `learning_rate` are the rule's options.

    `learning_rate` is a number, a schedule (`bp.Cosine(...)`), or a function of the step number.
    Raises ConfigError for an invalid learning rate, a negative option, or one of momentum, decay, beta1 and beta2 that is 1 or
    more.
    """

    kernel: ClassVar[str]
    learning_rate: Any = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", make_schedule(self.learning_rate, type(self).__name__))
        for name, value in self.options().items():
            below = 1.0 if name in _SHARES else float("inf")
            object.__setattr__(self, name, number(value, type(self).__name__, name, low=0, below=below))

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a function of the step number."""
        assert isinstance(self.learning_rate, Schedule)
        return self.learning_rate

    def options(self) -> dict[str, float]:
        """Return the options of the update rule."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "learning_rate"}

    @property
    def rule(self) -> tuple[Any, ...]:
        """What a compiled step depends on: the rule and its options, not the learning rate.

        A user's subclass may bind any rule and hold values that are no options, so the whole object is compared.
        """
        if not is_own(self):
            return self.kernel, tuple(self.options().items())
        held = tuple((name, value) for name, value in vars(self).items() if name != "learning_rate")
        try:
            hash(held)
        except TypeError:  # without a hash, equal rules cannot be recognised
            return type(self), object()
        return type(self), held

    def init(self, xp: Namespace, params: Arrays) -> dict[str, list[Array]]:
        """Return the rule's slots (moments, velocities) for each parameter, all zero."""
        slots = len(KERNELS[self.kernel].arguments) - 4  # all but w, dw, t, lr
        return {name: [xp.zeros_like(w) for _ in range(slots)] for name, w in params.items()}

    def bind(self, ops: Ops) -> Callable[..., tuple[Array, ...]]:
        """Return the update rule with its options: rule(w, dw, *slots, t, lr) -> (new w, *new slots), t = 1, 2, ..."""
        return partial(ops.forward(self.kernel), **self.options())


_SHARES = ("momentum", "decay", "beta1", "beta2")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain gradient descent: w - lr dw, step size = slope x learning rate."""

    kernel = "sgd"


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with a velocity (Polyak 1964): u = momentum u + dw; w - lr u."""

    kernel = "momentum"
    momentum: float = 0.9


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """Momentum, the gradient at the looked-ahead point (Nesterov 1983; Sutskever et al. 2013): w - lr (dw + momentum u)."""

    kernel = "nesterov"
    momentum: float = 0.9


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """Each gradient divided by a running root mean square (Tieleman, Hinton 2012)."""

    kernel = "rmsprop"
    learning_rate: Any = 1e-3
    decay: float = 0.9
    eps: float = 1e-8


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moment estimation (Kingma, Ba 2015)."""

    kernel = "adam"
    learning_rate: Any = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019); it decays every trained parameter, biases too."""

    kernel = "adamw"
    weight_decay: float = field(default=0.01)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}


def make_optimizer(spec: str | Optimizer) -> Optimizer:
    """Return the optimizer of a name, with its default learning rate, or the given optimizer itself."""
    if isinstance(spec, Optimizer):
        return spec
    if isinstance(spec, type) and issubclass(spec, Optimizer):
        raise ConfigError(f"fit requires an optimizer, got the class {spec.__name__}. Call it: {spec.__name__}(0.01).")
    if not isinstance(spec, str) or spec not in OPTIMIZERS:
        raise unknown("optimizer", spec, OPTIMIZERS)
    return OPTIMIZERS[spec]()


def is_own(optimizer: Optimizer) -> bool:
    """Tell whether an optimizer is of a custom class, whose rule may be anything."""
    return type(optimizer) not in OPTIMIZERS.values()


def without_rate(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer without its learning rate: compiled steps must not keep the objects that a rate function refers to.

    A custom rule may read the rate, so it is returned unchanged.
    """
    return optimizer if is_own(optimizer) else replace(optimizer, learning_rate=1.0)
