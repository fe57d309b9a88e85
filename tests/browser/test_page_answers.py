"""The page answers back: what it computes from edited numbers is what the engine computes from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain.page import page
from bpengine.explain.page.packing import NumberTable
from bpengine.explain.page.record_run import _content
from bpengine.explain.trace.steps import trace_steps
from bpengine.kernels import KERNELS
from tests.browser.test_explain_page import Opened
from tests.tolerances import answer_rtol

ROWS, STEPS = 6, 3
X = np.random.default_rng(7).normal(size=(ROWS, 3)).round(3)
VALUES = np.random.default_rng(8).normal(size=(ROWS, 2)).round(3)
BINARY = np.array([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]])
CLASSES = np.array([0, 2, 1, 1, 0, 2])
WEIGHTS = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 0.0])


def cube_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    return x * x * x, x


def cube_backward(xp: Any, x: Any, dy: Any) -> Any:
    return 3.0 * x * x * dy


def tied() -> list[Any]:
    encoder, last = bp.Dense(2, "tanh"), bp.Dense(2)
    return [encoder, bp.Dense(3, tie=encoder), bp.Dense(2, "softplus", bias=False), last, bp.Dense(2, tie=last, bias=False)]


@dataclass(frozen=True)
class Case:
    """A network, its rows and how it is trained; what is edited is the same for all."""

    layers: Callable[[], list[Any]]
    loss: Any
    target: Any
    optimizer: bp.SGD | Any = field(default_factory=lambda: bp.SGD(0.1))
    penalties: tuple[Any, ...] = ()
    weights: Any = None
    dtype: str = "float64"

    def model(self) -> bp.Model:
        return bp.Model(bp.Network(3, self.layers(), self.loss, self.penalties), "numpy", self.dtype, seed=5)


def plain(*hidden: Any, last: str = "identity", outputs: int = 2) -> Callable[[], list[Any]]:
    return lambda: [*(bp.Dense(3, activation) for activation in hidden), bp.Dense(outputs, last)]


CASES = {
    "sum_squared_residuals": Case(plain("sigmoid"), "sum_squared_residuals", VALUES, bp.SGD(0.02)),
    "half_sum_squares": Case(plain("tanh", "softsign"), "half_sum_squares", VALUES, bp.Momentum(0.05)),
    "mean_squared_error": Case(tied, "mean_squared_error", VALUES, bp.Nesterov(0.05), (bp.L2(0.1), bp.L1(0.01))),
    "mean_absolute_error": Case(
        lambda: [bp.Dense(3, "elu", bias="column"), bp.Dense(2, bias="column-first")], "mean_absolute_error", VALUES,
        bp.RMSProp(0.01), (bp.L2(0.05),),
    ),
    "huber": Case(
        lambda: [bp.Dense(3, "gelu"), bp.LayerNorm(), bp.Dense(2, bias=False)], bp.Loss("huber", delta=0.3), VALUES,
        bp.Adam(0.02), weights=WEIGHTS,
    ),
    "binary_cross_entropy": Case(plain("mish", last="sigmoid", outputs=1), "binary_cross_entropy", BINARY, bp.AdamW(0.02)),
    "sigmoid_cross_entropy": Case(
        lambda: [bp.Dense(3, bp.Activation("leaky_relu", alpha=0.2)), bp.Dropout(0.4), bp.Dense(1)], "sigmoid_cross_entropy",
        BINARY, bp.Adam(bp.Cosine(0.05, 9)),
    ),
    "categorical_cross_entropy": Case(
        plain("silu", last="softmax", outputs=3), "categorical_cross_entropy", CLASSES, weights=WEIGHTS
    ),
    "softmax_cross_entropy": Case(
        lambda: [bp.Dense(3, "selu"), bp.BatchNorm(), bp.Residual([bp.Dense(3, "celu")]), bp.Dense(3)],
        bp.Loss("softmax_cross_entropy", label_smoothing=0.1), CLASSES,
    ),
    "one's own": Case(lambda: [bp.Dense(3, (cube_forward, cube_backward)), bp.Dense(2, "log_softmax")], "huber", VALUES),
    "float32": Case(plain("relu", "sigmoid"), "mean_squared_error", VALUES, bp.Adam(0.02), dtype="float32"),
}  # fmt: skip


def edited(case: Case) -> tuple[bp.Model, Any, Any, Any]:
    """Return model, rows and optimizer with the numbers that `EDIT` sets in the page."""
    model, x = case.model(), X.copy()
    parameters = model.parameters
    parameters["0.weight"][0, 1] = 0.375
    model.parameters = parameters
    x[1, 2] = -0.625
    target = case.target.copy()
    target.reshape(-1)[2] = 0
    schedule = case.optimizer.schedule
    rate = 0.03 if schedule(np.arange(1))[0] != 0.02 else 0.05
    return model, x, target, replace(case.optimizer, learning_rate=rate)


def in_page(tab: Any, rate: float) -> None:
    """Edit the same numbers in the page, by the calls that its fields make."""
    tab.evaluate(
        """(rate) => {
            const k = program.state.findIndex(([kind, name]) => kind === "params" && name === "0.weight");
            edit(["state", k, 1, 0.375], ["rows", 0, 1 * 3 + 2, -0.625], ["rows", 1, 2, 0], ["rate", rate]);
        }""",
        rate,
    )


def answered(tab: Any) -> list[float]:
    """Return every number that the page shows of its moment, in the order of a sheet."""
    texts = tab.evaluate("Array.from(computed(moment()).numbers, String)")
    return [float(text.replace("Infinity", "inf")) for text in texts]


def require_equal(tab: Any, model: bp.Model, x: Any, y: Any, case: Case, optimizer: Any, steps: int) -> None:
    """Compare every number that the page shows with the engine's, and the names of the terms."""
    traces = list(trace_steps(model, x, y, case.weights, optimizer=optimizer, steps=steps + 1))
    shown, sheet = _content(traces[0], None), NumberTable()
    labels = sorted(places_of_labels(shown.take(traces[-1], sheet)))
    wanted, here = np.array(sheet.values), np.array(answered(tab)[: len(sheet.values)])
    numbers = np.setdiff1d(np.arange(len(wanted)), labels)
    scale, rtol = max(1.0, float(np.max(np.abs(wanted[numbers])))), answer_rtol(case.dtype)
    np.testing.assert_allclose(here[numbers], wanted[numbers], rtol=rtol, atol=rtol * scale)
    names = tab.evaluate("(numbers) => numbers.map(termName)", [int(here[i]) for i in labels])
    own = shown.labels.texts()["en"]
    assert names == [own[int(wanted[i])] for i in labels]


