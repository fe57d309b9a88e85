"""Whether what is asked for has room in memory: judged from its size, before any of it is made."""

from __future__ import annotations

from typing import Final

import numpy as np

import bpengine as bp
from bpengine.errors import ConfigError
from bpengine.system import hardware
from bpengine.training import Optimizer

DRAWN: Final = 8  # bytes of an initial weight: they are drawn in float64
POINTS: Final = 1_000_000  # of a sweep: each is a line, and a pass over the batch


def require_room(network: bp.Network, dtype: str, *, copies: int) -> None:
    """Refuse a network whose parameters have no room in memory.

    copies: of the parameters in `dtype` that are needed together, such as themselves, their gradient and its averages; the
    least is asked for, so that what is refused could not have run.
    Raises ConfigError that names the bytes.
    """
    free, count = hardware.room(), parameters(network)
    itemsize = np.dtype(dtype).itemsize if dtype in ("float32", "float64") else 4
    needed = count * max(DRAWN + itemsize, copies * itemsize)
    if free is not None and needed > free:
        shape = "-".join(map(str, network.sizes))
        raise ConfigError(
            f"a network of {shape} requires {needed:,} bytes ({hardware.gib(needed)}) for its {count:,} parameters, got "
            f"{hardware.gib(free)} of memory. Give smaller --layers."
        )


def copies(update: Optimizer) -> int:
    """Return how often training holds the parameters: themselves, their gradient, the rule's averages."""
    return len(bp.KERNELS[update.kernel].arguments) - 2  # all but the number of the step and the step size


def parameters(network: bp.Network) -> int:
    """Return the number of parameters of a network of Dense layers."""
    pairs = zip(network.layers, network.sizes, strict=False)
    return sum((inputs + 1) * layer.units for layer, inputs in pairs if isinstance(layer, bp.Dense))


def require_points(counts: list[int]) -> None:
    """Refuse a sweep of more points than can be told; raise ConfigError that names the number."""
    points = 1
    for count in counts:
        points *= count
    if points > POINTS:
        raise ConfigError(f"--sweep requires at most {POINTS:,} points, got {points:,}. Give a smaller COUNT.")
