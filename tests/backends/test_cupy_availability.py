"""What the CuPy backend says where it cannot run. Nothing here needs CuPy, a driver or a device."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from bpengine_cupy import CupyBackend, availability

import bpengine as bp
from bpengine.backend import Availability
from bpengine.extras import install_command


class CUDARuntimeError(RuntimeError):
    """A stand-in for CUDA's own error, whose text misleads."""


def runtime(driver: int, library: int = 13000, devices: int | None = 1) -> Any:
    """Return a simulated CUDA runtime interface; devices None makes the count fail."""

    def count() -> int:
        if devices is None:
            raise CUDARuntimeError("cudaErrorNoDevice: CUDA driver version is insufficient")
        return devices

    return SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: library,
        getDeviceCount=count,
        CUDARuntimeError=CUDARuntimeError,
    )


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, *, installed: bool) -> None:
    original = importlib.util.find_spec
    answer = SimpleNamespace() if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: answer if n == name else original(n, *more))


def assert_refused(reason: str, *texts: str) -> None:
    with pytest.raises(bp.BackendUnavailable) as caught:
        bp.get_backend("cupy")
    message = str(caught.value)
    for text in (f"backend 'cupy' cannot run here ({reason})", *texts):
        assert text in message
    assert "insufficient" not in message
    assert "cudaError" not in message


@pytest.mark.parametrize(
    ("machine", "reason", "detail", "cure"),
    [
        (runtime(0, devices=None), "no driver", "no NVIDIA driver was found", "Install NVIDIA's driver"),
        (runtime(12040), "version mismatch", "driver supports CUDA 12.4, CuPy was built for CUDA 13.0", "CUDA 12.x"),
        (runtime(13020, devices=None), "no device", "driver (CUDA 13.2) shows no GPU", "CUDA_VISIBLE_DEVICES"),
        (runtime(13020, devices=0), "no device", "driver (CUDA 13.2) shows no GPU", "nvidia-smi"),
        (runtime(13020, devices=2), "ready", "CUDA 13.0, driver for CUDA 13.2, 2 GPUs", ""),
        (runtime(13000, 13020), "ready", "CUDA 13.2, driver for CUDA 13.0", ""),
        (runtime(14000, 13020), "ready", "driver for CUDA 14.0", ""),
    ],
)
def test_runtime_state_decides_availability(machine: Any, reason: str, detail: str, cure: str) -> None:
    status = availability.check_runtime(machine)
    assert status.reason == reason
    assert status.ready == (reason == "ready")
    assert detail in status.detail
    assert cure in status.cure
    assert bool(status.cure) != status.ready
    assert "insufficient" not in status.detail + status.cure


def test_other_errors_of_the_runtime_are_not_hidden() -> None:
    machine = runtime(13020)
    machine.getDeviceCount = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        availability.check_runtime(machine)


def test_missing_cupy_is_reported_as_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cupy", installed=False)
    assert CupyBackend.availability().reason == "not installed"
    assert_refused("not installed", "'cupy' is not installed", install_command("cuda"))


def test_several_installed_packages_of_cupy_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cupy", installed=True)
    monkeypatch.setattr(availability, "installed_wheels", lambda: ["cupy", "cupy-cuda12x"])
    assert_refused(
        "version mismatch", "several CuPy packages", "pip uninstall cupy cupy-cuda12x", install_command("cuda")
    )


def test_installed_wheels_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CuPy-CUDA13x", "cupy", "numpy", "cupy-rocm-7-0", "cupy-xarray", None]
    packages = [SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(availability, "distributions", lambda: packages)
    assert availability.installed_wheels() == ["cupy", "cupy-cuda13x", "cupy-rocm-7-0"]


def test_a_missing_nvrtc_is_one_error_that_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy is imported without it; a model would be made, and its first operation would fail."""

    def version() -> tuple[int, int]:
        raise RuntimeError("Failure finding libnvrtc.so.13: no such file.\nSearched in: /usr/lib")

    nvrtc = SimpleNamespace(getVersion=version)
    monkeypatch.setitem(sys.modules, "cupy_backends", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", SimpleNamespace(nvrtc=nvrtc))
    pretend(monkeypatch, "cupy", installed=True)
    monkeypatch.setattr(availability, "installed_wheels", lambda: ["cupy-cuda13x"])
    monkeypatch.setattr(availability, "_import_runtime", lambda: runtime(13020))
    assert_refused(
        "not installed",
        "NVRTC, with which CuPy compiles all that it runs, cannot be loaded: Failure finding libnvrtc.so.13: no such file.",
        install_command("cuda"),
    )
    nvrtc.getVersion = lambda: (13, 0)
    assert CupyBackend.availability().ready


def test_broken_installation_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    pretend(monkeypatch, "cupy", installed=True)
    monkeypatch.setattr(availability, "installed_wheels", lambda: ["cupy-cuda13x"])
    monkeypatch.setattr(availability, "_import_runtime", broken)
    assert_refused("version mismatch", "cannot be imported: libcudart.so.13", install_command("cuda"))


def test_missing_driver_has_a_plain_message(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cupy", installed=True)
    monkeypatch.setattr(availability, "installed_wheels", lambda: ["cupy-cuda13x"])
    monkeypatch.setattr(availability, "_import_runtime", lambda: runtime(0, devices=None))
    assert_refused("no driver", "no NVIDIA driver was found on this machine", "backend='numpy' or 'jax'")


def test_availability_of_this_machine_is_stated() -> None:
    """The answer is one of the reasons, and agrees with whether a backend can be made."""
    status: Availability = CupyBackend.availability()
    if status.ready:
        assert bp.get_backend("cupy").device == "cuda:0"
    elif status.reason == "no driver":
        assert_refused("no driver", "no NVIDIA driver")
    else:
        assert status.reason in ("not installed", "version mismatch", "no device")
        assert_refused(status.reason, status.detail, status.cure)


def test_versions_are_shown_as_major_and_minor() -> None:
    assert [availability.version(n) for n in (13020, 12000, 11080)] == ["13.2", "12.0", "11.8"]


@pytest.mark.parametrize("device", ["cpu", "cuda:x", "tpu:0", "cuda:-1"])
def test_a_device_of_another_kind_is_refused(device: str) -> None:
    from bpengine_cupy.backend import _device_number

    with pytest.raises(bp.ConfigError, match=f"devices 'cuda:0', 'cuda:1' ..., got '{device}'"):
        _device_number(device, 1)


def test_a_device_that_is_not_there_is_refused() -> None:
    from bpengine_cupy.backend import _device_number

    with pytest.raises(bp.BackendUnavailable, match=r"no device 'cuda:2'.*found: 2 GPUs"):
        _device_number("cuda:2", 2)
    assert [_device_number(d, 2) for d in (None, "cuda", "cuda:1", "gpu:1")] == [0, 0, 1, 1]
