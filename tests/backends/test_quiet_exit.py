"""NumPy's error settings after Ctrl-C at every bytecode that sets or restores them, alone and in explanations and checks."""

from __future__ import annotations

import ast
import contextlib
import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.check.problems.kernel_calls import of_kernel
from bpengine.kernels import KERNELS
from bpengine.system import quiet
from bpengine.system.quiet import Quiet, error_settings_kept
from tests import shape

LOUD = {"divide": "raise", "over": "warn", "under": "print", "invalid": "raise"}
# Where the settings are set: an interruption anywhere else leaves them to these.
SETTERS = {quiet.__file__, inspect.getsourcefile(np.errstate), contextlib.__file__}
ROWS = np.array([[0.5, -1.0], [1.0, 2.0]]), np.array([[1.0], [0.0]])


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    before = np.geterr()
    np.seterr(**LOUD)
    yield
    np.seterr(**before)


def interrupted(work: Callable[[], object], after: int) -> bool:
    """Raise KeyboardInterrupt before a bytecode of `work`, the so-many-th of SETTERS; say whether there are so many."""
    count, before = 0, sys.gettrace()

    def step(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in SETTERS or frame.f_code.co_name == "__del__":
            return None  # `__del__` restores where an interruption came before
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if count == after and event == "opcode":
            raise KeyboardInterrupt
        return step

    sys.settrace(step)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def wrong_settings(work: Callable[[], object], *, at_once: bool = False, most: int = 300) -> list[int]:
    """Return after how many bytecodes an interruption changes the settings: at once, or when it has been handled."""
    work()  # what is made once, imports above all, is made by then
    wrong, number = list[int](), 1
    while number <= most:
        try:
            if not interrupted(work, number):
                break
        finally:
            if not at_once:
                gc.collect(0)
            if np.geterr() != LOUD:
                wrong.append(number)
                np.seterr(**LOUD)
        number += 1
    assert number > 30, "the work changes no settings"
    return wrong


def in_a_scope() -> None:
    with Quiet(), Quiet():
        assert np.geterr()["over"] == "ignore"
    with Quiet():
        pass


@Quiet()
def decorated() -> None:
    assert np.geterr()["over"] == "ignore"


def test_scope_restores_the_settings_wherever_ctrl_c_comes() -> None:
    assert wrong_settings(in_a_scope) == []


def test_scope_without_numpys_variable_restores_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bpengine.system.quiet._SETTINGS", None)
    assert wrong_settings(in_a_scope) == []


def test_decorated_function_restores_the_settings_wherever_ctrl_c_comes() -> None:
    assert wrong_settings(decorated) == []


def test_explanation_restores_the_settings_wherever_ctrl_c_comes() -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(1)], "mean_squared_error"), dtype="float64")
    explanation = bp.explain(model, *ROWS, layer=0, unit=1)
    assert wrong_settings(lambda: explanation.forward.product) == []


def test_check_restores_the_settings_wherever_ctrl_c_comes() -> None:
    problem = of_kernel(
        KERNELS["relu"], bp.get_backend("numpy", precision="float64").ops(), {"x": ROWS[0]}, {}, ROWS[0]
    )
    assert wrong_settings(problem.gradients) == []


def test_settings_that_were_set_after_ctrl_c_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(quiet: Quiet, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Quiet, "__exit__", leave)
    try:
        with Quiet():
            pass
    except KeyboardInterrupt as error:
        np.seterr(over="raise")  # while the error, and with it the scope, is still there
        del error
    gc.collect()
    assert np.geterr()["over"] == "raise"


def test_engine_enters_numpys_own_settings_in_one_place() -> None:
    """`np.errstate` loses the earlier settings when Ctrl-C comes while it is entered or left."""
    users = {
        path.name
        for path, tree in shape.trees().items()
        if any(isinstance(node, ast.Attribute) and node.attr in ("errstate", "seterr") for node in ast.walk(tree))
    }
    assert users == {"quiet.py"}


def test_settings_are_kept_whatever_the_body_sets() -> None:
    with error_settings_kept():
        np.seterr(all="ignore")
    assert np.geterr() == LOUD
