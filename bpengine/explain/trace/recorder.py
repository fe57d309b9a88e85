"""CallRecorder: an observer that records every kernel call of a function, on any backend.

Each kernel is compiled by itself where the backend compiles, so that the recorded output of one
call is the input of the next. (A compiler that sees the whole step may compute a number twice with different roundings.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from bpengine.backend import Backend, HostArray
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.ops import Call, Direction, ObservedOps, Ops, known


class CallRecorder:
    """Calls in order; `forward_of` maps a backward call's position to that of the forward whose residual it was given.

    `slopes` holds, by the position of a forward call, its backward on ones: f'(z) of an activation, and the slope of each
    row's own loss, not yet averaged.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.forward_of: dict[int, int] = {}
        self.slopes: dict[int, Any] = {}
        self._waiting: dict[Any, list[int]] = {}

    def __call__(self, call: Call) -> None:
        """Record a call."""
        position = len(self.calls)
        if call.function.endswith("_bwd"):
            waiting = self._waiting.get(_residual_key(call, call.args[0]), [])
            if waiting:
                self.forward_of[position] = waiting.pop()
        elif call.kernel.backward is not None:
            self._waiting.setdefault(_residual_key(call, call.result[1]), []).append(position)
        self.calls.append(call)

    def find_slopes(self, ops: Ops) -> None:
        """Run the backward of every activation and loss on ones, with the engine's kernels."""
        for position in self.forward_of.values():
            call = self.calls[position]
            residual, one = call.result[1], ops.xp.ones_like(call.result[0])
            if call.kernel.kind == "loss" and known(call.kernel):  # a custom loss may mix the rows
                residual = residual._replace(factor=ops.xp.ones_like(residual.factor))
                self.slopes[position] = ops.backward(call.kernel)(residual, one)
            elif call.kernel.kind == "activation":
                self.slopes[position] = ops.backward(call.kernel)(residual, one)


class KernelOps(Ops):
    """Ops that compile each kernel separately and return new arrays from each call.

    A call never returns one of its arguments (as the identity may), so every array has one producer.
    """

    def __init__(self, backend: Backend) -> None:
        ops = backend.ops()
        self.xp, self.scope, self._backend = ops.xp, ops.scope, backend
        self._compiled: dict[Any, Callable[..., Any]] = {}
        for kernel in KERNELS.values():
            for function in filter(None, (kernel.forward, kernel.backward)):
                setattr(self, function.__name__, partial(self._call, getattr(ops, function.__name__), function))

    def own(self, kernel: Kernel, direction: Direction) -> Callable[..., Any]:
        """Return the function of a custom kernel, also compiled separately."""
        return partial(self._call, super().own(kernel, direction), getattr(kernel, direction))

    def _call(self, function: Callable[..., Any], definition: Callable[..., Any], *args: Any, **options: Any) -> Tree:
        key = (definition, *sorted(options.items()))
        if key not in self._compiled:
            self._compiled[key] = self._backend.compile(partial(function, **options))
        result = self._compiled[key](*args)
        taken = {id(arg) for arg in args}
        if not isinstance(result, tuple):
            return self._fresh(result, taken)
        return _rebuilt(result, [self._fresh(part, taken) for part in result])

    def _fresh(self, value: object, taken: set[int]) -> Array:
        if not hasattr(value, "dtype") or id(value) not in taken:
            return value
        return self.xp.asarray(value, copy=True)


@lru_cache(maxsize=4)
def kernel_ops(backend: Backend) -> KernelOps:
    """Return the ops of a backend that compile kernel by kernel; those of the last few backends are cached."""
    return KernelOps(backend)


def record(backend: Backend, ops: Ops, function: Callable[..., Tree]) -> tuple[CallRecorder, Tree]:
    """Run function(observed ops) kernel by kernel; return the recorder and the result.

    The recorded calls and the result hold NumPy arrays, the same object wherever it is the same array.
    """
    tape = CallRecorder()
    with backend.scope():
        result = function(ObservedOps(ops, tape))
        tape.find_slopes(ops)
    host = _Host(backend)
    tape.calls = [replace(call, args=host.tree(call.args), result=host.tree(call.result)) for call in tape.calls]
    tape.slopes = host.tree(tape.slopes)
    return tape, host.tree(result)


class _Host:
    """Copies trees of arrays to the host, each array once."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.seen: dict[int, tuple[Any, HostArray]] = {}  # with the array itself: a freed one's id is used again

    def tree(self, value: object) -> Tree:
        if isinstance(value, dict):
            return {name: self.tree(part) for name, part in value.items()}
        if isinstance(value, (tuple, list)):
            return _rebuilt(value, [self.tree(part) for part in value])
        if not (hasattr(value, "dtype") and hasattr(value, "shape")):
            return value
        if id(value) not in self.seen:
            self.seen[id(value)] = value, np.asanyarray(self.backend.to_numpy(value))
        return self.seen[id(value)][1]


def _rebuilt(like: Tree, parts: list[Tree]) -> Tree:
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)


def _residual_key(call: Call, residual: Tree) -> Hashable:
    return (call.kernel.name, call.place, id(residual) if residual is not None else None)
