"""Limits on sizes: networks that do not fit into memory and sweeps of too many points are refused before any work."""

from __future__ import annotations

from typing import Final

import numpy as np

import bpengine as bp
from bpengine.errors import ConfigError
from bpengine.system import hardware
from bpengine.training import Optimizer

DRAWN: Final = 8  # bytes of an initial weight, which is drawn in float64
POINTS: Final = 1_000_000  # points of a sweep: each is a line of output and a pass over the batch


def require_memory(network: bp.Network, dtype: str, *, copies: int) -> None:
    """Raise ConfigError, naming the bytes, for a network whose parameters do not fit into memory.

    copies: how many arrays of the parameters' size in `dtype` are needed together, such as the parameters, their gradient and
    its averages. It is a lower bound, so that whatever is refused could not have run.
    """
    free, count = hardware.allocatable(), parameters(network)
    itemsize = np.dtype(dtype).itemsize if dtype in ("float32", "float64") else 4
    needed = count * max(DRAWN + itemsize, copies * itemsize)
    if free is not None and needed > free:
        shape = "-".join(map(str, network.sizes))
        raise ConfigError(
            f"a network of {shape} requires {needed:,} bytes ({hardware.gib(needed)}) for its {count:,} parameters, got "
            f"{hardware.gib(free)} of memory. Give smaller --layers."
        )


def copies(update: Optimizer) -> int:
    """Return how many arrays of the parameters' size training needs: parameters, gradient, the rule's averages."""
    return len(bp.KERNELS[update.kernel].arguments) - 2  # all arguments but the number of the step and the step size


def parameters(network: bp.Network) -> int:
    """Return the number of parameters of a network of Dense layers."""
    pairs = zip(network.layers, network.sizes, strict=False)
    return sum((inputs + 1) * layer.units for layer, inputs in pairs if isinstance(layer, bp.Dense))


def require_points(counts: list[int]) -> None:
    """Raise ConfigError, naming the number, for a sweep of more than a million points."""
    points = 1
    for count in counts:
        points *= count
    if points > POINTS:
        raise ConfigError(f"--sweep requires at most {POINTS:,} points, got {points:,}. Give a smaller COUNT.")
