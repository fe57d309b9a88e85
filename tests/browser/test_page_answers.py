"""The page answers back: what it computes from edited numbers is what the engine computes from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
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
    return [
        encoder,
        bp.Dense(3, tie=encoder),
        bp.Dense(2, "softplus", bias=False),
        last,
        bp.Dense(2, tie=last, bias=False),
    ]


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
    assert set(names) == {
        n for n, k in KERNELS.items() if k.kind == "activation" and n not in ("step", "softmax", "log_softmax")
    }
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


def change(tab: Any, field: Any, value: str) -> None:
    field.fill(value)
    field.press("Enter")


def in_the_address(tab: Any) -> str:
    tab.locator("#link").click()
    return str(tab.evaluate("location.hash"))


def test_numbers_are_edited_in_place(opened: Opened, expect: Any) -> None:
    case = CASES["binary_cross_entropy"]
    tab = opened(page(case.model(), X, BINARY, optimizer=case.optimizer, steps=5).html())
    panel, now = tab.locator("#told"), tab.locator("#now")
    tab.locator("#look-at").select_option("w1")
    change(tab, panel.locator("input").first, "0.375")
    assert tab.evaluate("now(page.weights[1].old)") == 0.375
    assert now.text_content().endswith("computed in this page")
    assert tab.evaluate("document.activeElement.dataset.edit") == "state 0 3"
    tab.locator("#look-at").select_option("x2")
    change(tab, panel.locator("input").first, "-0.625")
    assert "-0.625" in tab.locator("#sample option:checked").text_content()
    tab.locator("#look-at").select_option("loss")
    change(tab, panel.locator("input").first, "0")
    assert tab.locator("#sample option:checked").text_content().startswith("Row 1 → 0: ")
    tab.locator("#look-at").select_option("u0")
    panel.locator("select").select_option("relu")
    assert panel.locator("h3").text_content() == "Unit 0 of layer 0 (Dense, relu), hidden layer"
    assert "output a = relu(z)" in panel.text_content()
    tab.locator("#look-at").select_option("u3")
    assert panel.locator("select option").all_text_contents() == ["sigmoid", "hard_sigmoid"]  # what suits the loss
    change(tab, tab.locator("#rate input"), "0.5")
    tab.locator("#step-on").click()
    assert now.text_content().startswith("Step 2 of 5, loss ")
    before = answered(tab)
    tab.locator("#run-on").click()
    expect(now).to_contain_text("Step 102 of 102")
    tab.locator("#step").fill("1")
    assert answered(tab) == before
    tab.locator("#step-back").click()
    assert tab.locator("#step-back").is_disabled()
    tab.locator("#reset").click()
    assert now.text_content().startswith("Step 1 of 5, loss ")
    assert "computed" not in now.text_content()
    assert tab.locator("#reset").is_disabled()


def test_the_address_brings_the_state_back(opened: Opened, tmp_path: Any) -> None:
    case = CASES["softmax_cross_entropy"]
    html = page(case.model(), X, CLASSES, optimizer=case.optimizer, steps=4).html()
    tab = opened(html)
    tab.locator("#step-on").click()
    in_page(tab, 0.25)
    tab.locator("#run-on").click()
    tab.evaluate('edit(["activation", 0, "tanh"])')
    tab.locator("#step-back").click()
    tab.locator("#look-at").select_option("loss")
    saved, before = in_the_address(tab), answered(tab)
    again = opened(html)
    again.evaluate("(hash) => { location.hash = hash; restore(); renew(); }", saved)
    assert answered(again) == before
    assert again.locator("#now").text_content() == tab.locator("#now").text_content()
    assert again.locator("#look-at").input_value() == "loss"
    assert again.evaluate("moments.length") == tab.evaluate("moments.length") == 102
    assert again.evaluate("moments.at(-1).given.uses[0]") == "tanh"


def saved(tab: Any, path: Path) -> dict[str, Any]:
    """Save the page's state, and return what the file holds."""
    with tab.expect_download() as download:
        tab.locator("#save").click()
    download.value.save_as(path)
    return dict(json.loads(path.read_text("utf-8")))


