"""CupyBackend: kernels run through CuPy's array namespace on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bpengine.backend import Availability, Backend, HostArray, as_host
from bpengine.errors import BackendUnavailable, ConfigError
from bpengine.kernels._kernel import Array
from bpengine_cupy import availability


class CupyBackend(Backend):
    """Run on an NVIDIA GPU with CuPy. Precisions: float32 (true float32 products), float64."""

    name = "cupy"
    extra = "cuda"
    window = 32

    def __init__(self, precision: str = "float32", device: str | None = None) -> None:
        super().__init__(precision, device)
        if precision not in ("float32", "float64"):
            raise ConfigError(f"backend 'cupy' computes in float32 or float64, got precision {precision!r}.")
        import array_api_compat.cupy
        import cupy

        self._cupy = cupy
        self.xp = array_api_compat.cupy
        self._number = _device_number(device, cupy.cuda.runtime.getDeviceCount())
        self.device = f"cuda:{self._number}"
        cupy.cuda.Device(self._number).use()

    @classmethod
    def availability(cls) -> Availability:
        """Say whether CuPy, a driver and a device are there and fit together."""
        return availability.check()

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool = True) -> Array:
        """Copy to a CuPy array on this backend's device; a CuPy array is returned as it is when `copy` is False."""
        on_gpu = isinstance(x, self._cupy.ndarray) or hasattr(x, "__cuda_array_interface__")
        return self._cupy.array(x if on_gpu else as_host(x), dtype=dtype, copy=copy)

    def to_numpy(self, x: Array) -> HostArray:
        """Copy to a NumPy array."""
        host: HostArray = self._cupy.asnumpy(x)
        return host

    def copy(self, state: Any) -> Any:
        """Return the tree as it is: no step writes into an array, so the old state stays what it was."""
        return state

    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Return the function as it is: CuPy launches each kernel call as it comes."""
        return step

    def take(self, array: Array, rows: HostArray) -> Array:
        """Return the given rows as a new array."""
        return self._cupy.take(array, self._cupy.asarray(rows), axis=0)

    def synchronize(self, *arrays: Array) -> None:
        """Wait until everything launched on the current stream has run."""
        self._cupy.cuda.get_current_stream().synchronize()

    def memory(self) -> dict[str, int]:
        """Return the bytes of CuPy's pool in use, and the most it has taken from the device."""
        pool = self._cupy.get_default_memory_pool()
        return {"in_use": int(pool.used_bytes()), "peak": int(pool.total_bytes())}


def _device_number(device: str | None, count: int) -> int:
    kind, _, number = (device or "cuda:0").partition(":")
    if kind not in ("cuda", "gpu") or not (number or "0").isdigit():
        raise ConfigError(f"backend 'cupy' runs on devices 'cuda:0', 'cuda:1' ..., got {device!r}.")
    if int(number or 0) >= count:
        raise BackendUnavailable(f"backend 'cupy' has no device {device!r} (no device): {count} GPU(s) were found.")
    return int(number or 0)
