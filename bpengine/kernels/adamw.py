"""AdamW: Adam with weight decay that does not pass through the moments."""

from __future__ import annotations

from bpengine.kernels._functions import bias_correction
from bpengine.kernels._kernel import Array, Kernel, Namespace


def adamw_update(
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
    weight_decay: float = 0.01,
) -> tuple[Array, Array, Array]:
    """Return (new w, new m, new v) after step number t = 1, 2, ...

    m = beta1 m + (1 - beta1) dw; v = beta2 v + (1 - beta2) dw^2; with c_i = 1 - beta_i^t
    w = w - lr ((m / c1) / (sqrt(v / c2) + eps) + weight_decay w): the paper's schedule multiplier is lr here, its alpha
    is 1, as in PyTorch, Keras and Optax. The corrections c_i are scalars, as in `adam`.
    Shapes: w, dw, m, v any one shape; t, lr (1,).
    Source: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
    """
    m = beta1 * m + (1.0 - beta1) * dw
    v = beta2 * v + (1.0 - beta2) * (dw * dw)
    correction1 = bias_correction(xp, t, beta1)
    correction2 = xp.sqrt(bias_correction(xp, t, beta2))
    step = lr * correction2 / correction1
    return w * (1.0 - lr * weight_decay) - step * (m / (xp.sqrt(v) + eps * correction2)), m, v


KERNEL = Kernel(
    name="adamw",
    kind="update",
    forward=adamw_update,
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
    variants=({}, {"weight_decay": 0.1, "beta1": 0.8}),
    formula={
        "new_m": "beta1 * m + (1 - beta1) * dw",
        "new_v": "beta2 * v + (1 - beta2) * dw**2",
        "new_w": "w - lr * ((new_m / (1 - beta1**t)) / (xp.sqrt(new_v / (1 - beta2**t)) + eps) + weight_decay * w)",
    },
    flops=lambda I, O, **_: (15 * I * O, 0),
    source="Loshchilov, Hutter, ICLR 2019",
)
