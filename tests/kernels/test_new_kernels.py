"""A row of the table and its page are all a kernel needs: everything else in the engine works for it.

Here for activations, of the kind that is added most: training in compiled epochs, the check, and every way to look at a step.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target import compiled_epochs
from matplotlib.text import Text

import bpengine as bp
from bpengine.backend import Backend
from bpengine.explain import figures, forward, graph, page, paths, receipt, sensitivity
from bpengine.explain.receipts.verify import verify_lines
from bpengine.kernels import KERNELS
from tests.explain.portuguese import english

NAMES = ("mish", "celu", "softsign", "hard_sigmoid", "hard_tanh", "relu6", "log_softmax")
AT_ONCE = float("-inf")  # patience
EVERY = pytest.mark.parametrize("name", NAMES)


class Eager(NumpyBackend):
    """Runs every step as it is written."""

    def run_epoch(self, *args: Any, **_: Any) -> Any:
        return Backend.run_epoch(self, *args)


def as_written(*args: Any) -> Any:
    raise AssertionError("a step runs as it is written")


def rows() -> tuple[Any, Any]:
    """Return inputs that reach both ends of every activation, zeros among them, and classes."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(12, 3)), 9.0 * rng.normal(size=(11, 3)), np.zeros((1, 3))])
    return x, np.argmax(x, axis=1)


def network(name: str) -> bp.Network:
    options = {"alpha": 0.7} if "alpha" in KERNELS[name].options else {}
    layers = [bp.Dense(5, name), bp.Dense(4), bp.Activation(name, **options), bp.Dense(3)]
    return bp.Network(3, layers, "softmax_cross_entropy")


def trained(name: str, backend: Backend) -> tuple[bp.Model, Any]:
    model = bp.Model(network(name), backend, backend.precision, seed=2)
    return model, model.fit(*rows(), batch_size=8, epochs=10, optimizer="adam").loss


@cache
def model(name: str) -> bp.Model:
    """Return a network that has learned a little, in float64."""
    return trained(name, Eager("float64"))[0]


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@EVERY
def test_new_kernel_trains_with_the_same_bits_when_compiled(name: str, dtype: str) -> None:
    eager, losses = trained(name, Eager(dtype))
    assert losses[-1] < losses[0]
    backend = NumpyBackend(dtype)
    backend._compiled = compiled_epochs(as_written, AT_ONCE)
    compiled, same = trained(name, backend)
    np.testing.assert_array_equal(losses, same)
    for parameter, value in eager.parameters.items():
        np.testing.assert_array_equal(compiled.parameters[parameter], value, strict=True)


@pytest.mark.thorough(keep=2)
@EVERY
def test_check_passes_for_a_new_kernel(name: str) -> None:
    x, y = rows()
    report = model(name).check(x[-6:], y[-6:], oracles=["differences", "inner products"])
    assert report.passed, str(report)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("name", "ends"), [("hard_sigmoid", (-3, 3)), ("hard_tanh", (-1, 1)), ("relu6", (0, 6))])
def test_at_each_of_two_kinks_the_stated_derivative_is_right_and_another_one_wrong(
    name: str, ends: Any, jax: Any
) -> None:
    """The derivative is taken from the left at the lower kink, from the right at the upper one."""
    (low, high), row = ends, KERNELS[name]
    x = np.array([[low, high, 0.5], [high, low, 0.25]], float)
    report = bp.check_gradients(row, [x])
    assert report.passed, str(report)
    assert report.kinks.exact == 4
    line = replace(row, forward=lambda xp, x: (xp.minimum(xp.maximum(x, low), high), x))  # autodiff takes 1/2 at both
    for inside, right in (
        (lambda x: (x > low) & (x < high), True),
        (lambda x: (x >= low) & (x < high), False),
        (lambda x: (x > low) & (x <= high), False),
    ):
        taken = replace(line, backward=lambda xp, x, dy, inside=inside: dy * xp.astype(inside(x), dy.dtype))
        assert bp.check_gradients(taken, [x]).passed == right


@pytest.mark.thorough(keep=3)
@EVERY
def test_a_unit_is_explained_in_both_languages(name: str) -> None:
    x, y = rows()
    explanation = model(name).explain(x, y, layer=0, unit=1, sample=2)
    assert name in str(explanation)
    assert explanation.to_dict()
    assert not english(explanation.text("pt"))
    assert not english(paths(model(name), x, y, "0.weight[1,2]").text("pt"))
    assert paths(model(name), x, y, "0.weight[1,2]").agrees
    assert name in str(forward(model(name), x[:2], y[:2]))
    slopes = [unit.slope is not None for unit in sensitivity(model(name), x, y).units]
    alone = KERNELS[name].family == "elementwise"  # else a unit's slope is a row of the Jacobian, no one number
    assert slopes == [alone] * 5 + [True] * 4 + [alone] * 4 + [True] * 3


@pytest.mark.thorough(keep=3)
@EVERY
def test_a_receipt_of_a_step_is_verified(name: str) -> None:
    x, y = rows()
    lines = list(receipt(model(name).trace(x, y, optimizer="adam")))
    verdict = verify_lines(lines)
    assert verdict.ok, str(verdict)
    assert sum(f'"{name}_bwd"' in line or f'"{name}"' in line for line in lines) == 2


@pytest.mark.thorough(keep=3)
@EVERY
def test_a_page_a_graph_and_a_figure_are_made(name: str) -> None:
    x, y = rows()
    assert name in page.page(model(name), x[:4], y[:4], steps=3).html()
    assert f"{name}_fwd" in graph(model(name), x, y).dot()
    figure = figures.network(model(name), x, y, layer=0, unit=1)
    assert name in " ".join(text.get_text() for text in figure.findobj(Text))
