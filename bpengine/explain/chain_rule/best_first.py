"""The largest paths through a step, by best-first search: exact, without visiting the other paths.

For every element of every array `bounds` holds the largest absolute product that a path from there to the loss can have.
A partial path's product times that bound is the product of its best completion, so a priority queue yields the paths in
order of their size. Source: Hart, Nilsson, Raphael, "A formal basis for the heuristic determination of minimum cost paths",
1968.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels._kernel import LocalDerivative
from bpengine.ops import Call

Link = tuple[str, str, str, int, int, float]  # kernel, place, route, unit, row, value
Edges = Mapping[
    int, Sequence[tuple[Call, Sequence[LocalDerivative] | None]]
]  # id of an array -> its uses; None for the loss


class Search:
    """The paths from elements of an array to the loss; `dy` is the gradient of the loss with respect to the outputs.

    `arrays` are the arrays between the two, in the order of the forward pass.
    """

    def __init__(self, arrays: Sequence[HostArray], edges: Edges, dy: HostArray) -> None:
        self.edges, self.dy = edges, np.asarray(dy, dtype=float)
        self.bounds: dict[int, HostArray] = {}
        # From the loss backwards: an element's bound needs the bounds of all its consumers.
        for array in reversed(arrays):
            ways = [self._bound(call, slopes) for call, slopes in edges[id(array)]]
            self.bounds[id(array)] = np.asarray(np.max(ways, axis=0))

    def largest(self, begin: Sequence[tuple[float, HostArray, Link]]) -> Iterator[tuple[float, list[Link]]]:
        """Yield paths by the size of their product: the product, and the links from the weight to the loss.

        begin: the first link of each path, its value, and the array at its end.
        """
        order = count()
        queue: list[tuple[float, int, float, HostArray | None, tuple[Any, ...]]] = []

        def push(product: float, array: HostArray | None, chain: tuple[Any, ...]) -> None:
            _, _, _, unit, row, _ = chain[0]
            bound = abs(product) * (1.0 if array is None else float(self.bounds[id(array)][row, unit]))
            # A path with a factor of 0 contributes nothing, and there may be very many of them.
            if bound > 0:
                heapq.heappush(queue, (-bound, next(order), product, array, chain))

        for product, array, link in begin:
            push(product, array, (link, ()))
        while queue:
            _, _, product, here, chain = heapq.heappop(queue)
            # The bound of a complete path is its own size, so nothing left in the queue can be larger.
            if here is None:
                yield product, _unrolled(chain)
                continue
            _, _, _, unit, row, _ = chain[0]
            for slope, following, link in self._links(here, row, unit):
                push(product * slope, following, (link, chain))

    def _links(self, array: HostArray, row: int, unit: int) -> Iterator[tuple[float, HostArray | None, Link]]:
        for call, slopes in self.edges[id(array)]:
            if slopes is None:
                slope = float(self.dy[row, unit])
                yield slope, None, (call.kernel.name, call.place, "loss", unit, row, slope)
                continue
            output: HostArray = call.result[0]
            for s in slopes:
                for at, to, slope in _ends(s, row, unit):
                    yield slope, output, (call.kernel.name, call.place, s.route, to, at, slope)

    def _bound(self, call: Call, slopes: Sequence[LocalDerivative] | None) -> HostArray:
        if slopes is None:
            return np.asarray(np.abs(self.dy))
        ahead = self.bounds[id(call.result[0])]
        return np.asarray(np.max([_largest_way(s, ahead) for s in slopes], axis=0))


def _largest_way(s: LocalDerivative, ahead: HostArray) -> HostArray:
    """Return, for each element, the largest |slope| * bound over its consumers."""
    size = np.abs(s.p)
    if s.kind == "units":
        return np.stack([np.max(size * bound, axis=1) for bound in ahead])
    if s.q is None:
        return np.asarray(size * ahead)
    return np.asarray(size * np.max(np.abs(s.q) * ahead, axis=1 if s.kind == "row" else 0, keepdims=True))


def _ends(s: LocalDerivative, row: int, unit: int) -> Iterator[tuple[int, int, float]]:
    """Yield (row, unit, slope) of the elements that consume an element."""
    if s.kind == "units":
        yield from ((row, k, float(slope)) for k, slope in enumerate(s.p[unit]))
    elif s.q is None:
        yield row, unit, float(s.p[row, unit])
    elif s.kind == "row":
        yield from ((row, k, float(slope)) for k, slope in enumerate(s.p[row, unit] * s.q[row]))
    else:
        yield from ((b, unit, float(slope)) for b, slope in enumerate(s.p[row, unit] * s.q[:, unit]))


def _unrolled(chain: tuple[Any, ...]) -> list[Link]:
    links = []
    while chain:
        link, chain = chain
        links.append(link)
    return links[::-1]
