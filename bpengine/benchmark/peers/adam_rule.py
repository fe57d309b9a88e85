"""Update rules for the JAX peers: optax's if it is installed, else the same rules in a few lines of JAX."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpengine.benchmark.workloads import EPS
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree

INSTALLED = find_spec("optax") is not None
NOTE = "optax's update rules" if INSTALLED else "update rules written by hand, for optax is not installed"
BETA1, BETA2 = 0.9, 0.999


class Rule(NamedTuple):
    """An update rule in optax's form: init(params) -> slots, update(gradients, slots, params) -> (updates, slots)."""

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]


def make(optimizer: str, rate: float) -> Rule:
    """Return the rule of an optimiser, "adam" or "sgd"."""
    if INSTALLED:
        import optax

        rule = optax.adam(rate, eps=EPS) if optimizer == "adam" else optax.sgd(rate)
        return Rule(rule.init, rule.update)
    return by_hand(optimizer, rate)


def by_hand(optimizer: str, rate: float) -> Rule:
    """Return the same rule without optax."""
    if optimizer == "sgd":
        return Rule(lambda params: (), lambda gradients, slots, params: (_map(lambda g: -rate * g, gradients), slots))
    return Rule(_adam_init, lambda gradients, slots, params: _adam(rate, gradients, slots))


def _map(function: Callable[..., Array], *trees: Any) -> Tree:
    return jax.tree.map(function, *trees)


def _adam_init(params: Tree) -> Tree:
    zeros = _map(jnp.zeros_like, params)
    return jnp.zeros((), jnp.int32), zeros, _map(jnp.copy, zeros)


def _adam(rate: float, gradients: Tree, slots: Tree) -> tuple[Tree, Tree]:
    count, m, v = slots
    count = count + 1
    m = _map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, gradients)
    v = _map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, gradients)

    def change(m: Array, v: Array) -> Array:
        t = count.astype(m.dtype)
        return -rate * (m / (1 - BETA1**t)) / (jnp.sqrt(v / (1 - BETA2**t)) + EPS)

    return _map(change, m, v), (count, m, v)
