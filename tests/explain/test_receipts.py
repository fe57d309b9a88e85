"""Receipts: every value follows again, and whatever is changed in one is found."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import receipt, verify, write_receipt
from bpengine.explain.receipts.evaluate import derive
from bpengine.explain.receipts.verified import Verified
from bpengine.explain.receipts.verify import verify_lines
from bpengine.kernels import KERNELS
from bpengine.training import OPTIMIZERS
from tests.explain.networks import random_case, xor
from tests.explain.portuguese import DRAWN, english
from tests.not_finite import put
from tests.tolerances import agreement_rtol

Lines = list[dict[str, Any]]


def written(traced: Any) -> Lines:
    return [json.loads(line) for line in receipt(traced)]


def judged(lines: Lines) -> Verified:
    return verify_lines([json.dumps(line) for line in lines])


def penalized(weights: Any = None) -> Any:
    """Return a step with every kind of layer: two ways past a residual, statistics, dropout, penalties, Adam."""
    rng = np.random.default_rng(0)
    block = bp.Residual([bp.Dense(3, "gelu"), bp.BatchNorm()])
    layers = [bp.Dense(3, "tanh"), block, bp.LayerNorm(), bp.Dropout(0.4), bp.Dense(2)]
    network = bp.Network(2, layers, "softmax_cross_entropy", [bp.L2(0.1), bp.L1(0.01)])
    model = bp.Model(network, dtype="float64")
    return model.trace(rng.normal(size=(5, 2)), np.array([0, 1, 1, 0, 1]), weights, optimizer="adam")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_receipts_of_random_networks_are_verified(dtype: str) -> None:
    rules = sorted(OPTIMIZERS)
    for seed in range(30):
        network, *case = random_case(np.random.default_rng(seed))
        traced = bp.Model(network, dtype=dtype, seed=seed).trace(*case, optimizer=rules[seed % len(rules)])
        verdict = verify_lines(receipt(traced))
        assert verdict.ok, (seed, verdict)
        assert verdict.values > 0


def test_receipts_of_every_backend_are_verified(backend_name: str) -> None:
    model, x, y = xor()
    verdict = verify_lines(receipt(model.to(backend_name).trace(x, y)))
    assert verdict.ok, verdict


def test_receipt_with_every_kind_of_layer_is_verified() -> None:
    verdict = judged(written(penalized()))
    assert verdict.ok
    assert str(verdict) == f"every line follows: {verdict.lines} lines, {verdict.values} values derived again"
    assert verdict.text("pt").startswith("toda linha confere: ")
    assert verdict.to_json()["reason"] == ""


def test_unknown_place_is_reported_as_written() -> None:
    lines = written(penalized())
    entry = lines[place(lines, "dense_fwd")]
    entry["place"] = "nowhere"
    nudge(entry["outputs"]["y"])
    assert "y of dense_fwd in layer nowhere" in str(judged(lines))


def place(lines: Lines, function: str, last: bool = False) -> int:
    places = [i for i, line in enumerate(lines) if line.get("function") == function]
    return places[-1 if last else 0]


def given_array(lines: Lines, role: str) -> dict[str, Any]:
    return next(line for line in lines if line.get("given") == role)


def nudge(entry: dict[str, Any], which: int = 0) -> None:
    entry["values"][which] += 1e-9 * (abs(entry["values"][which]) + 1)


def output(lines: Lines, function: str, name: str) -> None:
    nudge(lines[place(lines, function)]["outputs"][name])


def weight_afterwards(lines: Lines) -> None:
    nudge(given_array(lines, "parameter 4.weight"))


def option(lines: Lines) -> None:
    lines[place(lines, "dropout_fwd")]["options"]["rate"] = 0.3


def formula(lines: Lines) -> None:
    lines[place(lines, "dense_fwd")]["formula"]["y"] = "x @ w"


def left_out(lines: Lines) -> None:
    del lines[place(lines, "tanh_bwd")]


def truncated(lines: Lines) -> None:
    del lines[-1]


def twice(lines: Lines) -> None:
    lines.append(lines[-1])


def other_cotangent(lines: Lines) -> None:
    """Send another gradient of the same shape into a layer, and make all numbers after it follow from that."""
    adds = lines[place(lines, "add_bwd")]
    target = lines[place(lines, "batch_norm_bwd")]
    straight = next(o["array"] for n, o in adds["outputs"].items() if n == "da")
    target["inputs"]["dy"] = straight  # the same values as "db", but the other way's


def other_gradient_named(lines: Lines) -> None:
    names = lines[-1]["result"]["gradients"]
    names["0.weight"], names["1.0.weight"] = names["1.0.weight"], names["0.weight"]


def old_value_named_new(lines: Lines) -> None:
    lines[-1]["result"]["updated"]["0.bias"] = given_array(lines, "parameter 0.bias")["array"]


def loss_without_penalty(lines: Lines) -> None:
    lines[-1]["result"]["loss"] = lines[place(lines, "softmax_cross_entropy_fwd")]["outputs"]["loss"]["array"]


def not_one(lines: Lines) -> None:
    entry = given_array(lines, "one")
    entry["values"] = [2.0]


def step_number(lines: Lines) -> None:
    given_array(lines, "step number")["values"] = [7.0]


def other_head(lines: Lines) -> None:
    lines[0]["loss"]["reduction"] = "sum"


def other_rule(lines: Lines) -> None:
    lines[0]["optimizer"]["beta1"] = 0.8


def fewer_rows(lines: Lines) -> None:
    lines[0]["rows"] = 4


def other_slots(lines: Lines) -> None:
    """Take the second moment for the first: in the first step both are zero, and the numbers follow."""
    inputs = lines[place(lines, "adam_update")]["inputs"]
    inputs["m"] = inputs["v"]


def shape(lines: Lines) -> None:
    given_array(lines, "x")["shape"] = [2, 5]


def from_the_future(lines: Lines) -> None:
    lines[place(lines, "dense_fwd")]["inputs"]["w"] = 999


def not_a_float32(lines: Lines) -> None:
    lines[place(lines, "dense_fwd")]["outputs"]["y"]["dtype"] = "float32"


def penalty_left_out(lines: Lines) -> None:
    """Name the gradient without the penalty as the parameter's gradient."""
    add = lines[place(lines, "add_fwd", last=True)]
    results = lines[-1]["result"]["gradients"]
    name = next(n for n, a in results.items() if a == add["outputs"]["y"]["array"])
    results[name] = add["inputs"]["a"]


