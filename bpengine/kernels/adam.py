"""Adam: adaptive moment estimation."""

from __future__ import annotations

from bpengine.kernels._functions import bias_correction
from bpengine.kernels._kernel import Array, Kernel, Namespace


def adam_update(
    xp: Namespace,
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    t: Array,
    lr: Array,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Array, Array, Array]:
    """Return (new w, new m, new v) after step number t = 1, 2, ...

    m = beta1 m + (1 - beta1) dw; v = beta2 v + (1 - beta2) dw^2; with c_i = 1 - beta_i^t
    w = w - lr (m / c1) / (sqrt(v / c2) + eps), written with the two corrections moved into scalars, as the paper
    suggests. With beta1 = 0 there is no momentum (m = dw), with beta2 = 0 no average of squares (v = dw^2).
    Shapes: w, dw, m, v any one shape; t, lr (1,).
    Source: Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1 and section 2.
    """
    m = beta1 * m + (1.0 - beta1) * dw
    v = beta2 * v + (1.0 - beta2) * (dw * dw)
    correction1 = bias_correction(xp, t, beta1)
    correction2 = xp.sqrt(bias_correction(xp, t, beta2))
    step = lr * correction2 / correction1
    return w - step * (m / (xp.sqrt(v) + eps * correction2)), m, v


KERNEL = Kernel(
    name="adam",
    kind="update",
    forward=adam_update,
    backward=None,
    shapes={
        "w": ("I", "O"),
        "dw": ("I", "O"),
        "m": ("I", "O"),
        "v": ("I", "O"),
        "t": (1,),
        "lr": (1,),
        "new_w": ("I", "O"),
        "new_m": ("I", "O"),
        "new_v": ("I", "O"),
    },
    outputs=("new_w", "new_m", "new_v"),
    domain={"v": "positive", "t": "positive", "lr": "positive"},
    formula={
        "new_m": "beta1 * m + (1 - beta1) * dw",
        "new_v": "beta2 * v + (1 - beta2) * dw**2",
        "new_w": "w - lr * (new_m / (1 - beta1**t)) / (xp.sqrt(new_v / (1 - beta2**t)) + eps)",
    },
    flops=lambda I, O: (14 * I * O, 0),
    source="Kingma, Ba, ICLR 2015",
)
