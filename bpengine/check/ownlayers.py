"""Layers of one's own in a network, each judged alone at a kink that nobody states: there its outputs are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check import sides, walk
from bpengine.check.probes import Probes
from bpengine.check.problem import foreign, of_layer
from bpengine.check.verdict import Verdict
from bpengine.layers import Residual, chain
from bpengine.layers.chain import Stage
from bpengine.ops import Ops


@np.errstate(all="ignore")
def verdicts(walked: list[Stage], cotangents: list[Any], ops: Ops, seed: int) -> list[Verdict]:
    """Judge the values of every such layer at its kinks; none where there are none."""
    found = []
    for stage, dy in own_stages(walked, cotangents, ops):
        problem = of_layer(stage.layer, ops, stage.x, stage.params, dy, stage.running, stage.run)
        found += [_placed(verdict, stage.run.place) for verdict in sides.verdicts(Probes(problem, seed))]
    return found


def own_stages(walked: list[Stage], cotangents: list[Any], ops: Ops) -> Iterator[tuple[Stage, Any]]:
    """Yield the layers that are not the engine's own, also those inside of Residual, with the gradient of their output."""
    for stage, dy in zip(walked, cotangents, strict=True):
        if isinstance(stage.layer, Residual):
            inner = list(chain.stages(stage.layer.layers, ops, stage.params, stage.running, stage.x, stage.run))
            yield from own_stages(inner, walk.backward(inner, ops, dy), ops)
        elif foreign([stage.layer]):
            yield stage, dy


def _placed(verdict: Verdict, place: str) -> Verdict:
    worst = verdict.worst and replace(verdict.worst, element=f"layer {place}, {verdict.worst.element}")
    return replace(verdict, array=f"{place}.{verdict.array}", worst=worst)
