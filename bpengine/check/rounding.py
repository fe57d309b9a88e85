"""Rounding made visible: ops whose every call sees its arrays changed by about one rounding, up or down at random.

How far a result then moves is how far rounding can carry it, whatever the order of the sums: no two correct ways to
compute it need agree better than that.
Source: Vignes, "A stochastic arithmetic for reliable scientific computation", Mathematics and Computers in Simulation 35,
1993.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bpengine.kernels import KERNELS
from bpengine.ops import Ops

POOL = 65_521  # random numbers, used again and again: drawing them anew for each call would take most of the time


class RoundedOps(Ops):
    """Ops around other ops; `eps` is the size of one rounding."""

    def __init__(self, ops: Ops, eps: float, draw: int) -> None:
        self.xp = ops.xp
        self._noise = 1.0 + eps * np.random.default_rng(draw).uniform(-1.0, 1.0, POOL)
        self._used = 0
        for kernel in KERNELS.values():
            for function in filter(None, (kernel.forward, kernel.backward)):
                name = function.__name__
                setattr(self, name, partial(self._call, getattr(ops, name), kernel.backward is function))

    def _call(self, function: Callable[..., Any], backward: bool, *args: Any, **options: Any) -> Any:
        result = function(*(self._rounded(a) for a in args), **options)
        return self._rounded(result) if backward else result

    def _rounded(self, value: Any) -> Any:
        if isinstance(value, tuple):
            parts = [self._rounded(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if not hasattr(value, "dtype") or not self.xp.isdtype(value.dtype, "real floating"):
            return value
        self._used = (self._used + 7919) % POOL  # the noise of a call starts elsewhere in the pool
        noise = np.resize(np.roll(self._noise, self._used), tuple(value.shape))
        return value * self.xp.asarray(noise, dtype=value.dtype)