def places_of_labels(value: Any) -> list[int]:
    if isinstance(value, dict):
        own = [int(term[0]) for term in value.get("terms", [])]
        return own + [place for part in value.values() for place in places_of_labels(part)]
    return [place for part in value for place in places_of_labels(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", CASES)
def test_an_edited_step_and_the_steps_after_it_are_the_engines(opened: Opened, name: str) -> None:
    case = CASES[name]
    document = page(case.model(), X, case.target, case.weights, optimizer=case.optimizer, steps=2)
    tab = opened(document.html())
    assert document.content["trouble"] is None
    assert tab.evaluate("canEdit()") is True
    model, x, y, optimizer = edited(case)
    in_page(tab, float(optimizer.schedule(np.arange(1))[0]))
    require_equal(tab, model, x, y, case, optimizer, 0)
    tab.evaluate(f"advance({STEPS})")
    require_equal(tab, model, x, y, case, optimizer, STEPS)


def test_every_activation_can_be_exchanged_and_its_numbers_are_the_engines(opened: Opened) -> None:
    case = CASES["half_sum_squares"]
    tab = opened(page(case.model(), X, VALUES, optimizer=case.optimizer, steps=2).html())
    names = tab.evaluate("Object.keys(program.activations)")
    assert set(names) == {n for n, k in KERNELS.items() if k.kind == "activation" and n not in ("step", "softmax", "log_softmax")}
    for name in names:
        tab.evaluate(f'edit(["activation", 0, "{name}"])')
        again = replace(case, layers=plain(name, "softsign"))
        model = again.model()
        model.parameters = case.model().parameters
        require_equal(tab, model, X, VALUES, again, case.optimizer, 0)
        assert f"Dense, {name}" in tab.locator("#told h3").text_content()


def test_every_kernel_of_a_training_step_is_tried() -> None:
    tried = set[str]()
    for case in CASES.values():
        trace = next(trace_steps(case.model(), X, case.target, case.weights, optimizer=case.optimizer, steps=1))
        tried |= {call.kernel.name for call in trace.calls}
    rules = {n for n, k in KERNELS.items() if k.kind in ("layer", "loss", "update", "penalty")}
    assert rules - tried == {"batch_norm_inference", "divide"}  # which no step of a training run calls
