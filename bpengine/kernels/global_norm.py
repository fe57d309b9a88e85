"""Global norm: the length of all gradients taken as one vector."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def global_norm(xp: Namespace, *arrays: Array) -> Array:
    """Return the square root of the sum of the squares of all elements of all arrays.

    Shapes: any -> (1,).
    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    total = sum(xp.sum(a * a) for a in arrays)
    return xp.reshape(xp.sqrt(total), (1,))


KERNEL = Kernel(
    name="global_norm",
    kind="helper",
    forward=global_norm,
    backward=None,
    shapes={"arrays": ("I", "O"), "norm": (1,)},  # of one array; it takes any number
    outputs=("norm",),
    formula={"norm": "xp.sqrt(xp.sum(arrays**2))"},
    flops=lambda I, O, **_: (2 * I * O, 0),
    source="Pascanu, Mikolov, Bengio, ICML 2013",
)
