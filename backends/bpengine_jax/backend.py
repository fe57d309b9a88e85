"""JaxBackend: whole steps compiled by XLA, an epoch as one compiled loop or as windows of steps."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bpengine.backend import ArrayLike, Availability, Backend, DiskCache, EpochOf, HostArray, State, Step, as_host
from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.comm import Comm
from bpengine.distributed.tree import Cut
from bpengine.errors import BackendUnavailable, ConfigError
from bpengine.extras import cure
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.ops import Ops
from bpengine.system.lru_cache import MOST
from bpengine.system.quiet import Quiet
from bpengine_jax.epoch_plan import plan_for

if TYPE_CHECKING:
    from jax import Device

# XLA's setting for matrix products: its default is TF32 on recent GPUs, so it is always set
MATMUL = {"float32": "highest", "float64": "highest", "tf32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}


class JaxBackend(Backend):
    """Run with JAX on a CPU, GPU or TPU. Precisions: float32, float64; tf32, bfloat16 on a GPU.

    Whatever JAX's settings in the process are (x64, rank and dtype promotion, NaN debugging ...), the backend computes under
    its own settings and leaves those of the process unchanged: see `scope`.
    """

    name = "jax"
    extra = "jax"
    differentiates = True
    together = True

    def __init__(
        self,
        precision: str = "float32",
        device: str | None = None,
        threads: int | None = None,
        blas: str | None = None,
    ) -> None:
        super().__init__(precision, device, threads, blas)
        jax = _joined()
        self._jax = jax
        self.xp = jax.numpy
        self._device = _find_device(jax, device)
        self.device = f"{self._device.platform}:{self._device.id}"
        _check_precision(precision, self._device.platform)
        from bpengine_jax.epoch import build_epoch  # which imports jax

        self._plan = plan_for(self._device.platform)
        self._by_host = self._device.platform == "cpu"  # how several processes exchange sums
        self.host_is_free = self._device.platform != "cpu"
        self.grain = max(self._plan.windows, default=1)
        self._epoch = lru_cache(maxsize=MOST)(build_epoch)
        self._joint = lru_cache(maxsize=MOST)(self._build_joint)

    @classmethod
    def availability(cls) -> Availability:
        """Say whether JAX is installed and its parts are compatible (importing JAX takes about a second)."""
        missing = [name for name in ("jax", "jaxlib") if importlib.util.find_spec(name) is None]
        if missing:
            return Availability("not installed", f"the package {missing[0]!r} is not installed.", cure("jax"))
        try:
            jax = _joined()
        except (ImportError, RuntimeError, AttributeError) as error:  # jax and jaxlib of different releases
            return Availability("version mismatch", f"JAX cannot be imported: {error}.", cure("jax", upgrade=True))
        try:
            devices = jax.local_devices()
        except RuntimeError as error:  # JAX_PLATFORMS names a device that does not exist
            return Availability("no device", f"JAX finds no device: {error}.", "Unset JAX_PLATFORMS, or set it to cpu.")
        return Availability("ready", f"JAX {jax.__version__} on {devices[0].platform}")

    @classmethod
    def disk_cache(cls) -> DiskCache | None:
        """Return the cache of compiled programs; none where JAX is missing, its own cache is used, or caching is disabled."""
        if not cls.availability().ready:
            return None
        from bpengine_jax import programs

        return programs.store() if programs.in_use() else None

    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool = True) -> Array:
        """Copy to a JAX array on this backend's device, or share the memory where JAX can and `copy` is False."""
        source = x if isinstance(x, self._jax.Array) else as_host(x)
        with self.scope(), Quiet():
            if dtype is not None:
                source = source.astype(dtype, copy=False)
            if copy and isinstance(source, np.ndarray):
                source = source.copy(order="K")  # device_put may share its memory, whatever its arguments
            elif copy:
                return self.xp.array(source, copy=True, device=self._device)
            return self._jax.device_put(source, self._device)

    def to_numpy(self, x: Array) -> HostArray:
        """Copy to a NumPy array that outlives a donation of `x`."""
        return np.array(x)

    def copy(self, state: Tree) -> Tree:
        """Copy every array of a tree on the device."""
        with self.scope():
            return self._jax.device_put(state, self._device, may_alias=False)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Return a context with JAX's settings for the kernels: x64 only for float64, and so on."""
        jax = self._jax
        with (
            jax.enable_x64(self.precision == "float64"),
            jax.default_matmul_precision(MATMUL[self.precision]),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
            jax.debug_nans(False),  # the step itself reports a loss that is not finite
            jax.debug_infs(False),
        ):
            yield

    def ops(self) -> Ops:
        """Return the kernels, which run in this backend's scope also when they are called one by one."""
        kernels = {n: function for n, function in vars(super().ops()).items() if n not in ("xp", "scope")}
        return Ops(self.xp, {n: self._in_scope(function) for n, function in kernels.items()}, self.scope)

    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Compile with XLA for each shape of the arguments, in this backend's scope (see `programs`)."""
        from bpengine_jax.programs import Program  # which imports jax

        return self._in_scope(Program(step, donate))

    def jvp(self, function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return function(*primals) and its derivative along `tangents` by jax.jvp."""
        value, derivative = self._jax.jvp(function, primals, tangents)
        return value, derivative

    def transposed(self, linear: Callable[[Array], Any], like: Array) -> Callable[[Any], Array]:
        """Return the transpose of a linear function by jax.linear_transpose."""
        transpose = self._jax.linear_transpose(linear, like)
        return lambda results: transpose(results)[0]

    def run_epoch(
        self,
        step: Step,
        state: State,
        data: tuple[Array, ...],
        order: HostArray | None,
        lr: HostArray,
        *,
        whole: int | None = None,
    ) -> tuple[State, dict[str, HostArray]]:
        """Run the steps as one compiled loop, or on a GPU in windows of up to 64 steps (see `Backend.run_epoch`)."""
        rates = lr.astype(self.dtype, copy=False)
        numbers = None if order is None else order.astype(np.int32, copy=False)
        with self.scope():
            return self._epoch(step, self._plan)(state, data, numbers, rates, whole or len(rates))

    def run_epochs(
        self, step: Step, epochs: Sequence[EpochOf], *, whole: int | None = None, room: int = 1
    ) -> list[tuple[State, dict[str, HostArray]]]:
        """Run the step of several models as one, by `jax.vmap` (see `Backend.run_epochs`)."""
        if len(epochs) == 1:
            (one,) = epochs
            return [self.run_epoch(step, one.state, one.data, one.order, one.lr, whole=whole)]
        from bpengine_jax import joint_step  # which imports jax

        count, shared = len(epochs), joint_step.alike(epochs)
        idle = [self.copy(epochs[-1].state) for _ in range(room - count)]
        own_rows = epochs[0].order is not None or not shared
        joint, stack, state_of = self._joint(step, 0 if own_rows else None)
        models = stack([*(e.state for e in epochs), *idle])
        state = {"models": models, "halted": self.asarray(np.arange(room) >= count)}
        data = epochs[0].data if shared else stack([e.data for e in [*epochs, *[epochs[-1]] * (room - count)]])
        order, lr = (joint_step.along([getattr(e, name) for e in epochs], room) for name in ("order", "lr"))
        assert lr is not None  # rates are always there
        after, reports = self.run_epoch(joint, state, data, order, lr, whole=whole)
        return [(state_of(after["models"], i), joint_step.reports_of(i, reports)) for i in range(count)]

    def take(self, array: Array, rows: HostArray) -> Array:
        """Return the given rows as a new array."""
        with self.scope():
            return self.xp.take(array, rows, axis=0, mode="clip")

    def adder(self, cut: Cut, comm: Comm) -> ShardAdder:
        """Return the adder of a step's shards inside a compiled epoch (see `Backend.adder`).

        On a CPU processes exchange through the host, on a GPU or TPU by XLA's own collectives. Raises ConfigError where
        these are not possible: see `transports.DeviceTransport`.
        """
        from bpengine_jax.shard_loop import LoopAdder  # which imports jax
        from bpengine_jax.transports import DeviceTransport, HostTransport

        by_host = self._by_host or comm.size == 1
        return LoopAdder(cut, HostTransport(cut, comm) if by_host else DeviceTransport(cut, comm, self._device))

    def circumstances(self) -> dict[str, Any]:
        """Return the versions of JAX and its compiler, the kind of device, and the compiler's flags."""
        return {
            "jax": version("jax"),
            "jaxlib": version("jaxlib"),
            "device": self._device.device_kind,
            "flags": os.environ.get("XLA_FLAGS"),
        }

    def synchronize(self, *arrays: Array) -> None:
        """Wait until the given arrays have been computed."""
        self._jax.block_until_ready(arrays)

    def memory(self) -> dict[str, int]:
        """Return the device's memory statistics, where it has them (GPU and TPU, not the CPU)."""
        stats = self._device.memory_stats() or {}
        names = {"in_use": "bytes_in_use", "peak": "peak_bytes_in_use"}
        return {ours: int(stats[theirs]) for ours, theirs in names.items() if theirs in stats}

    def _build_joint(self, step: Step, rows_axis: int | None) -> tuple[Step, Callable[..., Any], Callable[..., Any]]:
        """Return a step of several models, a function that stacks their states, and one that extracts a model's state."""
        from bpengine_jax import joint_step

        stack, state_of = self.compile(joint_step.stacked), self.compile(joint_step.state_of)
        return joint_step.joint_step(step, rows_axis), stack, state_of

    def _in_scope(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **options: Any) -> object:
            with self.scope():
                return function(*args, **options)

        return call


def _joined() -> ModuleType:
    """Import JAX; in an MPI job with accelerators, connect it to the other processes before anything else uses it."""
    import jax

    from bpengine_jax.joining import joining

    joining.join()
    joined: ModuleType = jax
    return joined


def _find_device(jax: ModuleType, device: str | None) -> Device:
    if device is None:
        return jax.local_devices()[0]
    kind, _, number = device.partition(":")
    try:
        if number and not number.isdigit():
            raise ValueError(f"{number!r} is no device number")
        return jax.local_devices(backend=kind)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        known = ", ".join(f"{d.platform}:{d.id}" for d in jax.local_devices())
        raise BackendUnavailable(
            f"backend 'jax' has no device {device!r} (no device): {error}. It has: {known}."
        ) from None


def _check_precision(precision: str, platform: str) -> None:
    if precision in ("tf32", "bfloat16") and platform == "cpu":
        raise ConfigError(f"backend 'jax' on a CPU computes in float32 or float64, got precision {precision!r}.")
