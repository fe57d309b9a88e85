"""Gradient clipping: all gradients scaled by one factor, so that their global norm stays below a bound."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def clip_by_global_norm(xp: Namespace, norm: Array, d: Array, *, max_norm: float) -> Array:
    """Return d * min(1, max_norm / norm), for max_norm > 0 and the `norm` from `global_norm`.

    It is computed as max_norm / max(norm, max_norm), which is 1 also for norm = 0.
    Shapes: norm (1,), d any -> like d.
    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1.
    """
    return d * (max_norm / xp.clip(norm, max_norm, None))


KERNEL = Kernel(
    name="clip_by_global_norm",
    kind="helper",
    forward=clip_by_global_norm,
    backward=None,
    shapes={"norm": (1,), "d": ("I", "O"), "clipped": ("I", "O")},
    outputs=("clipped",),
    domain={"norm": "positive"},
    variants=({"max_norm": 0.1}, {"max_norm": 100.0}),
    formula={"clipped": "d * xp.minimum(1, max_norm / norm)"},
    flops=lambda I, O, **_: (I * O, 0),
    source="Pascanu, Mikolov, Bengio, ICML 2013, algorithm 1",
)
