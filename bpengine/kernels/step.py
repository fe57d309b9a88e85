"""Step function: y = 1 above a threshold, 0 elsewhere."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


def step_fwd(xp: Namespace, x: Array, *, threshold: float = 0.0) -> tuple[Array, None]:
    """Compute y = [x > threshold]; at the threshold itself y is 0.

    Shapes: x (B, O) -> y (B, O).
    Source: McCulloch, Pitts, "A logical calculus of the ideas immanent in nervous activity", 1943.
    """
    return xp.where(x == x, mask(xp, x > threshold, x), x), None  # NaN stays NaN


KERNEL = elementwise(
    "step",
    step_fwd,
    None,
    flops=(1, 0),
    variants=({}, {"threshold": 0.5}),
    formula={"y": "x > threshold"},
    kink="x = threshold: a jump; y is 0 there",
    no_backward="the derivative of a step is 0 everywhere it exists, so nothing could be learned through it",
    source="McCulloch, Pitts, Bulletin of Mathematical Biophysics 5 (1943)",
    output="probabilities",
)