BROKEN: dict[str, tuple[Callable[[Lines], None], str]] = {
    "an output of a forward": (lambda lines: output(lines, "dense_fwd", "y"), "y of dense_fwd in layer 0"),
    "a gradient": (lambda lines: output(lines, "dense_bwd", "dw"), "dw of dense_bwd in layer 4"),
    "a statistic": (lambda lines: output(lines, "batch_norm_fwd", "variance"), "variance of batch_norm_fwd"),
    "the loss": (lambda lines: output(lines, "softmax_cross_entropy_fwd", "loss"), "loss of softmax_cross_entropy_fwd"),
    "a new value": (lambda lines: output(lines, "adam_update", "new_w"), "new_w of adam_update"),
    "a weight": (weight_afterwards, "y of dense_fwd in layer 4"),
    "an option": (option, "y of dropout_fwd"),
    "a formula": (formula, "the formula of y in dense_fwd is 'x @ w + b', not 'x @ w'"),
    "a line left out": (left_out, "which no line before it holds"),
    "the end left out": (truncated, "truncated"),
    "a line too many": (twice, "after the result"),
    "the way of a gradient": (other_cotangent, "not the sum of what came back"),
    "a gradient's name": (other_gradient_named, "the gradient named for '0.weight'"),
    "a new value's name": (old_value_named_new, "the new value named for '0.bias'"),
    "the loss's name": (loss_without_penalty, "the loss named is not the loss with all penalties"),
    "the first gradient": (not_one, "dy of softmax_cross_entropy_bwd"),
    "the step number": (step_number, "new_w of adam_update"),
    "the head": (other_head, "the head says"),
    "the rule": (other_rule, "the update rule is"),
    "the number of rows": (fewer_rows, "x has the shape [5, 2], the head says [4, 2]"),
    "what the rule remembers": (other_slots, "does not use what the rule remembers of it, in order"),
    "a shape": (shape, "does not have the shape that its kernel says"),
    "an array that is not there": (from_the_future, "w is array 999, which no line before it holds"),
    "a dtype": (not_a_float32, "values that are no float32"),
    "the penalty": (penalty_left_out, "is not the sum of what came back from its uses"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_changed_number_is_detected_and_named(name: str) -> None:
    change, words = BROKEN[name]
    lines = written(penalized())
    change(lines)
    verdict = judged(lines)
    assert not verdict.ok
    assert words in str(verdict)
    assert str(verdict).startswith(f"line {verdict.line} does not follow: ")
    portuguese = verdict.text("pt")
    assert portuguese.startswith(f"a linha {verdict.line} não confere: ")
    plain = portuguese.partition("está danificada: ")[0]  # what follows are Python's own words
    assert not english(plain, DRAWN)


def test_first_wrong_line_is_named() -> None:
    lines = written(penalized())
    first, second = place(lines, "tanh_fwd"), place(lines, "adam_update")
    nudge(lines[second]["outputs"]["new_m"])
    assert judged(lines).line == second + 1
    nudge(lines[first]["outputs"]["y"])
    assert judged(lines).line == first + 1


def test_consistent_forgery_is_detected() -> None:
    """A forged receipt uses another gradient: every formula holds, but the gradient is not the loss's."""
    lines = written(penalized())
    update = lines[place(lines, "adam_update")]
    name = next(n for n, a in lines[-1]["result"]["updated"].items() if a == update["outputs"]["new_w"]["array"])
    own = given_array(lines, f"parameter {name}")
    update["inputs"]["dw"] = own["array"]  # the weight itself as its gradient
    values = np.array(own["values"])
    m, v = 0.1 * values, 0.001 * values**2
    step = 0.001 * (m / 0.1) / (np.sqrt(v / (1 - 0.999)) + 1e-8)
    for output_, new in zip(update["outputs"].values(), (values - step, m, v), strict=True):
        output_["values"] = new.tolist()
    verdict = judged(lines)
    assert not verdict.ok
    assert verdict.line == len(lines), verdict
    assert "is not a step of adam from it along its gradient" in str(verdict)


def test_receipt_round_trip_through_a_file(tmp_path: Path) -> None:
    file = tmp_path / "step.jsonl"
    write_receipt(penalized(), file)
    assert verify(file).ok
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: len(text) // 2], encoding="utf-8")
    assert not verify(file).ok
    file.write_text("", encoding="utf-8")
    assert verify(file).reason == "the receipt ends before its result: it is truncated"
    with pytest.raises(bp.DataError, match="cannot read the receipt"):
        verify(tmp_path / "nothing")


def test_non_finite_numbers_are_written_and_verified() -> None:
    model, x, y = xor()
    put(model, {"1.weight": [[np.nan], [1.0], [1.0]]})
    lines = written(model.trace(x, y))
    assert '"nan"' in json.dumps(lines)
    assert judged(lines).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("end", "loss", "y"),
    [("sigmoid", "binary_cross_entropy", [[0], [1], [0]]), ("softmax", "categorical_cross_entropy", [1, 1, 0])],
)
def test_receipt_with_probabilities_0_and_1_is_verified(end: str, loss: str, y: Any, dtype: str) -> None:
    model = bp.Model(bp.Network(3, [bp.Dense(np.max(y) if end == "sigmoid" else 2, end)], loss), dtype=dtype)
    model.parameters = {"0.weight": np.outer([2000, -2000, 0], np.eye(model.network.outputs)[0])}
    traced = model.trace(np.eye(3), y)
    outputs = traced.layers["0"].a
    assert {0.0, 1.0} <= set(outputs.ravel().tolist())
    assert np.isfinite(traced.loss)
    assert verify_lines(receipt(traced)).ok


LOSSES = [
    (kernel, reduction) for kernel in KERNELS.values() if kernel.kind == "loss" for reduction in kernel.reductions
]


@pytest.mark.parametrize(("kernel", "reduction"), LOSSES, ids=lambda part: getattr(part, "name", part))
def test_batch_of_rows_with_weight_0_has_loss_0(kernel: Any, reduction: str) -> None:
    """As a small batch of rows with weights may be: no row is left, and 0 / 0 is not computed."""
    y = np.array([[0.25, 0.75], [0.5, 0.5]])
    target = np.array([0, 1]) if kernel.target == "classes" else np.array([[1.0, 0.0], [0.0, 1.0]])
    inputs = {"y": y, "target": target, "weights": np.zeros(2)}
    inputs |= {"logits": y} if "logits" in kernel.arguments else {}
    options = {**kernel.options, "reduction": reduction}
    loss = kernel.forward(np, *[inputs[name] for name in kernel.arguments], **options)[0]
    assert loss == 0.0
    derived = derive(kernel.forward.__name__, inputs, options, "float64")
    assert derived["loss"] == 0.0
    back = derive(kernel.backward.__name__, {**inputs, "dloss": np.array(1.0)}, options, "float64")
    assert not np.any(back["dy"])


def test_receipt_with_weighted_statistics_is_verified() -> None:
    lines = written(penalized([0, 2, 1, 0.5, 0]))
    verdict = judged(lines)
    assert verdict.ok, verdict
    output(lines, "moving_average", "average")
    assert "average of moving_average" in str(judged(lines))


def test_statistics_of_a_batch_of_rows_with_weight_0_are_those_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    x, gamma, beta, dy = (rng.normal(size=shape) for shape in ((4, 3), 3, 3, (4, 3)))
    inputs = {"x": x, "gamma": gamma, "beta": beta, "weights": np.zeros(4)}
    kernel = KERNELS["batch_norm"]
    y, residual = kernel.forward(np, *inputs.values())
    derived = derive("batch_norm_fwd", inputs, {}, "float64")
    np.testing.assert_allclose(derived["y"].astype(float), y, rtol=agreement_rtol(float, 4))
    np.testing.assert_allclose(derived["mean"].astype(float), np.mean(x, axis=0), rtol=agreement_rtol(float, 4))
    back = derive("batch_norm_bwd", {**inputs, "dy": dy}, {}, "float64")
    gradients = kernel.backward(np, residual, dy)
    for name, value in zip(kernel.differentiable, gradients, strict=True):
        np.testing.assert_allclose(back[f"d{name}"].astype(float), value, rtol=0, atol=agreement_rtol(float, 64))
    old, new = np.array([1.5]), np.array([4.0])
    average = derive("moving_average", {"old": old, "new": new, "weights": np.zeros(4)}, {"momentum": 0.5}, "float64")
    assert average["average"] == old


@pytest.mark.parametrize("function", ["batch_norm_fwd", "moving_average"])
@pytest.mark.parametrize("left_out", [False, True])
def test_the_statistics_must_have_the_weights_of_the_loss(function: str, left_out: bool) -> None:
    lines = written(penalized(np.ones(5)))  # the numbers follow with other weights that are all equal, and without any
    at = place(lines, function)
    inputs = lines[at]["inputs"]
    if left_out:
        del inputs["weights"]
    else:
        entry = given_array(lines, "weights")
        lines.insert(at, {**entry, "array": 999, "given": "other weights", "values": [2.0] * 5})
        inputs["weights"] = 999
    verdict = judged(lines)
    assert not verdict.ok
    assert f"the weights that {function} is given are not those of the loss" in str(verdict)
    assert f"os pesos dados a {function} não são os da função de perda" in verdict.text("pt")


class Doubling(bp.Layer):
    """Computes outside of kernels."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return 2.0 * x, None, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return 2.0 * dy, {}


def test_layer_that_computes_outside_of_kernels_gets_no_receipt() -> None:
    model = bp.Model(bp.Network(1, [Doubling(), bp.Dense(1)], "half_sum_squares"))
    with pytest.raises(bp.ConfigError, match="made by code outside of the kernels"):
        list(receipt(model.trace([[1.0]], [[0.0]])))


HOSTILE: dict[str, tuple[Callable[[Lines], object], str]] = {
    "a dtype of a billion bytes": (
        lambda ls: given_array(ls, "x").update(dtype="S1000000000"),
        "of the dtype 'S1000000000'",
    ),
    "a dtype of objects": (lambda ls: given_array(ls, "x").update(dtype="O"), "of the dtype 'O', which no receipt has"),
    "a dtype that is no text": (lambda ls: given_array(ls, "x").update(dtype=["f4"]), "which no receipt has"),
    "an empty array": (lambda ls: given_array(ls, "x").update(shape=[10**9, 0], values=[]), "has 0 values"),
    "a shape below zero": (lambda ls: given_array(ls, "x").update(shape=[-5, -2]), "has 10 values"),
    "a shape of many axes": (lambda ls: given_array(ls, "x").update(shape=[1] * 70 + [10]), "no list of whole numbers"),
    "a number of an array that is a list": (lambda ls: given_array(ls, "x").update(array=[]), "a whole number"),
    "a value that is a list": (lambda ls: given_array(ls, "x")["values"].__setitem__(0, [1]), "are no numbers"),
    "a value in words": (lambda ls: given_array(ls, "x")["values"].__setitem__(0, "1_0"), "KeyError"),
    "a whole number that is none": (
        lambda ls: given_array(ls, "counter")["values"].__setitem__(0, 0.5),
        "that are no uint32",
    ),
    "a whole number too large": (lambda ls: given_array(ls, "counter")["values"].__setitem__(0, 2**40), "uint32"),
    "an argument by another name": (
        lambda ls: ls[place(ls, "dense_fwd")]["inputs"].update(xp=ls[place(ls, "dense_fwd")]["inputs"]["x"]),
        "dense_fwd is not given the arguments of its kernel",
    ),
    "an option by another name": (lambda ls: ls[place(ls, "dense_fwd")]["options"].update(real=1), "has none"),
    "an option that is a list": (
        lambda ls: ls[place(ls, "dropout_fwd")]["options"].update(rate=[0.5]),
        "given options",
    ),
    "a place that is no line": (
        lambda ls: ls[place(ls, "dense_fwd")].update(place="a\nb"),
        "the place of a call is text",
    ),
    "a function that is a list": (lambda ls: ls[place(ls, "dense_fwd")].update(function=["x"]), "no kernel function"),
    "a call that is a list": (lambda ls: ls[place(ls, "dense_fwd")].update(call=[1]), "the number of a call"),
    "a result without a loss": (lambda ls: ls[-1]["result"].pop("loss"), "damaged: KeyError"),
    "a result that is a list": (lambda ls: ls[-1].update(result=[1]), "damaged"),
    "a head that is a list": (lambda ls: ls[0].update(network=[]), "damaged: IndexError"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed_entries_are_refused_in_one_line(name: str) -> None:
    change, words = HOSTILE[name]
    lines = written(penalized())
    change(lines)
    verdict = judged(lines)
    assert not verdict.ok
    for text in (str(verdict), verdict.text("pt")):
        assert text.isprintable()
        assert len(text) < 1100
    assert words in str(verdict)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 16 deep"),
        ('{"a":' * 1000 + "1" + "}" * 1000, "nested more than 16 deep"),
        ('{"receipt": ' + "1" * 5000 + "}", "a whole number of 5,000 digits"),
        ('{"receipt": 1, "receipt": 1}', "it has 'receipt' twice"),
        ('{"receipt": "\\ud800"}', "no Unicode"),
        ("5", "damaged"),
        ("null", "damaged"),
    ],
)
def test_malformed_text_is_refused_in_one_line(text: str, words: str) -> None:
    verdict = verify_lines([text])
    assert not verdict.ok
    assert words in str(verdict)
    assert str(verdict).isprintable()


def outer_product(lines: Lines) -> None:
    """Give columns and rows for a product of 10^10 numbers that are written nowhere."""
    many = [0.0] * 100_000
    call = lines[place(lines, "dense_fwd")]
    by_number = {line["array"]: line for line in lines if "given" in line}
    by_number[call["inputs"]["x"]].update(shape=[100_000, 1], values=many)
    by_number[call["inputs"]["w"]].update(shape=[1, 100_000], values=many)


def test_verification_derives_nothing_larger_than_the_receipt() -> None:
    lines = written(penalized())
    outer_product(lines)
    tracemalloc.start()
    verdict = judged(lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "does not have the shape that its kernel says" in str(verdict)
    assert peak < 50e6


@pytest.mark.parametrize("count", [40, 3000])
def test_repeated_self_addition_is_not_expanded(count: int) -> None:
    """2^count terms in so many lines."""
    model, x, y = xor()
    lines = written(model.trace(x, y))
    loss = next(line["outputs"]["loss"] for line in lines if "loss" in line.get("outputs", {}))
    last, more = {**loss, "values": [0.0]}, []
    more.append({"given": "nothing", **last, "array": 10_000})
    for i in range(count):
        inputs = {"a": 10_000 + i, "b": 10_000 + i}
        output = {**last, "array": 10_001 + i}
        call = {"call": 10_000 + i, "place": "", "function": "add_fwd", "formula": {}, "options": {}}
        more.append({**call, "inputs": inputs, "outputs": {"y": output}})
    lines[-1]["result"]["loss"] = 10_000 + count
    verdict = judged([*lines[:-1], *more, lines[-1]])
    assert "the loss named is not the loss with all penalties" in str(verdict)


@pytest.mark.skipif(os.name != "posix", reason="POSIX has named pipes and devices as files")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), f"{tmp_path}/a\0b"):
        with pytest.raises(bp.DataError, match=r"cannot read the receipt .*: it is no regular file"):
            verify(path)
