"""Stochastic gradient descent."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def sgd_update(
    xp: Namespace,
    w: Array,
    dw: Array,
    t: Array,
    lr: Array,
) -> tuple[Array]:
    """Return (new w,) after a step against the gradient.

    w = w - lr dw. The step number t is not used; all update rules have the same arguments.
    Shapes: w, dw any one shape; t, lr (1,).
    Source: Robbins, Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22, 1951.
    """
    return (w - lr * dw,)


KERNEL = Kernel(
    name="sgd",
    kind="update",
    forward=sgd_update,
    backward=None,
    shapes={
        "w": ("I", "O"),
        "dw": ("I", "O"),
        "t": (1,),
        "lr": (1,),
        "new_w": ("I", "O"),
    },
    outputs=("new_w",),
    domain={"t": "positive", "lr": "positive"},
    formula={
        "new_w": "w - lr * dw",
    },
    flops=lambda I, O, **_: (2 * I * O, 0),
    source="Robbins, Monro, Annals of Mathematical Statistics 22 (1951)",
)
