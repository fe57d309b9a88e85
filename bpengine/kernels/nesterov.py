"""Nesterov momentum: the gradient is taken at the point to which the velocity leads."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def nesterov_update(
    xp: Namespace,
    w: Array,
    dw: Array,
    u: Array,
    t: Array,
    lr: Array,
    *,
    momentum: float = 0.9,
) -> tuple[Array, Array]:
    """Return (new w, new u) of Nesterov's accelerated gradient.

    u = momentum u + dw; w = w - lr (dw + momentum u), with the new u. This is Sutskever's form in the variables of
    PyTorch and Keras: w is the looked-ahead point, where the gradient is taken, so nothing has to be moved back. t is
    not used.
    Shapes: w, dw, u any one shape; t, lr (1,).
    Source: Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k^2)", Soviet
    Mathematics Doklady 27, 1983; Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in
    deep learning", ICML 2013.
    """
    u = momentum * u + dw
    return w - lr * (dw + momentum * u), u


KERNEL = Kernel(
    name="nesterov",
    kind="update",
    forward=nesterov_update,
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
        "new_w": "w - lr * (dw + momentum * new_u)",
    },
    flops=lambda I, O, **_: (6 * I * O, 0),
    source="Nesterov, Soviet Mathematics Doklady 27 (1983); the form: Sutskever, Martens, Dahl, Hinton, ICML 2013",
)
