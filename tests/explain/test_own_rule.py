"""Explanations of a step whose update rule is a custom one: its numbers are shown, and that its formula is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training.optimizers import Optimizer
from tests.explain.networks import xor

XOR, X, Y = xor()  # read only: an explanation changes no model


@dataclass(frozen=True)
class SignDescent(Optimizer):
    """w - lr sign(dw), computed outside of kernels."""

    def init(self, xp: Any, params: Any) -> dict[str, list[Any]]:
        return {name: [] for name in params}

    def bind(self, ops: Any) -> Callable[..., tuple[Any, ...]]:
        return lambda w, dw, t, lr: (w - lr * ops.xp.sign(dw),)


class HalfDescent(bp.SGD):
    """Half of what the kernel `sgd` does: the kernel's result is not the step."""

    def bind(self, ops: Any) -> Callable[..., tuple[Any, ...]]:
        return lambda w, dw, t, lr: ((w + ops.sgd_update(w, dw, t, lr)[0]) / 2,)


@pytest.mark.parametrize("rule", [SignDescent(0.5), HalfDescent(0.5)], ids=lambda r: type(r).__name__)
def test_a_step_outside_of_kernels_is_the_one_taken(rule: Optimizer) -> None:
    traced = XOR.trace(X, Y, optimizer=rule)
    explained = bp.explain(XOR, X, Y, layer=0, unit=1, optimizer=rule)
    update = explained.parameters[0].update
    assert (update.rule, dict(update.formula), update.plain) == (type(rule).__name__, {}, False)
    np.testing.assert_array_equal(update.new, traced.updated["0.weight"][:, 1])
    np.testing.assert_array_equal(update.step_size, update.old - update.new)
    assert f"the rule {type(rule).__name__} computes outside of kernels" in str(explained)
    assert f"a regra {type(rule).__name__} calcula fora das chamadas de kernel" in explained.text("pt")
    about = bp.explain.page(XOR, X, Y, optimizer=rule, steps=2).about
    assert (about["rule"], about["formula"]) == (type(rule).__name__, {})


def test_a_subclass_that_leaves_the_kernel_as_it_is_keeps_its_formula() -> None:
    class Named(bp.SGD):
        pass

    update = bp.explain(XOR, X, Y, layer=0, unit=1, optimizer=Named(0.5)).parameters[0].update
    assert (update.rule, update.plain) == ("sgd", True)


def test_a_receipt_of_a_rule_outside_of_kernels_is_refused(tmp_path: Path) -> None:
    for rule in (SignDescent(0.5), HalfDescent(0.5)):
        with pytest.raises(bp.ConfigError, match=f"requires an update rule that calls .*, got '{type(rule).__name__}'"):
            bp.explain.write_receipt(XOR.trace(X, Y, optimizer=rule), tmp_path / "step.jsonl")
    assert not list(tmp_path.iterdir())