def wait_until(tab: Any, condition: str) -> None:
    """Wait for a condition; Playwright's own waiting evaluates texts in the page, which forbids that."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"{condition} did not come true within 10 s")


def open_file(tab: Any, path: Path) -> str:
    """Open a file in the page, and return what the page says of it."""
    tab.evaluate("byId('edit-note').textContent = ''")
    with tab.expect_file_chooser() as chooser:
        tab.locator("#open").click()
    chooser.value.set_files(path)
    wait_until(tab, "byId('edit-note').textContent.includes('.json')")
    return str(tab.locator("#edit-note").text_content())


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "huber"])
def test_a_file_brings_the_state_back(opened: Opened, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    html = page(case.model(), X, case.target, case.weights, optimizer=case.optimizer, steps=4).html()
    tab, path = opened(html), tmp_path / "state.json"
    tab.locator("#step-on").click()
    in_page(tab, 0.25)
    tab.locator("#run-on").click()
    tab.evaluate('edit(["activation", 0, "tanh"])')
    tab.locator("#step-on").click()
    tab.locator("#look-at").select_option("loss")
    tab.locator("#sample").select_option("3")
    held, before = saved(tab, path), answered(tab)
    assert held["step"] == 103
    assert held["learning_rate"] == 0.25
    assert held["activations"]["0"] == "tanh"
    assert held["rows"]["x"][1][2] == -0.625
    again = opened(html)
    assert open_file(again, path) == "The page is as state.json holds it."
    assert answered(again) == before
    assert again.locator("#now").text_content() == tab.locator("#now").text_content()
    assert again.locator("#sample").input_value() == "3"
    again.locator("#step-back").click()
    tab.locator("#step-back").click()
    assert answered(again) == answered(tab)


def test_numbers_changed_in_the_file_are_those_of_the_page(opened: Opened, tmp_path: Path) -> None:
    case = CASES["half_sum_squares"]
    tab, path = opened(page(case.model(), X, VALUES, optimizer=case.optimizer, steps=2).html()), tmp_path / "own.json"
    model, x, y, optimizer = edited(case)
    held = saved(tab, path)
    held["parameters"]["0.weight"][0][1] = 0.375
    held["rows"] = {"x": x.tolist(), "y": y.tolist()}
    held["learning_rate"] = float(optimizer.schedule(np.arange(1))[0])
    path.write_text(json.dumps(held))
    open_file(tab, path)
    require_equal(tab, model, x, y, case, optimizer, 0)
    names = {name: array.tolist() for name, array in case.model().parameters.items()}
    path.write_text(json.dumps(names))  # as --parameters takes them
    open_file(tab, path)
    assert saved(tab, path)["parameters"] == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1", "It is not a file that this page saved."),
        ('{"9.weight": [[1]]}', "This page has no 9.weight: the file is of another network."),
        ('{"0.weight": [[1, 2]]}', "0.weight requires 3 \u00d7 3 finite numbers."),
        ('{"0.bias": [1, 2, null]}', "0.bias requires 3 finite numbers."),
        ('{"format": "x", "learning_rate": "fast"}', "learning_rate requires 1 finite numbers."),
        ('{"format": "x", "activations": {"0": "cube"}}', "This page has no 0: cube: the file is of another network."),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(opened: Opened, tmp_path: Path, text: str, said: str) -> None:
    case = CASES["half_sum_squares"]
    tab, path = opened(page(case.model(), X, VALUES, optimizer=case.optimizer, steps=2).html()), tmp_path / "other.json"
    before = answered(tab)
    path.write_text(text)
    assert open_file(tab, path) == f"other.json was not opened. {said}"
    assert answered(tab) == before


def test_another_address_in_the_same_tab_brings_its_state(opened: Opened) -> None:
    case = CASES["half_sum_squares"]
    tab = opened(page(case.model(), X, VALUES, optimizer=case.optimizer, steps=2).html())
    in_page(tab, 0.25)
    before, address = answered(tab), in_the_address(tab)
    tab.locator("#reset").click()
    tab.evaluate("(hash) => { location.hash = hash; }", address)
    wait_until(tab, "edits.length === 1")
    assert answered(tab) == before


@pytest.mark.parametrize(
    "hash", ["#x", "#e30", "#eyJlZGl0cyI6W1sxLFtbInN0YXRlIiw5OSwwLDFdXV1dLCJrZXB0IjoibG9zcyIsInN0YWdlIjowfQ"]
)
def test_an_address_that_holds_no_state_changes_nothing(opened: Opened, hash: str) -> None:
    case = CASES["softmax_cross_entropy"]
    tab = opened(page(case.model(), X, CLASSES, optimizer=case.optimizer, steps=4).html())
    before = tab.locator("#now").text_content()
    tab.evaluate("(hash) => { location.hash = hash; restore(); renew(); }", hash)
    assert tab.locator("#now").text_content() == before


def sorted_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    return xp.sort(x, axis=1), x


def branch_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    return (2.0 * x if float(xp.sum(x)) > 0.0 else x), x


def stripped_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    return x * float(np.mean(np.asarray(x))), x


def same_backward(xp: Any, x: Any, dy: Any) -> Any:
    return dy * 1.0


@pytest.mark.parametrize(
    ("forward", "said", "in_portuguese"),
    [
        (sorted_forward, "functions that it cannot compute (np.sort)", "chama funções que ela não calcula (np.sort)"),
        (branch_forward, "(a value read as a Python number)", "(um valor lido como número do Python)"),
        (stripped_forward, "with other numbers the step computes something else", "o passo calcula algo que ela não"),
    ],
)
def test_page_without_a_program_says_why_and_cannot_be_edited(
    opened: Opened, forward: Any, said: str, in_portuguese: str
) -> None:
    model = bp.Model(
        bp.Network(3, [bp.Dense(3, (forward, same_backward)), bp.Dense(2)], "huber"), dtype="float64", seed=5
    )
    tab = opened(page(model, X, VALUES, steps=4).html())
    assert said in tab.locator("#edit-note").text_content()
    tab.locator("#language").select_option("pt")
    assert in_portuguese in tab.locator("#edit-note").text_content()
    tab.locator("#language").select_option("en")
    tab.locator("#look-at").select_option("w1")
    assert tab.locator("main input[type=number]").count() == 0
    tab.locator("#run-on").click()
    assert tab.locator("#now").text_content().startswith("Step 4 of 4")
    assert tab.locator("#step-on").is_disabled()


def test_more_numbers_than_a_page_holds_cannot_be_edited(opened: Opened, rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(700, [bp.Dense(100, "relu"), bp.Dense(2)], "mean_squared_error"), dtype="float64")
    document = page(model, rng.random((8, 700)), rng.random((8, 2)), steps=2)
    assert document.content["trouble"][0] == "too_many"
    tab = opened(document.html())
    held = 8 * (700 * 100 + 200 + 8 * 702) * 4 / 3 / 1000  # kilobytes; the biases are zeros, which take none
    for place in ("#notices", "#edit-note"):
        assert f"would take {held:,.0f} kB" in tab.locator(place).text_content()
    assert tab.locator("#save").is_disabled()


def test_a_large_network_in_float32_can_be_edited(opened: Opened, rng: np.random.Generator) -> None:
    network = bp.Network(784, [bp.Dense(128, "relu"), bp.Dense(10)], "softmax_cross_entropy")
    html = page(bp.Model(network), rng.random((8, 784)), np.arange(8), optimizer="adam", steps=2).html()
    assert len(html) < 1_000_000
    tab = opened(html)
    tab.evaluate("advance(1)")
    before = tab.evaluate("lossAt(moment())")
    tab.evaluate("edit(['state', 0, 0, 0.5])")
    assert tab.evaluate("canEdit() && isComputed(moment()) && Number.isFinite(lossAt(moment()))")
    assert tab.evaluate("lossAt(moment())") != before


def test_steps_that_are_not_kept_are_computed_from_those_that_are(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpengine.explain.page.record_run.BYTES", 60_000)
    case = CASES["half_sum_squares"]
    document = page(case.model(), X, VALUES, optimizer=case.optimizer, steps=30)
    assert len(document.content["steps"]) < 20
    tab = opened(document.html())
    assert "this page computes the others" in tab.locator("#notices").text_content()
    for step in (1, 13, 30):
        tab.locator("#step").fill(str(step - 1))
        assert tab.locator("#now").text_content().startswith(f"Step {step} of 30")
        if tab.evaluate("moment().kept") < 0:
            require_equal(tab, case.model(), X, VALUES, case, case.optimizer, step - 1)


COVERED = """(spots) => {
    const box = (one) => one.getBoundingClientRect(), shown = (one) => one.textContent || one.tagName !== "text";
    const all = (spot) => [...document.querySelectorAll(spot)].filter(shown);
    const over = (a, b) => Math.min(Math.min(a.right, b.right) - Math.max(a.left, b.left),
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
    const labels = all(".labels text"), others = all(spots);
    return labels.flatMap((one, i) => [...labels.slice(0, i), ...others]
        .map((other) => [one.textContent, other.textContent || other.outerHTML, over(box(one), box(other))])
        .filter(([, , deep]) => deep > 2));
}"""  # the numbers on the lines that cover something, what, and how deep in pixels


@pytest.mark.parametrize(("width", "inputs", "bias"), [(390, 2, True), (1280, 2, True), (1280, 3, False)])
def test_numbers_on_the_lines_cover_nothing(opened: Opened, width: int, inputs: int, bias: bool) -> None:
    layers = [bp.Dense(3, "sigmoid", bias), bp.Dense(1, bias=bias)]
    model = bp.Model(bp.Network(inputs, layers, "mean_squared_error"), dtype="float64", seed=3)
    tab = opened(page(model, X[:, :inputs], VALUES[:, :1], steps=2).html(), width=width)
    spots = ".node .body, .bias rect" if width > 390 else ".node .value, .bias rect"
    for subject in ("u0", "u1", "u2", "u3", "w0", "loss"):
        tab.locator("#look-at").select_option(subject)
        for stage in range(6):
            tab.locator("#stages input").nth(stage).check(force=True)
            labels = tab.locator(".labels text").all_text_contents()
            assert width == 390 or sum(map(bool, labels)) == (13 if bias else 12) or stage in (0, 3)
            assert tab.evaluate(COVERED, f"{spots}, .node .name") == [], (subject, stage)


def test_numbers_of_a_sum_cover_nothing_in_a_larger_network(opened: Opened, rng: np.random.Generator) -> None:
    layers = [bp.Dense(8, "relu"), bp.Dense(6, "relu"), bp.Dense(3)]
    model = bp.Model(bp.Network(4, layers, "softmax_cross_entropy"), dtype="float64")
    tab = opened(page(model, rng.normal(size=(9, 4)), np.arange(9) % 3, steps=2).html(), width=1280)
    for subject in ("u0", "u5", "u9", "w3"):
        tab.locator("#look-at").select_option(subject)
        assert any(tab.locator(".labels text").all_text_contents()), subject
        assert tab.evaluate(COVERED, ".node .body") == [], subject


def test_names_in_a_narrow_picture_are_whole_or_shortened(opened: Opened) -> None:
    inputs = ["sepal length (cm)", "sepal width (cm)", "c"]
    tab = opened(page(CASES["huber"].model(), X, VALUES, steps=2, inputs=inputs).html(), width=390)
    edges = """() => [...document.querySelectorAll(".node .name")].map((name) =>
        name.getBoundingClientRect().left - document.querySelector("#picture").getBoundingClientRect().left)"""
    assert min(tab.evaluate(edges)) >= 0


def test_fields_show_whole_numbers_and_float32_by_its_shortest_decimal(opened: Opened) -> None:
    for width, dtype in ((390, "float64"), (1280, "float32")):
        case = replace(CASES["float32"], dtype=dtype, optimizer=bp.Adam(0.001))
        model = case.model()
        parameters = model.parameters
        parameters["0.weight"][0] = [0.1, -1.2538637094387, -2.5e-7]
        model.parameters = parameters
        tab = opened(page(model, X, VALUES, optimizer=case.optimizer, steps=2).html(), width=width)
        assert tab.locator("#rate input").input_value() == "0.001"
        for unit, wanted in enumerate(["0.1", "-1.253863709" if dtype == "float64" else "-1.2538637", "-2.5e-7"]):
            tab.locator("#look-at").select_option(f"u{unit}")
            fields = tab.locator("#told td input")
            assert fields.first.input_value() == wanted
            cut = fields.evaluate_all("(list) => list.map((field) => field.scrollWidth - field.clientWidth)")
            assert max(cut) <= 0


@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("lang", ["en", "pt"])
def test_sums_are_shown_whole(opened: Opened, width: int, lang: str) -> None:
    case = CASES["half_sum_squares"]
    tab = opened(page(case.model(), X, VALUES, optimizer=case.optimizer, steps=2, lang=lang).html(), width=width)
    for subject in (
        "u0",
        "u4",
        "w0",
        "x0",
        *(["loss"] if width > 390 else []),
    ):  # its table has a scroll bar of its own there
        tab.locator("#look-at").select_option(subject)
        cut = tab.evaluate("byId('told').scrollWidth - byId('told').clientWidth")
        edges = """[...document.querySelectorAll('#told *')].filter((one) => one.getBoundingClientRect().right >
            byId('sum').getBoundingClientRect().right).map((one) => one.outerHTML)"""
        assert (cut <= 0, tab.evaluate(edges)) == (True, []), subject


def test_every_stage_of_a_step_is_visible(opened: Opened) -> None:
    tab = opened(page(CASES["half_sum_squares"].model(), X, VALUES, steps=2).html(), width=1280)
    edges = """(box) => [...box.querySelectorAll("span")].map((name) => {
        const { left, right } = name.getBoundingClientRect();
        return [left, right, name.scrollWidth - name.clientWidth];
    })"""
    left, right = tab.locator("#stages").evaluate(
        "(box) => [box.getBoundingClientRect().left, box.getBoundingClientRect().right]"
    )
    shown = tab.locator("#stages").evaluate(edges)
    assert len(shown) == 8
    assert all(left <= start and end <= right and cut <= 0 for start, end, cut in shown)


def test_a_sum_reads_as_a_sentence(opened: Opened) -> None:
    tab = opened(page(CASES["half_sum_squares"].model(), X, VALUES, steps=2).html())
    tab.locator("#look-at").select_option("u0")
    said = tab.locator(".part.forward .terms li").first.text_content()
    (label, products), value = said.split(": "), "= "
    assert label == "input 0"
    assert " \u00d7 " in products
    assert f" {value}" in products


def test_terms_are_those_of_the_units_that_are_drawn(opened: Opened, rng: np.random.Generator) -> None:
    network = bp.Network(20, [bp.Dense(12, "relu"), bp.Dense(14, "tanh"), bp.Dense(2)], "mean_squared_error")
    tab = opened(page(bp.Model(network, dtype="float64"), rng.random((5, 20)), rng.random((5, 2)), steps=2).html())
    columns = tab.evaluate("page.columns.map((column) => column.units)")
    tab.locator("#look-at").select_option("u0")
    forward = tab.locator(".part.forward .terms .label").all_text_contents()
    assert forward[:-2] == [*(f"input {unit}" for unit in columns[0]), "bias"]
    assert forward[-2] == "the 14 others, not drawn"
    back = tab.locator(".part.backward .terms").first.locator(".label").all_text_contents()
    assert back[:-2] == [f"unit {unit} of layer 1" for unit in columns[2]]
