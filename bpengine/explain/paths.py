"""The chain rule of one weight: every path from the loss to it, factor by factor, and their sum.

dL/dw = sum over paths of dL/dy * slope * ... * slope * input. The number of paths grows with the product of the widths, so
the largest are found best first, without walking the others; the sum of all comes out of a walk forward through the kernel
calls, which uses no backward pass but the loss's, and what the largest leave of it is one term.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.check.report import finite
from bpengine.errors import ConfigError
from bpengine.explain.find import Element, check_row, element_name, find_element
from bpengine.explain.flow import Flow
from bpengine.explain.labels import back_label
from bpengine.explain.reach import Reached, start
from bpengine.explain.search import Search
from bpengine.explain.slopes import parameter_factors
from bpengine.explain.sums import Term, exact_sum
from bpengine.explain.trace import Trace
from bpengine.explain.unit import allowed
from bpengine.explain.words import Words, factor, shown, words
from bpengine.ops import Call


@dataclass(frozen=True)
class Factor:
    """One link of a path: the derivative of what `kernel` in layer `place` makes of it, at a unit and row."""

    kernel: str
    place: str
    route: str
    unit: int
    row: int
    value: float


@dataclass(frozen=True)
class Path:
    """One way from the loss to a weight: the factors, the loss first, and their product."""

    factors: tuple[Factor, ...]
    product: float


@dataclass(frozen=True)
class Paths:
    """The chain rule of one parameter: total = the paths' products + rest, and gradient is what the engine says.

    rows: the rows of the batch it is taken over. count: how many paths there are; paths: the largest. all_paths: the sum of
    all, found without the backward pass. gradient: the engine's, without penalty; penalty: what penalties add to it.
    """

    name: str
    rows: tuple[int, ...]
    count: int
    paths: tuple[Path, ...]
    rest: float
    all_paths: float
    gradient: float
    penalty: float
    magnitude: float
    depth: int
    eps: float

    @property
    def agrees(self) -> bool:
        """True when the sum of all paths is the engine's gradient, but for rounding: one per factor and per sum."""
        limit = allowed(self.count if self.count < 1e6 else 10**6) * self.eps * self.depth * self.magnitude
        return bool(abs(self.all_paths - self.gradient) <= limit)

    def text(self, lang: str = "en") -> str:
        """Return the paths in words, English or Portuguese."""
        say = words(lang)
        lines = [say("path_title", name=self.name, count=f"{self.count:,}")]
        for path in self.paths:
            text = " x ".join(factor(f.value, 6) for f in path.factors)
            lines += [f"  {_route(path, say)}", f"    {text} = {shown(path.product)}"]
        if self.count > len(self.paths):
            lines.append(f"  {say('path_rest', count=f'{self.count - len(self.paths):,}')}: {shown(self.rest)}")
        verdict = say("path_agree" if self.agrees else "path_differ")
        lines.append(f"  {say('path_all')} = {shown(self.all_paths)}")
        lines.append(f"  {say('path_engine')} = {shown(self.gradient)}: {verdict}")
        if self.penalty:
            lines.append(f"  ({say('path_penalty', value=shown(self.penalty))})")
        return "\n".join(lines)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per factor: pandas.DataFrame(paths.to_rows())."""
        return [
            {"path": i, "link": k, **vars(f), "product": path.product}
            for i, path in enumerate(self.paths)
            for k, f in enumerate(path.factors)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        paths = [{"product": p.product, "factors": [vars(f) for f in p.factors]} for p in self.paths]
        told: dict[str, Any] = finite({**vars(self), "paths": paths, "agrees": self.agrees})
        return told

    def __str__(self) -> str:
        return self.text()


def paths(
    model: Any, x: Any, y: Any, name: str, *, sample: int | None = None, largest: int = 10, weights: Any = None
) -> Paths:
    """Return the chain rule of one parameter, "0.weight[2,1]": the paths from the loss to it with the largest products.

    sample: over this row of the batch only. Raises ConfigError for a name or a row that does not exist, or for a layer whose
    backward pass is not made of kernels known here.
    """
    return paths_of(model.trace(x, y, weights), name, sample=sample, largest=largest)


def paths_of(traced: Trace, name: str, *, sample: int | None = None, largest: int = 10) -> Paths:
    """Return the chain rule of one parameter of a step that was traced already."""
    element, flow = find_element(traced.parameters, name), Flow(traced)
    if isinstance(largest, bool) or not isinstance(largest, (int, np.integer)) or largest < 1:
        raise ConfigError(f"paths requires largest to be a whole number of at least 1, got {largest!r}.")
    position, argument = _use(flow, element)
    rows = list(range(traced.rows)) if sample is None else [check_row(traced.rows, sample)]
    call = traced.calls[position]
    inputs, unit = _inputs(call, argument, element)
    arrays, edges = _downstream(flow, call.result[0])
    dy = np.asarray(traced.calls[traced.turn].result, dtype=float)
    end = _all(start(inputs, rows, unit, call.result[0].shape), arrays, edges, dy)
    link = (call.kernel.name, call.place, "input", unit)
    begin = [(float(inputs[r]), call.result[0], (*link, r, float(inputs[r]))) for r in rows]
    found = [
        Path(_factors(links), product) for product, links in islice(Search(arrays, edges, dy).largest(begin), largest)
    ]
    gradient = exact_sum(inputs[rows] * np.asarray(flow.cotangent(position)[rows, unit], dtype=float))
    whole = float(end.total.sum())
    return Paths(
        element_name(element), tuple(rows), int(end.count.sum()), tuple(found),
        exact_sum(np.array([whole, *(-path.product for path in found)])), whole, gradient, _penalty(flow, element),
        float(end.magnitude.sum()), len(arrays) + 2, flow.eps,
    )  # fmt: skip


def _downstream(flow: Flow, first: HostArray) -> tuple[list[HostArray], dict[int, Any]]:
    """Return the arrays that are made of `first`, in order, and each one's uses: (call, slopes), None for the loss's."""
    calls, arrays, edges = flow.trace.calls, [first], dict[int, Any]()
    for array in arrays:  # grows while it is walked
        edges[id(array)] = found = []
        for use in flow.uses.get(id(array), []):
            call = calls[use[0]]
            slopes = None if call.kernel.kind == "loss" else flow.slopes(use)
            if slopes is None and call.kernel.kind != "loss":
                raise ConfigError(
                    f"the slopes of kernel {call.kernel.name!r} in layer {call.place} are not known here."
                )
            found.append((call, slopes))
            if slopes is not None and not any(call.result[0] is known for known in arrays):
                arrays.append(call.result[0])
        if not found:
            raise ConfigError(
                "a layer on the way to the loss computes outside of kernels: its paths cannot be followed."
            )
    return sorted(arrays, key=lambda array: flow.makers[id(array)]), edges


def _all(begun: Reached, arrays: list[HostArray], edges: Mapping[int, Any], dy: HostArray) -> Reached:
    """Return the sum over all paths at the loss."""
    reached = {id(arrays[0]): begun}
    end = Reached(np.zeros(dy.shape), np.zeros(dy.shape), np.zeros(dy.shape))
    for array in arrays:
        here = reached[id(array)]
        for call, slopes in edges[id(array)]:
            if slopes is None:
                end += Reached(here.total * dy, here.magnitude * np.abs(dy), here.count * (dy != 0))
                continue
            made, step = id(call.result[0]), here.through(slopes)
            reached[made] = reached[made] + step if made in reached else step
    return end


def _factors(links: list[Any]) -> tuple[Factor, ...]:
    return tuple(Factor(*link) for link in reversed(links))


def _penalty(flow: Flow, element: Element) -> float:
    """Return what the penalties add to the gradient of a parameter."""
    name, index = element
    uses = [u for u in flow.uses[id(flow.trace.parameters[name])] if flow.trace.calls[u[0]].kernel.kind == "penalty"]
    return sum(float(np.asarray(flow.contribution(use))[index]) for use in uses)


def _route(path: Path, say: Words) -> str:
    """Name the stations of a path, from the loss to the weight."""
    return " <- ".join(_station(f, say) for f in path.factors)


def _station(f: Factor, say: Words) -> str:
    if f.route == "loss":
        return say("factor_loss", unit=f.unit, row=f.row)
    if f.route == "input":
        return say("factor_input", row=f.row)
    return back_label(Term(f.kernel, f.place, f.route, f.unit, f.row, f.value, 1.0, f.value), say)


def _use(flow: Flow, element: Element) -> tuple[int, str]:
    """Return the layer's call that used a parameter."""
    calls, array = flow.trace.calls, flow.trace.parameters[element[0]]
    uses = [u for u in flow.uses.get(id(array), []) if calls[u[0]].kernel.kind != "penalty"]
    if not uses or uses[0][1] not in parameter_factors(calls[uses[0][0]]):
        raise ConfigError(f"parameter {element_name(element)!r} is used outside of the kernels that are known here.")
    return uses[0]


def _inputs(call: Call, argument: str, element: Element) -> tuple[HostArray, int]:
    """Return what a parameter is multiplied by in each row (rows,), and the unit it belongs to."""
    given, unit = parameter_factors(call)[argument], element[1][-1]
    if given is None:
        return np.ones(len(call.result[0])), unit
    return np.asarray(given[:, element[1][0]], dtype=float), unit
