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
from bpengine.layers import Residual
from bpengine.layers.chain import Stage, local
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
        if type(stage.layer) is Residual:
            inner = _inside(stage, ops)
            yield from own_stages(inner, walk.backward(inner, ops, dy), ops)
        elif foreign([stage.layer]):
            yield stage, dy


def _inside(outer: Stage, ops: Ops) -> list[Stage]:
    assert isinstance(outer.layer, Residual)
    found, x = [], outer.x
    for i, layer in enumerate(outer.layer.layers):
        here = outer.run.at(f"{outer.run.place}.{i}")
        own, kept = local(outer.params, str(i)), local(outer.running, str(i))
        y, residual, _ = layer.forward(ops.at(here.place), own, kept, x, here)
        found.append(Stage(layer, own, kept, here, x, y, residual))
        x = y
    return found


def _placed(verdict: Verdict, place: str) -> Verdict:
    worst = verdict.worst and replace(verdict.worst, element=f"layer {place}, {verdict.worst.element}")
    return replace(verdict, array=f"{place}.{verdict.array}", worst=worst)
