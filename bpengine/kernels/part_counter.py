"""Part counter: gives each part of a batch its own dropout masks when the parts are computed one after another."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace

STRIDE = 0x1E3779B1  # odd, so that its multiples reach every seed; below 2^31, which every library accepts


def part_counter(xp: Namespace, counter: Array, *, part: int) -> Array:
    """Return (seed + part * 0x1E3779B1, step) from (seed, step), the first modulo 2^32.

    Shapes: counter (2,) of uint32 -> (2,) of uint32.
    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the increment).
    """
    first = 1 - xp.arange(2, dtype=counter.dtype)
    return counter + first * (part * STRIDE % 2**31)


KERNEL = Kernel(
    name="part_counter",
    kind="helper",
    forward=part_counter,
    backward=None,
    shapes={"counter": (2,), "new_counter": (2,)},
    outputs=("new_counter",),
    domain={"counter": "counter"},
    variants=({"part": 0}, {"part": 3}),
    formula={"new_counter": "xp.concat([counter[:1] + part * 506952113 % 2**31, counter[1:]])"},
    flops=lambda **_: (2, 0),
    source="Steele, Lea, Flood, OOPSLA 2014",
)
