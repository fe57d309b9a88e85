"""NumPy's error settings after Ctrl-C in the moment in which a backend's scope is left."""

from __future__ import annotations

import gc
from types import TracebackType

import numpy as np
import pytest
from bpengine_numpy.quiet import Quiet


class Interrupted(np.errstate):
    """NumPy's settings, as if Ctrl-C came at the beginning of `__exit__`, where Python looks for signals."""

    times = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Interrupted.times += 1
        if Interrupted.times == 1:
            raise KeyboardInterrupt
        super().__exit__(kind, error, trace)


@pytest.fixture(autouse=True)
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    Interrupted.times = 0
    monkeypatch.setattr("bpengine_numpy.quiet.np.errstate", Interrupted)


def leave() -> None:
    try:
        with Quiet():
            assert np.geterr()["over"] == "ignore"
    except KeyboardInterrupt:
        return
    raise AssertionError("Ctrl-C did not arrive")


def test_settings_are_restored_where_ctrl_c_comes_while_a_scope_is_left() -> None:
    before = np.geterr()
    leave()
    gc.collect()
    assert np.geterr() == before


def test_settings_that_were_set_after_ctrl_c_stay() -> None:
    before = np.geterr()
    try:
        try:
            with Quiet():
                pass
        except KeyboardInterrupt as error:
            np.seterr(over="raise")  # while the error, and with it the scope, is still there
            del error
        gc.collect()
        assert np.geterr()["over"] == "raise"
    finally:
        np.seterr(**before)
