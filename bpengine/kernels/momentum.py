"""Gradient descent with momentum (the heavy ball)."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def momentum_update(
    xp: Namespace,
    w: Array,
    dw: Array,
    u: Array,
    t: Array,
    lr: Array,
    *,
    momentum: float = 0.9,
) -> tuple[Array, Array]:
    """Return (new w, new u); the velocity u is a decaying sum of past gradients.

    u = momentum u + dw; w = w - lr u. The learning rate stands outside of the velocity, so that changing it in training
    acts at once (with lr inside u, as Polyak writes it, the two agree for a constant lr). t is not used.
    Shapes: w, dw, u any one shape; t, lr (1,).
    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Computational Mathematics
    and Mathematical Physics 4, 1964.
    """
    u = momentum * u + dw
    return w - lr * u, u


KERNEL = Kernel(
    name="momentum",
    kind="update",
    forward=momentum_update,
    backward=None,
    shapes={
        "w": ("I", "O"),
        "dw": ("I", "O"),
        "u": ("I", "O"),
        "t": (1,),
        "lr": (1,),
        "new_w": ("I", "O"),
        "new_u": ("I", "O"),
    },
    outputs=("new_w", "new_u"),
    domain={"t": "positive", "lr": "positive"},
    variants=({}, {"momentum": 0.5}),
    formula={
        "new_u": "momentum * u + dw",
        "new_w": "w - lr * new_u",
    },
    flops=lambda I, O, **_: (4 * I * O, 0),
    source="Polyak, USSR Computational Mathematics and Mathematical Physics 4 (1964)",
)
