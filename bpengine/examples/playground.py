"""TensorFlow Playground: it prints no numbers, but those of its rules that the engine shares can be checked."""

from __future__ import annotations

from typing import Any

import bpengine as bp
from bpengine.examples.known import known
from bpengine.examples.tools import Desk, Pass, look
from bpengine.penalties import Penalty


def tf_playground_semantics(desk: Desk) -> dict[str, Any]:
    """Compute, for one tanh unit, the gradient averaged over a mini-batch, and with each penalty."""
    data = known("tf_playground_semantics").data
    rate = data["rule_rate"]
    plain, l2, l1 = (_pass(desk, data, penalty) for penalty in ((), bp.L2(rate), bp.L1(rate)))
    return {
        "output": plain.a[0][:, 0],
        "mini_batch_dw, db": _slopes(plain.gradients),
        "dw, db with L2": _slopes(l2.gradients),
        "dw, db with L1": _slopes(l1.gradients),
    }


def _pass(desk: Desk, data: dict[str, Any], penalty: Penalty | tuple[()]) -> Pass:
    unit = bp.Dense(1, "tanh", weight_init=[[data["rule_weight"]]], bias_init=[data["rule_bias"]])
    network = bp.Network(1, unit, bp.Loss("half_sum_squares", "batch_mean"), penalty)
    return look(desk.model(network), data["rule_X"], data["rule_T"])


def _slopes(gradients: dict[str, Any]) -> list[float]:
    return [gradients["0.weight"][0, 0], gradients["0.bias"][0]]


EXAMPLES = {"tf_playground_semantics": tf_playground_semantics}
