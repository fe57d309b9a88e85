"""Layers and losses of one's own in a network, each judged alone at a kink that nobody states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check import sides, walk
from bpengine.check.kernelproblem import of_kernel
from bpengine.check.probes import Probes
from bpengine.check.problem import Problem, foreign, of_layer
from bpengine.check.verdict import Verdict
from bpengine.layers.chain import Stage
from bpengine.losses import CustomLoss, Loss
from bpengine.ops import Ops
from bpengine.training.rows import Rows


@np.errstate(all="ignore")
def verdicts(walked: list[Stage], cotangents: list[Any], ops: Ops, seed: int) -> list[Verdict]:
    """Judge the values of every such layer at its kinks; none where there are none."""
    found = list[Verdict]()
    for stage, dy in own_stages(walked, cotangents, ops):
        problem = of_layer(stage.layer, ops, stage.x, stage.params, dy, stage.running, stage.run)
        found += _judged(problem, seed, stage.run.place, f"layer {stage.run.place}")
    return found


@np.errstate(all="ignore")
def loss_verdicts(loss: Loss | CustomLoss, y: Any, rows: Rows, ops: Ops, seed: int) -> list[Verdict]:
    """Judge the gradient of a loss of one's own at the kinks of its value; none where there are none."""
    if not isinstance(loss, CustomLoss):
        return []
    given = dict(zip(loss.kernel.arguments, (y, rows.target, rows.weights), strict=False))
    arrays = {name: np.asarray(value) for name, value in given.items() if value is not None}
    problem = of_kernel(loss.kernel, ops, arrays, {}, np.ones(()))
    return _judged(problem, seed, "loss", "the loss")


def own_stages(walked: list[Stage], cotangents: list[Any], ops: Ops) -> Iterator[tuple[Stage, Any]]:
    """Yield the layers that are not the engine's own, also those inside of Residual, with the gradient of their output."""
    for stage, dy in zip(walked, cotangents, strict=True):
        inside = walk.inner(stage, ops, dy)
        if inside:
            yield from own_stages([inner for inner, _ in inside], [d for _, d in inside], ops)
        elif foreign([stage.layer]):
            yield stage, dy


def _judged(problem: Problem, seed: int, place: str, told: str) -> list[Verdict]:
    """Judge what stands alone, and name its arrays and elements as those of its place in the network."""
    found = []
    for verdict in sides.verdicts(Probes(problem, seed)):
        worst = verdict.worst and replace(verdict.worst, element=f"{told}, {verdict.worst.element}")
        found.append(replace(verdict, array=f"{place}.{verdict.array}", worst=worst))
    return found
