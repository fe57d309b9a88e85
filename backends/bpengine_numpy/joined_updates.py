"""Joined updates: small parameters of a step, and their slots, are contiguous, so that an update rule runs once for all.

A rule is a dozen calls of NumPy, and for a small parameter the calls take longer than the arithmetic. A rule is elementwise,
so the bits are the same. Between the steps of one run the arrays stay joined, and the state holds views of them; when the
run ends, the state gets separate arrays again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_

import numpy as np
from bpengine_steps.ir import DType
from bpengine_steps.signature import Tree, leaves, rebuilt

from bpengine.kernels._kernel import Array
from bpengine.ops import Ops, Rule, Slots, UpdateInputs, one_by_one
from bpengine_numpy.blocked_updates import LARGE, in_blocks

SMALL = 2**15  # elements; for larger parameters the arithmetic takes longer than the calls
TOGETHER = 2**17  # elements of a joined vector: with its slots it stays in the caches
ALIGNED = 16  # bytes; memory of the system has the same alignment


class JoinedParameters:
    """Parameters and their slots in contiguous memory: `flat` are one vector of the parameters and one for each slot.

    views: views[k][i] is the part of flat[k] that belongs to the i-th name, parameters first.
    """

    def __init__(self, names: Sequence[str], inputs: UpdateInputs) -> None:
        self.names, params, slots = names, inputs.params, inputs.slots
        first = params[names[0]]
        self._shapes, self._dtype = [params[name].shape for name in names], first.dtype
        grain, start = max(1, ALIGNED // first.itemsize), 0
        self._places: list[slice] = []
        for name in names:
            self._places.append(slice(start, start + params[name].size))
            start += -(-params[name].size // grain) * grain
        self._gradient = np.zeros(start, first.dtype)
        self._gradients = self._parts(self._gradient)
        self.flat = [np.zeros(start, first.dtype) for _ in (first, *slots[names[0]])]
        self.views = [self._parts(flat) for flat in self.flat]
        for k, parts in enumerate(self.views):
            for name, view in zip(names, parts, strict=True):
                np.copyto(view, slots[name][k - 1] if k else params[name])

    def _parts(self, flat: Array) -> list[Array]:
        return [
            flat[place] if len(shape) == 1 else flat[place].reshape(shape)
            for place, shape in zip(self._places, self._shapes, strict=True)
        ]

    def holds(self, inputs: UpdateInputs) -> bool:
        """Tell whether parameters and slots are the same array objects that the last update returned."""
        arrays = [(inputs.params[name], *inputs.slots[name]) for name in self.names]
        return all(
            all(map(is_, held, views)) for held, views in zip(zip(*arrays, strict=True), self.views, strict=True)
        )

    def update(self, rule: Rule, inputs: UpdateInputs) -> bool:
        """Run the rule on all; return False, and do nothing, if a gradient's shape or dtype differs from its parameter's."""
        for name, place, shape in zip(self.names, self._gradients, self._shapes, strict=True):
            dw = inputs.gradients[name]
            if type(dw) is not np.ndarray or dw.dtype != self._dtype or dw.shape != shape:
                return False
            place[...] = dw
        self.flat = list(rule(self.flat[0], self._gradient, *self.flat[1:], inputs.t, inputs.lr))
        self.views = [self._parts(flat) for flat in self.flat]
        return True


# by the names of the parameters updated together; None: not joined
Run = dict[tuple[str, ...], JoinedParameters | None]
_OF_THREAD = threading.local()


@contextmanager
def joined_run() -> Iterator[Callable[[Tree], Tree]]:
    """Join updates of this thread within the block; yield a function that returns a state in separate arrays."""
    around: Run | None = getattr(_OF_THREAD, "run", None)
    _OF_THREAD.run = run = Run()
    try:
        yield lambda state: _separate(state, run)
    finally:
        _OF_THREAD.run = around


class NumpyOps(Ops):
    """Ops whose update rules run in blocks over large parameters, and once for all small ones within a `joined_run`."""

    def update_all(self, rule: Rule, inputs: UpdateInputs) -> tuple[dict[str, Array], Slots]:
        """Return the result of `Ops.update_all`, with the same bits."""
        joined = _after_update(rule, inputs)
        if joined is None:
            return one_by_one(_blocked(rule, inputs.params.values()), inputs)
        weights, *moved = joined.views
        changed = dict(zip(joined.names, weights, strict=True))
        after = dict(zip(joined.names, map(list, zip(*moved, strict=True)), strict=True))
        if len(changed) == len(inputs.gradients):
            return changed, after
        rest = {name: dw for name, dw in inputs.gradients.items() if name not in changed}
        other, kept = one_by_one(_blocked(rule, inputs.params.values()), inputs._replace(gradients=rest))
        changed, after = {**changed, **other}, {**after, **kept}
        return {name: changed[name] for name in inputs.gradients}, {name: after[name] for name in inputs.gradients}


def _blocked(rule: Rule, params: Iterable[Array]) -> Rule:
    """Return the rule, run in blocks over large parameters where there are any."""
    if not any(w.size > LARGE for w in params):
        return rule
    return lambda w, *others: in_blocks(rule, w, *others) if w.size > LARGE else rule(w, *others)


def _after_update(rule: Rule, inputs: UpdateInputs) -> JoinedParameters | None:
    """Return the small parameters, joined and updated; None where they are not joined here."""
    run: Run | None = getattr(_OF_THREAD, "run", None)
    if run is None:
        return None
    key = tuple(inputs.gradients)
    joined = run[key] if key in run else _joined(inputs)
    if joined and not joined.holds(inputs):
        joined = _joined(inputs)
    if joined and not joined.update(rule, inputs):
        joined = None
    run[key] = joined
    return joined


def _joined(inputs: UpdateInputs) -> JoinedParameters | None:
    """Return the small parameters with a gradient, joined; None where fewer than two have the same dtype."""
    params, gradients, slots, *_ = inputs
    names: list[str] = []
    size, dtype = 0, None
    if not any(slots.values()):  # a rule without slots is too short to gain from joining
        return None
    for name in gradients:
        arrays = params[name], *slots[name]
        dtype = dtype or getattr(params[name], "dtype", None)
        if all(_joins(array, params[name].shape, dtype) for array in arrays) and size + arrays[0].size <= TOGETHER:
            names.append(name)
            size += arrays[0].size
    return JoinedParameters(names, inputs) if len(names) > 1 else None


def _joins(array: Array, shape: tuple[int, ...], dtype: DType | None) -> bool:
    """Tell whether it is a small NumPy array in C order, of this shape and dtype, with more than one element."""
    if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape:
        return False
    return 0 < array.size <= SMALL and array.ndim > 0 and array.flags.c_contiguous


def _separate(state: Tree, run: Run) -> Tree:
    """Return a state whose arrays own their memory."""
    views = {id(view) for joined in run.values() if joined for parts in joined.views for view in parts}
    if not views:
        return state
    return rebuilt(state, {path: leaf.copy() if id(leaf) in views else leaf for path, leaf in leaves(state)})
