"""Step size: the largest change of any element, for a stopping rule."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def largest_change(xp: Namespace, old: Array, new: Array) -> Array:
    """Return max |new - old|.

    Shapes: old, new any one shape -> (1,).
    Source: Dennis, Schnabel, "Numerical methods for unconstrained optimization and nonlinear equations", 1983,
    section 7.2 (stopping on the step).
    """
    return xp.reshape(xp.max(xp.abs(new - old)), (1,))


KERNEL = Kernel(
    name="step_size",
    kind="helper",
    forward=largest_change,
    backward=None,
    shapes={"old": ("I", "O"), "new": ("I", "O"), "change": (1,)},
    outputs=("change",),
    formula={"change": "xp.max(xp.abs(new - old))"},
    flops=lambda I, O, **_: (3 * I * O, 0),
    source="Dennis, Schnabel, Numerical methods for unconstrained optimization (1983), section 7.2",
)
