"""How a platform runs an epoch: as one loop that ends by itself, or in windows whose reports the host reads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from bpengine.kernels._kernel import Array


@dataclass(frozen=True)
class EpochPlan:
    """Settings of a platform. Sizes are in bytes of rows, and determine how many rows are gathered at once."""

    small: int  # a batch of this size is gathered in its own step
    taken: int  # the most bytes of rows that are gathered at once for later steps
    windows: tuple[int, ...] = ()  # lengths in steps, the longest first, the last one 1; none: one loop
    unroll: int = 1  # steps in one round of a window's loop

    def steps_at_once(self, data: tuple[Array, ...], order: tuple[int, ...]) -> int:
        """Return for how many steps, a power of two, rows are gathered at once: 1 where batches are large.

        order: the shape of the row numbers (steps, batch), or (steps, models, batch).
        Gathering 32 rows of 64 numbers in every step takes half as long as the step itself (measured on two cores).
        """
        steps, batch = order[0], prod(order[1:])
        size = batch * sum(prod(a.shape[1:]) * a.dtype.itemsize for a in data)
        return 1 if size >= self.small else min(steps, 1 << (max(self.taken // max(size, 1), 1).bit_length() - 1))


# gathering a batch below 256 KiB in several threads does not pay, but XLA uses several anyway
LOOP = EpochPlan(small=2**18, taken=2**23)
# On a GPU the host reads the predicate of XLA's loop after every step, unless the loop counts to a constant. The sizes
# are not measured: a window's rows should stay in the second-level cache of a large GPU.
WINDOWED = EpochPlan(small=2**25, taken=2**25, windows=(64, 8, 1), unroll=8)


def plan_for(platform: str) -> EpochPlan:
    """Return the plan of a platform by JAX's name for it."""
    return WINDOWED if platform in ("gpu", "cuda", "rocm") else LOOP
