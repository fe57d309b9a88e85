"""The decision of each output: a step function's yes or no, the largest of several outputs, or a residual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS
from bpengine.system.quiet import Quiet


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one output of one row decides: `output` after the loss's link, `verdict`, the target, and whether they agree.

    kind: "step" (a step function at the threshold), "class" (the largest output), "value" (compared by its residual).
    """

    row: int
    unit: int
    kind: str
    output: float
    verdict: float
    target: float
    right: bool | None


def decisions(traced: Trace, rows: list[int], threshold: float) -> Iterator[Decision]:
    """Yield the decision of every output of some rows; a NaN output decides nothing and counts as wrong."""
    loss, y = traced.network.loss, np.asarray(traced.calls[traced.backward_start - 1].args[0])
    outputs = _linked(y, loss.link)
    makes = list(traced.layers.values())[-1].activation
    probability = loss.target == "binary" or loss.link == "sigmoid" or _makes_probabilities(makes)
    for row in rows:
        if loss.target == "classes":
            yield _largest(outputs, traced.target, row)
        for unit in range(outputs.shape[1]) if loss.target != "classes" else ():
            output, target = float(outputs[row, unit]), float(np.reshape(traced.target, outputs.shape)[row, unit])
            verdict = _stepped(output, threshold)
            right = None if target not in (0.0, 1.0) else verdict == target
            if probability:
                yield Decision(
                    row=row, unit=unit, kind="step", output=output, verdict=verdict, target=target, right=right
                )
            else:
                yield Decision(
                    row=row, unit=unit, kind="value", output=output, verdict=output, target=target, right=None
                )


def _makes_probabilities(activation: str | None) -> bool:
    """Tell whether each output is a probability by itself; the outputs of a softmax form one distribution."""
    kernel = KERNELS.get(activation or "")
    return kernel is not None and kernel.output == "probabilities" and kernel.family == "elementwise"


def _stepped(output: float, threshold: float) -> float:
    if np.isnan(output):
        return output
    return float(KERNELS["step"].forward(np, np.array([output]), threshold=threshold)[0][0])


def _largest(outputs: HostArray, targets: HostArray, row: int) -> Decision:
    chosen = int(np.argmax(outputs[row]))  # nan, where there is one
    target = int(targets[row]) if targets.ndim == 1 else int(np.argmax(targets[row]))
    output = float(outputs[row, chosen])
    verdict = output if np.isnan(output) else chosen
    return Decision(
        row=row, unit=chosen, kind="class", output=output, verdict=verdict, target=target, right=verdict == target
    )


def _linked(y: HostArray, link: str | None) -> HostArray:
    """Return the outputs after the loss's link function."""
    with Quiet():
        return np.asarray(KERNELS[link].forward(np, y)[0] if link else y)
