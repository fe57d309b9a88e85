"""The chain rule of one weight: every path from the loss to it, factor by factor, and their sum.

dL/dw = sum over paths of dL/dy * slope * ... * slope * input. The number of paths grows with the product of the widths, so
the largest are found by best-first search; the sum of all paths is computed by one forward pass through the kernel
calls, which uses no backward pass except the loss's; that sum minus the largest paths is one term, the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from bpengine.backend import ArrayLike
from bpengine.errors import whole
from bpengine.explain.chain_rule.accumulate import accumulate, downstream, multiplied, start, uses_of
from bpengine.explain.chain_rule.best_first import Search
from bpengine.explain.chain_rule.path_result import Factor, Path, Paths
from bpengine.explain.lookup import Element, check_row, element_name, find_element
from bpengine.explain.terms.dataflow import Dataflow, Use
from bpengine.explain.terms.sums import exact_sum
from bpengine.explain.trace.trace import Trace
from bpengine.system.quiet import Quiet
from bpengine.trained import TrainedNetwork


def paths(
    model: TrainedNetwork,
    x: ArrayLike,
    y: ArrayLike,
    name: str,
    *,
    sample: int | None = None,
    largest: int = 10,
    weights: ArrayLike | None = None,
) -> Paths:
    """Return the chain rule of one parameter, "0.weight[2,1]": the paths from the loss to it with the largest products.

    sample: sum over this row of the batch only. Raises ConfigError for a name or a row that does not exist, or for a layer
    whose backward pass contains anything but known kernels.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> paths = bp.explain.paths(model, [[2.0]], [[5.0]], "0.weight[0,0]")
    >>> paths.count, paths.gradient
    (1, 4.0)
    """
    return paths_of(model.trace(x, y, weights), name, sample=sample, largest=largest)


@Quiet()  # numbers that are not finite appear in the text as nan or inf
def paths_of(traced: Trace, name: str, *, sample: int | None = None, largest: int = 10) -> Paths:
    """Return the chain rule of one parameter of a traced step."""
    element, flow = find_element(traced.parameters, name), Dataflow(traced)
    whole(largest, "paths", "largest")
    rows = list(range(traced.rows)) if sample is None else [check_row(traced.rows, sample)]
    uses = uses_of(flow, element)
    ways = [_through(flow, element, use, rows, largest) for use in uses]
    gradient = exact_sum(np.array([way.gradient for way in ways]))
    if sample is None and len(uses) == 1 and (whole_batch := flow.contribution(uses[0])) is not None:
        gradient = float(whole_batch[element[1]])  # the engine's own sum over the batch
    kept = sorted((path for way in ways for path in way.largest), key=lambda path: -abs(path.product))[:largest]
    everything = exact_sum(np.array([way.whole for way in ways]))
    return Paths(
        name=element_name(element),
        rows=tuple(rows),
        count=sum(way.paths for way in ways),
        paths=tuple(kept),
        rest=exact_sum(np.array([everything, *(-path.product for path in kept)])),
        all_paths=everything,
        gradient=gradient,
        penalty=_penalty(flow, element),
        magnitude=sum(way.magnitude for way in ways),
        depth=max(way.steps for way in ways),
        eps=flow.eps,
        first_bad=traced.first_bad,
    )


@dataclass(frozen=True, kw_only=True)
class _PathsOfUse:
    """The paths to one use of a parameter: their sum by the forward pass, and the engine's sum by its backward pass."""

    whole: float
    magnitude: float
    paths: int
    gradient: float
    steps: int
    largest: list[Path]


def _through(flow: Dataflow, element: Element, use: Use, rows: list[int], largest: int) -> _PathsOfUse:
    traced, (position, argument) = flow.trace, use
    call = traced.calls[position]
    inputs, unit = multiplied(call, argument, element)
    arrays, edges = downstream(flow, call.result[0])
    dy = np.asarray(traced.calls[traced.backward_start].result, dtype=float)
    end = accumulate(start(inputs, rows, unit, call.result[0].shape), arrays, edges, dy)
    link = (call.kernel.name, call.place, "input", unit)
    begin = [(float(inputs[r]), call.result[0], (*link, r, float(inputs[r]))) for r in rows]
    kept = [
        Path(_factors(links), product) for product, links in islice(Search(arrays, edges, dy).largest(begin), largest)
    ]
    gradient = exact_sum(inputs[rows] * np.asarray(flow.cotangent(position)[rows, unit], dtype=float))
    everything, magnitude = float(end.total.sum()), float(end.magnitude.sum())
    return _PathsOfUse(
        whole=everything, magnitude=magnitude, paths=int(end.count.sum()), gradient=gradient, steps=len(arrays) + 2,
        largest=kept,
    )  # fmt: skip


def _factors(links: list[Any]) -> tuple[Factor, ...]:
    return tuple(
        Factor(kernel=kernel, place=place, route=route, unit=unit, row=row, value=value)
        for kernel, place, route, unit, row, value in reversed(links)
    )


def _penalty(flow: Dataflow, element: Element) -> float:
    """Return the gradient of the penalties with respect to a parameter."""
    name, index = element
    uses = [
        u for u in flow.consumers[id(flow.trace.parameters[name])] if flow.trace.calls[u[0]].kernel.kind == "penalty"
    ]
    return sum(float(np.asarray(flow.contribution(use))[index]) for use in uses)
