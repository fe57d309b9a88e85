"""Update rules in blocks: a rule over a large parameter is run piece by piece, each small enough to stay in the cache.

A separate file: `joined_updates` runs the small parameters, this one the large ones.

A rule is a dozen passes over its arrays, in each of which NumPy reads them from memory and writes them back. A rule is
elementwise, and NumPy rounds an element the same way at every position, so the bits are the same.
"""

from __future__ import annotations

import numpy as np

from bpengine.kernels._kernel import Array
from bpengine.ops import Rule

LARGE = 2**21  # elements; below, the caches of current processors hold the arrays from one pass to the next
BLOCK = 2**18  # elements of a piece


def in_blocks(rule: Rule, *arrays: Array) -> tuple[Array, ...]:
    """Run rule(w, dw, *slots, t, lr), in blocks where the parameter is large."""
    *whole, t, lr = arrays
    if not all(map(_splits, whole)):
        return rule(*arrays)
    flat = [array.reshape(-1) for array in whole]
    results: list[Array] = []
    for start in range(0, flat[0].size, BLOCK):
        piece = slice(start, start + BLOCK)
        parts = rule(*(array[piece] for array in flat), t, lr)
        results = results or [np.empty(flat[0].shape, part.dtype) for part in parts]
        for result, part in zip(results, parts, strict=True):
            result[piece] = part
    return tuple(result.reshape(whole[0].shape) for result in results)


def _splits(array: Array) -> bool:
    """Tell whether it is a large NumPy array in C order: traced arrays and other layouts are not cut."""
    return type(array) is np.ndarray and array.size > LARGE and array.flags.c_contiguous
