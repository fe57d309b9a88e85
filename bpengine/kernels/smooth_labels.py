"""Label smoothing: a part of every target is spread evenly over all classes before the loss is computed."""

from __future__ import annotations

from bpengine.kernels._formulas import class_targets
from bpengine.kernels._functions import one_hot
from bpengine.kernels._kernel import Array, Kernel, Namespace


def smooth_labels(xp: Namespace, target: Array, y: Array, *, smoothing: float, binary: bool = False) -> Array:
    """Return (1 - s) t + s / K, for s = `smoothing` and K classes: those of y, or 2 for a binary target per output.

    The cross-entropy is linear in its target, so it becomes (1 - s) times that of t plus s times that of the uniform
    distribution: training minimizes this loss, and reports show it.
    Shapes: target (B, O) or class numbers (B,), y (B, O) -> like y.
    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the inception architecture for computer vision", CVPR
    2016, section 7.
    """
    classes = 2 if binary else y.shape[1]
    return one_hot(xp, target, y) * (1.0 - smoothing) + smoothing / classes


KERNEL = Kernel(
    name="smooth_labels",
    kind="helper",
    forward=smooth_labels,
    backward=None,
    shapes={"target": ("B", "O"), "y": ("B", "O"), "smoothed": ("B", "O")},
    outputs=("smoothed",),
    domain={"target": "distribution"},
    target="classes",  # or a binary one per output, which has the same shape as y
    variants=({"smoothing": 0.1}, {"smoothing": 0.3, "binary": True}),
    formula={"smoothed": "(1 - smoothing) * target + smoothing / (2 if binary else y.shape[1])"},
    flops=lambda B, O, **_: (2 * B * O, 0),
    source="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016, section 7",
    formula_names=class_targets,
)
