"""Global norm: the length of all gradients taken as one vector."""

from __future__ import annotations

from functools import reduce

from bpengine.kernels._kernel import Array, Kernel, Namespace


def global_norm(xp: Namespace, *arrays: Array) -> Array:
    """Return the square root of the sum of the squares of all elements of all arrays.

    The elements are divided by the largest magnitude before they are squared (within limits where neither that number
    nor its inverse is 0 or infinite), so the norm is right wherever it is itself a number of the dtype; squares alone
    would overflow above 1.8e19 in float32, and vanish below 1e-23.
    Shapes: any -> (1,).
    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML 2013; the scaling:
    Blue, "A portable Fortran program to find the Euclidean norm of a vector", ACM TOMS 4, 1978.
    """
    limits = xp.finfo(arrays[0].dtype)
    largest = reduce(xp.maximum, (xp.max(xp.abs(a)) for a in arrays))
    scale = 1.0 / xp.clip(largest, float(limits.smallest_normal), 0.25 * float(limits.max))
    scaled = (a * scale for a in arrays)
    return xp.reshape(xp.sqrt(sum(xp.sum(a * a) for a in scaled)) / scale, (1,))


KERNEL = Kernel(
    name="global_norm",
    kind="helper",
    forward=global_norm,
    backward=None,
    shapes={"arrays": ("I", "O"), "norm": (1,)},  # for one array; the kernel takes any number of arrays
    outputs=("norm",),
    formula={"norm": "xp.sqrt(xp.sum(arrays**2))"},
    flops=lambda I, O, **_: (5 * I * O, 0),
    source="Pascanu, Mikolov, Bengio, ICML 2013; the scaling: Blue, ACM TOMS 4 (1978)",
)
