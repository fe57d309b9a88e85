"""Halting: decide on the device whether training ends after this step, so that the host need not read the loss."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Names, Namespace


def halt(
    xp: Namespace,
    loss: Array,
    step_size: Array | None = None,
    *,
    loss_below: float | None = None,
    step_below: float | None = None,
) -> Array:
    """Return whether the loss is not finite, or is below `loss_below`, or the step size is below `step_below`.

    Shapes: loss (), step_size (1,) or None -> boolean ().
    """
    stop = ~xp.isfinite(loss)
    if loss_below is not None:
        stop = stop | (loss < loss_below)
    if step_size is not None and step_below is not None:
        stop = stop | (xp.max(step_size) < step_below)
    return stop


def _stop(xp: Namespace, names: Names) -> Array:
    """Return whether to stop; a threshold that is not set never stops."""
    stop = ~xp.isfinite(names["loss"])
    if names["loss_below"] is not None:
        stop = stop | (names["loss"] < names["loss_below"])
    if names["step_below"] is not None:
        stop = stop | (xp.max(names["step_size"]) < names["step_below"])
    return stop


KERNEL = Kernel(
    name="halt",
    kind="helper",
    forward=halt,
    backward=None,
    shapes={"loss": (), "step_size": (1,), "stop": ()},
    outputs=("stop",),
    variants=({"loss_below": 0.5, "step_below": 0.1},),
    formula={"stop": "~xp.isfinite(loss) | (loss < loss_below) | (xp.max(step_size) < step_below)"},
    flops=lambda **_: (4, 0),
    source="the engine's own",
    formula_values={"stop": _stop},
)
