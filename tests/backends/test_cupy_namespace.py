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
def names() -> SwitchingNamespace:
    return SwitchingNamespace(array_api_strict)


@pytest.mark.parametrize("limits", [(None, None), (-1.0, None), (None, 0.5), (-1.0, 0.5), (2.0, 1.0)])
def test_clip_is_numpys(names: SwitchingNamespace, limits: tuple[Any, Any]) -> None:
    got = names.clip(array_api_strict.asarray(VALUES), *limits)
    want = VALUES if limits == (None, None) else np.clip(VALUES, *limits)
    np.testing.assert_array_equal(np.asarray(got), want, strict=True)


def test_clip_takes_arrays(names: SwitchingNamespace) -> None:
    low = np.linspace(-1, 0, 8, dtype=np.float32)
    got = names.clip(array_api_strict.asarray(VALUES), array_api_strict.asarray(low), 1.0)
    np.testing.assert_array_equal(np.asarray(got), np.clip(VALUES, low, 1), strict=True)
    wider = names.clip(array_api_strict.asarray(VALUES), array_api_strict.asarray(low.astype(np.float64)), 1.0)
    assert wider.dtype == array_api_strict.float32


@pytest.mark.parametrize("values", [VALUES, np.array([-3, 0, 5], np.int32)], ids=["floats", "integers"])
def test_sign_is_numpys(names: SwitchingNamespace, values: Any) -> None:
    got = np.asarray(names.sign(array_api_strict.asarray(values)))
    np.testing.assert_array_equal(got, np.sign(values), strict=True)


def test_clip_and_sign_write_through_no_mask(names: SwitchingNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CuPy such a write waits for the device and cannot be captured."""
    array = array_api_strict.asarray(VALUES)

    def refuse(*args: Any) -> None:
        pytest.fail("an array is written to")

    monkeypatch.setattr(type(array), "__setitem__", refuse)
    names.clip(array, -1.0, 1.0)
    names.sign(array)


def test_names_are_numpys_while_a_step_is_recorded_in_this_thread_alone(names: SwitchingNamespace) -> None:
    seen: list[Any] = []
    assert names.exp is array_api_strict.exp
    with names.recording():
        assert names.exp is np.exp
        assert isinstance(names.clip(np.ones(2), 0.0, 0.5), np.ndarray)
        thread = threading.Thread(target=lambda: seen.append(names.exp))
        thread.start()
        thread.join()
    assert names.exp is array_api_strict.exp
    assert seen == [array_api_strict.exp]


def test_recording_ends_with_an_error_too(names: SwitchingNamespace) -> None:
    with pytest.raises(RuntimeError), names.recording():
        raise RuntimeError
    assert not names.is_recording


def test_missing_function_raises_attribute_error(names: SwitchingNamespace) -> None:
    with pytest.raises(AttributeError, match="exponential"):
        _ = names.exponential
    assert {"clip", "sign", "exp"} <= set(dir(names))
