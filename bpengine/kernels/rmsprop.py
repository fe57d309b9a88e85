"""RMSprop: each weight's step divided by a running average of its gradient's magnitude."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def rmsprop_update(
    xp: Namespace,
    w: Array,
    dw: Array,
    v: Array,
    t: Array,
    lr: Array,
    *,
    decay: float = 0.9,
    eps: float = 1e-8,
) -> tuple[Array, Array]:
    """Return (new w, new v); v is a running mean of the squared gradient.

    v = decay v + (1 - decay) dw^2; w = w - lr dw / (sqrt(v) + eps). v starts at 0, without a correction: the
    first step is lr / sqrt(1 - decay) long. eps stands outside of the root. t is not used.
    Shapes: w, dw, v any one shape; t, lr (1,).
    Source: Tieleman, Hinton, "Lecture 6.5 - rmsprop: divide the gradient by a running average of its recent magnitude",
    COURSERA: Neural networks for machine learning, 2012.
    """
    v = decay * v + (1.0 - decay) * (dw * dw)
    return w - lr * (dw / (xp.sqrt(v) + eps)), v


KERNEL = Kernel(
    name="rmsprop",
    kind="update",
    forward=rmsprop_update,
    backward=None,
    shapes={
        "w": ("I", "O"),
        "dw": ("I", "O"),
        "v": ("I", "O"),
        "t": (1,),
        "lr": (1,),
        "new_w": ("I", "O"),
        "new_v": ("I", "O"),
    },
    outputs=("new_w", "new_v"),
    domain={"v": "positive", "t": "positive", "lr": "positive"},
    variants=({}, {"decay": 0.5, "eps": 1e-3}),
    formula={
        "new_v": "decay * v + (1 - decay) * dw**2",
        "new_w": "w - lr * dw / (xp.sqrt(new_v) + eps)",
    },
    flops=lambda I, O, **_: (9 * I * O, 0),
    source="Tieleman, Hinton, COURSERA: Neural networks for machine learning, lecture 6.5 (2012)",
)
