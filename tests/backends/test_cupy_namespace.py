"""The namespace of the CuPy backend, around another library's: what it changes, and whose names it gives when."""

from __future__ import annotations

import threading
from typing import Any

import array_api_strict
import numpy as np
import pytest
from bpengine_cupy.namespace import SwitchingNamespace

VALUES = np.array([-np.inf, -2.0, -0.5, 0.0, 0.5, 2.0, np.inf, np.nan], np.float32)


@pytest.fixture
def xp() -> SwitchingNamespace:
    return SwitchingNamespace(array_api_strict)


@pytest.mark.parametrize("limits", [(None, None), (-1.0, None), (None, 0.5), (-1.0, 0.5), (2.0, 1.0)])
def test_clip_is_numpys(xp: SwitchingNamespace, limits: tuple[Any, Any]) -> None:
    got = xp.clip(array_api_strict.asarray(VALUES), *limits)
    want = VALUES if limits == (None, None) else np.clip(VALUES, *limits)
    np.testing.assert_array_equal(np.asarray(got), want, strict=True)


def test_clip_takes_arrays(xp: SwitchingNamespace) -> None:
    low = np.linspace(-1, 0, 8, dtype=np.float32)
    got = xp.clip(array_api_strict.asarray(VALUES), array_api_strict.asarray(low), 1.0)
    np.testing.assert_array_equal(np.asarray(got), np.clip(VALUES, low, 1), strict=True)
    wider = xp.clip(array_api_strict.asarray(VALUES), array_api_strict.asarray(low.astype(np.float64)), 1.0)
    assert wider.dtype == array_api_strict.float32


@pytest.mark.parametrize("values", [VALUES, np.array([-3, 0, 5], np.int32)], ids=["floats", "integers"])
def test_sign_is_numpys(xp: SwitchingNamespace, values: Any) -> None:
    got = np.asarray(xp.sign(array_api_strict.asarray(values)))
    np.testing.assert_array_equal(got, np.sign(values), strict=True)


def test_neither_writes_through_a_mask(xp: SwitchingNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CuPy such a write waits for the device and cannot be captured."""
    array = array_api_strict.asarray(VALUES)

    def refuse(*given: Any) -> None:
        pytest.fail("an array is written to")

    monkeypatch.setattr(type(array), "__setitem__", refuse)
    xp.clip(array, -1.0, 1.0)
    xp.sign(array)


def test_names_are_numpys_while_a_step_is_recorded_in_this_thread_alone(xp: SwitchingNamespace) -> None:
    seen: list[Any] = []
    assert xp.exp is array_api_strict.exp
    with xp.recording():
        assert xp.exp is np.exp
        assert isinstance(xp.clip(np.ones(2), 0.0, 0.5), np.ndarray)
        thread = threading.Thread(target=lambda: seen.append(xp.exp))
        thread.start()
        thread.join()
    assert xp.exp is array_api_strict.exp
    assert seen == [array_api_strict.exp]


def test_recording_ends_with_an_error_too(xp: SwitchingNamespace) -> None:
    with pytest.raises(RuntimeError), xp.recording():
        raise RuntimeError
    assert not xp.is_recording


def test_what_neither_has_is_an_attribute_error(xp: SwitchingNamespace) -> None:
    with pytest.raises(AttributeError, match="exponential"):
        _ = xp.exponential
    assert {"clip", "sign", "exp"} <= set(dir(xp))
