"""CuPy played by NumPy, so that the whole CupyBackend runs on the CPU: its arrays are NumPy's, its driver is a player."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np
import pytest
from bpengine_cupy import availability

from bpengine.backend import Availability
from bpengine.system.process_caches import clear_caches
from tests.backends.cuda_host.player import Player

FREE = 1 << 36


class PlayedError(RuntimeError):
    """CUDA's own."""


class PlayedDevice:
    """A GPU of the Hopper generation."""

    compute_capability = "90"

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def use(self) -> None:
        pass


def module(free: Callable[[], int]) -> Any:
    """Return what the backend uses of CuPy."""
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"played"},
        memGetInfo=lambda: (free(), FREE),
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        CUDARuntimeError=PlayedError,
    )
    stream = SimpleNamespace(synchronize=lambda: None, ptr=0)
    driver = SimpleNamespace(CUDADriverError=PlayedError)
    cuda = SimpleNamespace(Device=PlayedDevice, runtime=runtime, driver=driver, get_current_stream=lambda: stream)
    pool = SimpleNamespace(used_bytes=lambda: 0, total_bytes=lambda: 0, free_bytes=lambda: 0)
    played: Any = ModuleType("cupy")
    played.__dict__.update(
        ndarray=np.ndarray, array=np.array, asarray=np.asarray, asnumpy=np.array, take=np.take, uint8=np.uint8,
        empty=np.empty, cuda=cuda, __version__="played", get_default_memory_pool=lambda: pool,
    )  # fmt: skip
    return played


def play(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Player] = Player, free: Callable[[], int] = lambda: FREE
) -> None:
    """Let `bp.get_backend("cupy")` run on players that `make` makes, on a device with so many free bytes."""
    monkeypatch.setitem(sys.modules, "cupy", module(free))
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", array_api_compat.numpy)
    monkeypatch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
    monkeypatch.setattr(availability, "check", lambda: Availability("ready", "played"))

    def driver(precision: str) -> Player:
        player = make()
        player.tf32 = precision == "tf32"
        return player

    monkeypatch.setattr("bpengine_cupy.cuda_target.driver.CupyDriver", driver)
    monkeypatch.setattr("bpengine_cupy.backend.CupyBackend.scope", lambda self: _as_on_a_gpu(), raising=False)
    clear_caches()


def _as_on_a_gpu() -> Any:
    """Return a context in which nothing warns of numbers that are not finite."""
    return np.errstate(all="ignore") if np.geterr()["invalid"] != "ignore" else nullcontext()
