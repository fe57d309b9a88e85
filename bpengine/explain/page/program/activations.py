"""Each elementwise activation as a short list of operations: z and dy in, y and dx out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.page.program.followed import FollowedArray, followed
from bpengine.explain.page.program.functions import ELEMENTWISE
from bpengine.explain.page.program.operations import Operations
from bpengine.kernels import KERNELS

ALONE = {*ELEMENTWISE.values(), "input", "constant", "cast", "where", "rint"}  # elementwise operations


class Activated(NamedTuple):
    """What the backward of an exchangeable activation needs: its input, the number of the call, and its options."""

    z: Any
    use: int
    options: Mapping[str, float]


class Swappable:
    """The activations of KERNELS that can replace each other, as lists of operations by key.

    A key is the name, with the options that differ from the defaults: "leaky_relu alpha=0.2".
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.lists: dict[str, dict[str, Any]] = {}
        for name, row in KERNELS.items():
            if row.kind == "activation" and row.backward is not None and row.local_derivatives is None:
                self.key(name, {})
        self.names = tuple(self.lists)

    def key(self, name: str, options: Mapping[str, float]) -> str:
        """Return the key of an activation with options; its list is made when it is first asked for."""
        own = {n: v for n, v in options.items() if v != KERNELS[name].options.get(n)}
        key = " ".join([name, *(f"{n}={v:g}" for n, v in sorted(own.items()))])
        if key not in self.lists and (steps := self._steps(name, options)):
            self.lists[key] = steps
        return key

    def _steps(self, name: str, options: Mapping[str, float]) -> dict[str, Any] | None:
        """Return the operations of one activation; None for one that is not elementwise."""
        operations, row = Operations(), KERNELS[name]
        z, dy = (_input(operations, np.array([[value]], dtype=self.dtype)) for value in (0.7, 1.3))
        y, residual = row.forward(np, z, **options)
        assert row.backward is not None
        dx = row.backward(np, residual, dy)
        if y.number is None or dx.number is None or not {step[0] for step in operations.list} <= ALONE:
            return None
        return {"operations": operations.list, "z": z.number, "dy": dy.number, "y": y.number, "dx": dx.number}


def _input(operations: Operations, values: HostArray) -> FollowedArray:
    return followed(operations, values, operations.input(values))
