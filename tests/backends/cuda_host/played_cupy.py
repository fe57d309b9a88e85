"""CuPy played by NumPy, so that the whole CupyBackend runs on the CPU: its arrays are NumPy's, its driver is a player."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import array_api_compat
import array_api_compat.numpy
import numpy as np
from bpengine_cupy import availability

from bpengine.backend import Availability
from bpengine.system.process_caches import clear_caches
from tests.backends.cuda_host.player import Player

if TYPE_CHECKING:
    import pytest

FREE = 1 << 36


class PlayedError(RuntimeError):
    """CUDA's own."""


_here = threading.local()


def current() -> int:
    """Return the number of this thread's current GPU: the first, until it takes another."""
    number: int = getattr(_here, "number", 0)
    return number


class PlayedDevice:
    """A GPU of the Hopper generation. In its context it is the thread's current one, and no number warns, as on a GPU."""

    compute_capability = "90"

    def __init__(self, number: int | None = None) -> None:
        self.id = current() if number is None else number

    def use(self) -> None:
        _here.number = self.id

    def __enter__(self) -> None:
        self._quiet, self._before = np.errstate(all="ignore"), current()
        self._quiet.__enter__()
        self.use()

    def __exit__(self, *error: object) -> None:
        _here.number = self._before
        self._quiet.__exit__(None, None, None)


class PlayedEvent:
    """A point in time: the played stream has run all of its work when a call returns."""

    def record(self, stream: object = None) -> None:
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Return at once."""

    def milliseconds(self, end: PlayedEvent) -> float:
        return 1e3 * (end._at - self._at)


def driver(precision: str, make: Callable[[], Player] = Player) -> Player:
    """Return a player for the programs of a precision."""
    player = make()
    player.tf32 = precision == "tf32"
    return player


def module(free: Callable[[], int], devices: int = 1) -> Any:
    """Return what the backend uses of CuPy."""
    runtime = SimpleNamespace(
        getDeviceCount=lambda: devices,
        getDeviceProperties=lambda number: {"name": b"played"},
        memGetInfo=lambda: (free(), FREE),
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        CUDARuntimeError=PlayedError,
    )
    stream = SimpleNamespace(synchronize=lambda: None, ptr=0)
    errors = SimpleNamespace(CUDADriverError=PlayedError)
    cuda = SimpleNamespace(
        Device=PlayedDevice, runtime=runtime, driver=errors, get_current_stream=lambda: stream,
        Event=PlayedEvent, get_elapsed_time=PlayedEvent.milliseconds,
    )  # fmt: skip
    pool = SimpleNamespace(used_bytes=lambda: 0, total_bytes=lambda: 0, free_bytes=lambda: 0)
    played: Any = ModuleType("cupy")
    played.__dict__.update(
        ndarray=np.ndarray, array=np.array, asarray=np.asarray, asnumpy=np.array, take=np.take, uint8=np.uint8,
        empty=np.empty, cuda=cuda, __version__="played", get_default_memory_pool=lambda: pool,
        random=np.random, matmul=np.matmul, _core=SimpleNamespace(set_compute_type=lambda dtype, kind: None),
    )  # fmt: skip
    return played


def play(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Player] = Player,
    free: Callable[[], int] = lambda: FREE,
    devices: int = 1,
) -> None:
    """Let `bp.get_backend("cupy")` run on players that `make` makes, on so many devices with so many free bytes."""
    monkeypatch.setitem(sys.modules, "cupy", module(free, devices))
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", array_api_compat.numpy)
    monkeypatch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
    monkeypatch.setattr(availability, "check", lambda: Availability("ready", "played"))
    monkeypatch.setattr("bpengine_cupy.cuda_target.driver.CupyDriver", partial(driver, make=make))
    monkeypatch.setattr(_here, "number", 0, raising=False)
    clear_caches()
