"""The relu network of StatQuest's book: given weights, one weight trained alone, one dose at a time and all at once."""

from __future__ import annotations

from typing import Any

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.examples.known import known
from bpengine.examples.statquest import doses, in_order
from bpengine.examples.tools import Desk, fit


def statquest_book_relu(desk: Desk) -> dict[str, Any]:
    """Run the book's relu network, train w3 alone, then everything, one dose at a time and all doses at once."""
    name = "statquest_book_relu"
    n, (x, y) = known(name).network, doses(name)
    trained, start = (_relu(n[key]) for key in ("pretrained", "start"))
    online, full = desk.model(start), desk.model(start)
    for model, batch in ((online, 1), (full, None)):
        fit(model, x, y, optimizer=bp.SGD(n["lr"]), epochs=n["epochs"], batch_size=batch, shuffle=False)
    pretrained = desk.model(trained)
    output = pretrained.forward(x)[:, 0]
    trace = _train_w3(desk, pretrained, x, y)
    return {
        "pretrained_output": output,
        "w3_only_trace_lr_0.1": trace,
        "w3_only_final": trace[-1][3],
        "trained_500_epochs_batch_size_1": in_order(online.parameters),
        "output_batch_size_1": online.forward(x)[:, 0],
        "trained_500_epochs_full_batch": in_order(full.parameters),
        "output_full_batch": full.forward(x)[:, 0],
    }


def _relu(p: dict[str, Any]) -> bp.Network:
    hidden = bp.Dense(2, "relu", weight_init=[[p["w1"], p["w2"]]], bias_init=[p["b1"], p["b2"]])
    return bp.Network(
        1, [hidden, bp.Dense(1, bias=False, weight_init=[[p["w3"]], [p["w4"]]])], "sum_squared_residuals"
    )  # fmt: skip


def _train_w3(desk: Desk, model: bp.Model, x: HostArray, y: HostArray) -> list[list[float]]:
    """Descend in w3 from 0. A fit freezes whole parameters only, so the update rule is applied to this one weight here."""
    trace: list[list[float]] = []
    w3, w4 = 0.0, model.parameters["1.weight"][1, 0]
    while not trace or (abs(trace[-1][2]) >= 1e-3 and len(trace) < 1000):
        model.parameters = {"1.weight": [[w3], [w4]]}
        loss, gradients = model.loss_and_gradients(x, y)
        slope = gradients["1.weight"][0, 0]
        moved = desk.ops.sgd_update(*(desk.array([v]) for v in (w3, slope, len(trace) + 1, 0.1)))[0]
        trace.append([w3, slope, 0.1 * slope, desk.number(moved), loss])
        w3 = trace[-1][3]
    return trace


EXAMPLES = {"statquest_book_relu": statquest_book_relu}
