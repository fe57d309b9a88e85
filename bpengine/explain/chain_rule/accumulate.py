"""The sum over all paths from a parameter to the loss, computed forward through the arrays that depend on the parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.lookup import Element, element_name
from bpengine.explain.terms.dataflow import Dataflow
from bpengine.explain.terms.local_derivatives import is_transposed, parameter_factors
from bpengine.kernels._kernel import LocalDerivative
from bpengine.ops import Call


@dataclass(frozen=True)
class PathSums:
    """The paths from a weight to every element of an array (rows, units).

    total: the sum over all paths, which is the element's derivative with respect to the weight; magnitude: the sum of their
    absolute values; count: their number.
    """

    total: HostArray
    magnitude: HostArray
    count: HostArray

    def __add__(self, other: PathSums) -> PathSums:
        return PathSums(self.total + other.total, self.magnitude + other.magnitude, self.count + other.count)

    def through(self, slopes: Sequence[LocalDerivative]) -> PathSums:
        """Return the sums for the output of a kernel call, over all of its routes."""
        steps = [
            PathSums(_sent(self.total, s, _same), _sent(self.magnitude, s, np.abs), _sent(self.count, s, _nonzero))
            for s in slopes
        ]
        return sum(steps[1:], steps[0])


def start(inputs: HostArray, rows: Sequence[int], unit: int, shape: tuple[int, ...]) -> PathSums:
    """Return the sums for the first call's output: in each row the weight's unit, whose derivative is the weight's input."""
    total = np.zeros(shape)
    total[rows, unit] = inputs[rows]
    return PathSums(total, np.abs(total), _nonzero(total))


def _sent(values: HostArray, s: LocalDerivative, of: Callable[[HostArray], HostArray]) -> HostArray:
    """Multiply values (rows, inputs) by local derivatives, or by a function of them, and sum them for each output."""
    if s.kind == "units":
        return np.asarray(values @ of(s.p))
    if s.q is None:
        return np.asarray(values * of(s.p))
    # dy/dx = p q^T along a row or a column is an outer product: sum with p first, then multiply by q.
    axis = 1 if s.kind == "row" else 0
    return np.asarray(np.sum(values * of(s.p), axis=axis, keepdims=True) * of(s.q))


def _same(a: HostArray) -> HostArray:
    return a


def _nonzero(a: HostArray) -> HostArray:
    return np.asarray(a != 0, dtype=float)


def uses_of(flow: Dataflow, element: Element) -> list[tuple[int, str]]:
    """Return the layers' calls that used a parameter: several where layers share it."""
    calls, array = flow.trace.calls, flow.trace.parameters[element[0]]
    uses = [u for u in flow.consumers.get(id(array), []) if not flow.is_penalty(u)]
    if not uses or any(use[1] not in parameter_factors(calls[use[0]]) for use in uses):
        raise ConfigError(f"parameter {element_name(element)!r} is used outside of the kernels that are known here.")
    return uses


def multiplied(call: Call, argument: str, element: Element) -> tuple[HostArray, int]:
    """Return the factor of a parameter in each row (rows,), and the unit it belongs to."""
    index = element[1][::-1] if is_transposed(call, argument) else element[1]
    factor, unit = parameter_factors(call)[argument], index[-1]
    if factor is None:
        return np.ones(len(call.result[0])), unit
    return np.asarray(factor[:, index[0]], dtype=float), unit


def downstream(flow: Dataflow, first: HostArray) -> tuple[list[HostArray], dict[int, Any]]:
    """Return the arrays that depend on `first`, in order, and the uses of each: (call, slopes), None for the loss."""
    calls, arrays, edges = flow.trace.calls, [first], dict[int, Any]()
    # Breadth-first from the weight's output; the list is its own queue.
    for array in arrays:  # the loop appends to the list that it iterates over
        edges[id(array)] = uses = []
        for use in flow.consumers.get(id(array), []):
            call = calls[use[0]]
            slopes = None if call.kernel.kind == "loss" else flow.derivatives(use)
            if slopes is None and call.kernel.kind != "loss":
                raise ConfigError(
                    f"the slopes of kernel {call.kernel.name!r} in layer {call.place} are not known here."
                )
            uses.append((call, slopes))
            if slopes is not None and not any(call.result[0] is known for known in arrays):
                arrays.append(call.result[0])
        if not uses:
            raise ConfigError(
                "a layer on the way to the loss computes outside of kernels: its paths cannot be followed."
            )
    return sorted(arrays, key=lambda array: flow.producers[id(array)]), edges


def accumulate(begun: PathSums, arrays: list[HostArray], edges: Mapping[int, Any], dy: HostArray) -> PathSums:
    """Return the sum over all paths at the loss."""
    reached = {id(arrays[0]): begun}
    end = PathSums(np.zeros(dy.shape), np.zeros(dy.shape), np.zeros(dy.shape))
    # `arrays` is in the order of the forward pass, so all paths into an array are summed before they are passed on.
    for array in arrays:
        here = reached[id(array)]
        for call, slopes in edges[id(array)]:
            if slopes is None:
                end += PathSums(here.total * dy, here.magnitude * np.abs(dy), here.count * (dy != 0))
                continue
            output, step = id(call.result[0]), here.through(slopes)
            reached[output] = reached[output] + step if output in reached else step
    return end
