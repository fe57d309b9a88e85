"""The update: gradients are exchanged between processes, clipped by norm, and passed to the optimizer's rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from bpengine.backend import Backend, State, as_host
from bpengine.errors import NonFiniteError, number
from bpengine.kernels._kernel import Array, Namespace
from bpengine.layers.layer import Arrays
from bpengine.ops import Ops, Slots, UpdateInputs, one_by_one
from bpengine.system.lru_cache import LruCache
from bpengine.training.memory.spill import mapped
from bpengine.training.optimizers import Optimizer, is_own, without_rate

Exchange = Callable[[Arrays], Arrays]


def no_exchange(gradients: Arrays) -> Arrays:
    """Return the gradients unchanged, for a single process."""
    return gradients


def init_slots(optimizer: Optimizer, ops: Ops, params: Arrays, names: Iterable[str]) -> Slots:
    """Return the slots (moments and the like) of the named parameters before the first update."""
    with ops.scope():
        return optimizer.init(ops.xp, {name: params[name] for name in names})


@dataclass(frozen=True)
class BoundRule:
    """A rule bound to ops. `exchange` is given every gradient between its computation and its use."""

    optimizer: Optimizer
    ops: Ops
    clip_norm: float | None = None
    exchange: Exchange = no_exchange
    _update_all: Callable[[UpdateInputs], tuple[Arrays, Slots]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A custom rule may use a parameter as a whole, so it is called for each parameter by itself.
        update_all = one_by_one if is_own(self.optimizer) else self.ops.update_all
        object.__setattr__(self, "_update_all", partial(update_all, self.optimizer.bind(self.ops)))

    def __call__(self, state: State, gradients: Arrays, lr: Array) -> tuple[Arrays, Slots]:
        """Return the parameters that have a gradient, updated, and their slots.

        state: "params", "slots" and "counter", uint32 (2,), whose second number counts the updates so far. lr: (1,).
        """
        gradients = self.exchange(gradients)
        if self.clip_norm is not None and gradients:
            norm = self.ops.global_norm(*gradients.values())
            gradients = {
                n: self.ops.clip_by_global_norm(norm, dw, max_norm=self.clip_norm) for n, dw in gradients.items()
            }
        t = self.ops.xp.astype(state["counter"][1:2], lr.dtype) + 1
        return self._update_all(UpdateInputs(state["params"], gradients, state["slots"], t, lr))


@dataclass(frozen=True)
class Applied:
    """The state of a user's own loop of updates: rule, slots, counter, number of updates."""

    rule: tuple[Any, ...]
    slots: Slots
    counter: Array
    count: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy with arrays on the host and without compiled functions; `on` brings it to a backend."""
        return Applied, (self.rule, mapped(as_host, self.slots), as_host(self.counter), self.count)

    def on(self, backend: Backend) -> Applied:
        """Return the same with its arrays on a backend."""
        return replace(self, slots=mapped(backend.asarray, self.slots), counter=backend.asarray(self.counter))


def apply(
    backend: Backend,
    ops: Ops,
    params: Arrays,
    gradients: Arrays,
    optimizer: Optimizer,
    clip_norm: float | None,
    *,
    before: Applied | None,
    compiled: LruCache[Any],
) -> tuple[Arrays, Applied]:
    """Return the parameters that have a gradient, updated, and the state for the next update.

    compiled: the updates compiled so far, by rule and clip norm.
    Raises NonFiniteError naming the parameter that would not be finite.
    """
    if clip_norm is not None:
        number(clip_norm, "apply_gradients", "clip_norm", low=0, above=True)
    if before is None or before.rule != optimizer.rule:
        counter = backend.asarray(np.zeros(2, np.uint32))
        before = Applied(optimizer.rule, init_slots(optimizer, ops, params, params), counter, 0)
    update = partial(BoundRule, without_rate(optimizer), ops, clip_norm)
    run = compiled.get(("update", before.rule, clip_norm), lambda: backend.compile(_counted(update())))
    rate = backend.asarray(optimizer.schedule(np.array([before.count])), backend.dtype)
    state = {"params": params, "slots": before.slots, "counter": before.counter}
    changed, slots, counter, finite = run(state, gradients, rate)
    if not backend.to_numpy(finite):
        bad = next(name for name, new in changed.items() if not np.isfinite(backend.to_numpy(new)).all())
        raise NonFiniteError(
            f"apply_gradients requires finite parameters, got one that is not in {bad!r}. Nothing was changed. "
            "Lower the learning rate, set clip_norm, or scale the data."
        )
    return changed, replace(before, slots={**before.slots, **slots}, counter=counter, count=before.count + 1)


def _counted(update: BoundRule) -> Callable[..., Any]:
    def run(state: State, gradients: Arrays, lr: Array) -> tuple[Arrays, Slots, Array, Array]:
        changed, slots = update(state, gradients, lr)
        return changed, slots, update.ops.advance(state["counter"]), all_finite(update.ops.xp, changed)

    return run


def all_finite(xp: Namespace, arrays: Arrays) -> Array:
    """Return whether all numbers of all arrays are finite, a bool array (); true for no arrays."""
    return reduce(xp.logical_and, [xp.all(xp.isfinite(array)) for array in arrays.values()], xp.asarray(True))
