"""Advance the counter that random masks are drawn from: each step has masks of its own."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def advance(xp: Namespace, counter: Array) -> Array:
    """Return (seed, step + 1) from (seed, step), modulo 2^32.

    Shapes: counter (2,) of uint32 -> (2,) of uint32.
    Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (counter-based
    generators: the state is a number that counts, all randomness is in the output function).
    """
    return counter + xp.arange(2, dtype=counter.dtype)


KERNEL = Kernel(
    name="advance",
    kind="helper",
    forward=advance,
    backward=None,
    shapes={"counter": (2,), "new_counter": (2,)},
    outputs=("new_counter",),
    domain={"counter": "counter"},
    formula={"new_counter": "xp.stack([counter[0], counter[1] + 1])"},
    flops=lambda **_: (2, 0),
    source="Salmon, Moraes, Dror, Shaw, SC 2011",
)
