"""CupyBackend: kernels run through CuPy's array namespace on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
from bpengine_steps.adaptive import CompiledEpochs, CompiledStep
from bpengine_steps.disk import user_cache
from bpengine_steps.functions import CompiledCall, CompiledFunction, RecordedFunction
from bpengine_steps.ir import RecordedStep, Untraceable
from bpengine_steps.signature import Signature, leaves, rebuilt
from bpengine_steps.tracing import DeviceFunction, outside

from bpengine.backend import (
    REDUCED,
    ArrayLike,
    Availability,
    Backend,
    DiskCache,
    HostArray,
    ProgramListing,
    State,
    Step,
    as_host,
)
from bpengine.distributed import Comm, Cut, ShardAdder
from bpengine.errors import BackendUnavailable, ConfigError, DataError, DeviceMemoryError
from bpengine.i18n.counted_nouns import count_of
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.system.launcher import local_rank
from bpengine_cupy import availability
from bpengine_cupy.namespace import SwitchingNamespace
from bpengine_cupy.nccl import AgreedStep, DeviceExchange, SharedAdder, connected

if TYPE_CHECKING:
    from bpengine_cupy.cuda_target.driver import CupyDriver
    from bpengine_cupy.cuda_target.program import CudaProgram

SMALL_PART = 4  # rows that take less than a quarter of the free memory are copied to the device at once
MIB = 1 << 20
OUT_OF_MEMORY = 2  # the status of CUDA's errors, both the runtime's and the driver's
TENSOR_CORES = 80  # the lowest compute capability with which float32 operands can be rounded inside a product


class CupyBackend(Backend):
    """Run on an NVIDIA GPU with CuPy. Precisions: float32 (true float32 products), float64, tf32, bfloat16.

    Training runs as CUDA C generated from the recorded step, from the first step on: it rounds differently from CuPy, so a
    switch during a fit, which would depend on time, would make runs differ. Evaluations, predictions and gradients are
    compiled as well, from some 65,000 numbers on. In "tf32" and "bfloat16" arrays stay float32 and compiled products round
    their operands, on GPUs of compute capability 8.0 or more; CuPy's own products, which small predictions use, and short
    products in tf32, which passes compute, are true float32.
    """

    name = "cupy"
    extra = "cuda"
    window = 32
    takes_all_rows = True
    host_is_free = True
    patience = float("-inf")
    # epilogues of products (see `cuda_target.epilogues`): they save launches, but were slower where measured
    _epilogues = False
    # short products inside of passes (see `cuda_target.target`): half the launches of a small network's step
    _dots = True

    def __init__(
        self,
        precision: str = "float32",
        device: str | None = None,
        threads: int | None = None,
        blas: str | None = None,
    ) -> None:
        super().__init__(precision, device, threads, blas)
        import array_api_compat.cupy
        import cupy

        self._cupy = cupy
        self.xp = SwitchingNamespace(array_api_compat.cupy)
        self._number = _device_number(device, cupy.cuda.runtime.getDeviceCount())
        self.device = f"cuda:{self._number}"
        self._connected: dict[Comm, DeviceExchange | None] = {}
        self._compiled, self._lock = WeakSet[CompiledFunction](), Lock()
        self._select()
        capability = int(cupy.cuda.Device(self._number).compute_capability)
        if precision in REDUCED and capability < TENSOR_CORES:
            raise ConfigError(
                f"precision {precision!r} requires a GPU of compute capability 8.0 or more, got {capability / 10}. "
                "Use precision='float32'."
            )
        required = precision in REDUCED  # there is no other way to round operands
        self._epochs = CompiledEpochs(super().run_epoch, self.patience, self._program, "CUDA", required=required)

    def _select(self) -> None:
        """Make the backend's GPU CuPy's current one."""
        self._cupy.cuda.Device(self._number).use()

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which the backend's GPU is CuPy's current one: each thread has its own, initially the first."""
        device: AbstractContextManager[Any] = self._cupy.cuda.Device(self._number)
        return device

    @classmethod
    def availability(cls) -> Availability:
        """Say whether CuPy, a driver and a device are available and compatible."""
        return availability.check()

    @classmethod
    def disk_cache(cls) -> DiskCache | None:
        """Return the cache of compiled CUDA C."""
        return user_cache("cuda") if find_spec("platformdirs") else None

    @classmethod
    def listing(
        cls, step: Step, state: State, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> ProgramListing:
        """Return the CUDA C of a step, and its calls (see `Backend.listing`)."""
        from bpengine_steps.plan import make_plan
        from bpengine_steps.tracing import record

        from bpengine_cupy.cuda_target.codegen.program_text import write_cuda
        from bpengine_cupy.cuda_target.listing import listing
        from bpengine_cupy.cuda_target.target import CudaTarget

        signature = Signature.of(state, data, order, lr)
        try:
            plan = make_plan(record(step, state, signature), CudaTarget(dots=cls._dots), ordered=signature.ordered)
            return listing(write_cuda(plan))
        except Untraceable as error:
            raise ConfigError(
                f"backend 'cupy' has no CUDA C for this step: {error}. It runs as it is written."
            ) from None

    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool = True) -> Array:
        """Copy to an array in C order on this backend's device; an array in this form is returned when `copy` is False."""
        elsewhere = self._other_device(x)
        if elsewhere is not None:
            raise DataError(
                f"backend 'cupy' on {self.device!r} requires arrays of this GPU or of the host, got one of {elsewhere!r}. "
                "Bring it to the host first: cupy.asnumpy(x)."
            )
        on_gpu = isinstance(x, self._cupy.ndarray) or hasattr(x, "__cuda_array_interface__")
        source = x if on_gpu else as_host(x)

        def bring() -> Array:
            with self.scope():
                return self._cupy.array(source, dtype=dtype, order="C", copy=copy or None)

        return self._with_memory(bring, source)

    def _with_memory(self, allocate: Callable[[], Array], like: Array) -> Array:
        """Allocate; where that fails, again without the programs of evaluations, before DeviceMemoryError is raised."""
        with suppress(MemoryError):
            return allocate()
        self._relieve()
        try:
            return allocate()
        except MemoryError:
            size, free = int(like.nbytes), self._free()
            needed, room = f"{size / MIB:,.1f}", f"{free / MIB:,.1f}"
            raise DeviceMemoryError.of(
                f"backend 'cupy' has too little GPU memory for an array: it takes {needed} MiB, and {room} MiB are free. "
                "Give fewer rows at once, or take a smaller network.",
                size,
                free,
            ) from None

    def _other_device(self, x: ArrayLike) -> str | None:
        """Return the name of the other GPU that holds an array of CuPy."""
        number = x.device.id if isinstance(x, self._cupy.ndarray) and hasattr(x.device, "id") else self._number
        return None if number == self._number else f"cuda:{number}"

    def bring_rows(
        self, arrays: Sequence[HostArray], dtypes: Sequence[str], *, by_number: bool = False
    ) -> tuple[Array, ...]:
        """Copy the rows of a fit to the device; many rows only after a step's program has its memory, if they fit then.

        Rows that do not fit are copied in pieces while the step trains (see `bpengine_cupy.cuda_target.staging`).
        """
        rows = [as_host(array) for array in arrays]
        needed = sum(a.size * np.dtype(d).itemsize for a, d in zip(rows, dtypes, strict=True))
        free = self._free()
        if not by_number or needed <= free // SMALL_PART:
            try:
                return super().bring_rows(arrays, dtypes)
            except (MemoryError, DeviceMemoryError):
                size, room = needed >> 20, free >> 20
                raise DeviceMemoryError.of(
                    f"backend 'cupy' has too little GPU memory for all rows at once: they take {size} MiB, and {room} MiB are "
                    "free. Give a batch_size: rows that do not fit come in pieces then.",
                    needed,
                    free,
                ) from None
        from bpengine_cupy.cuda_target.staging import HostRows

        return HostRows.of([np.asarray(a, d) for a, d in zip(rows, dtypes, strict=True)], self._driver)

    def _free(self) -> int:
        """Return the bytes of the GPU that nothing has allocated."""
        with self.scope():
            return int(self._cupy.cuda.runtime.memGetInfo()[0])

    def to_numpy(self, x: Array) -> HostArray:
        """Copy to a NumPy array."""
        host: HostArray = self._cupy.asnumpy(x)
        return host

    def copy(self, state: Tree) -> Tree:
        """Copy every array of a tree."""
        return rebuilt(state, {path: self.asarray(leaf) for path, leaf in leaves(state)})

    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Return a function that is compiled like steps, for each form of its arguments, if that is possible and pays."""

        def recording(record: Callable[[], RecordedFunction]) -> RecordedFunction:
            with self.xp.recording():
                return record()

        run = CompiledFunction(step, recording, self._function, kind=self._cupy.ndarray, compiler="CUDA")
        with self._lock:
            self._compiled.add(run)
        return self.uncompiled(run)

    def uncompiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs as it is written, on this backend's GPU.

        Raises DeviceMemoryError where the GPU has too little memory, BackendUnavailable where it is lost.
        """

        def call(*args: Any, **options: Any) -> object:
            try:  # around the scope, since leaving it also fails when the GPU is lost
                with self.scope():
                    return function(*args, **options)
            except MemoryError as error:
                needed, free = str(error).rstrip(".") or repr(error), self._free() >> 20
                raise DeviceMemoryError(
                    f"backend 'cupy' has too little GPU memory for an evaluation: {needed}, and {free} MiB are free. Give "
                    "fewer rows at once."
                ) from None
            except self._failures as error:
                cause = self._cause(error)
                raise BackendUnavailable(
                    f"backend 'cupy' lost {self.device!r} while it computed: {cause}. This process cannot use the GPU any "
                    "more. Start again."
                ) from cause

        return call

    def _cause(self, error: BaseException) -> BaseException:
        """Return CUDA's own error; raise DeviceMemoryError where it says that the GPU is out of memory."""
        from bpengine_cupy.cuda_target.driver import DeviceLost

        cause = error.__cause__ if isinstance(error, DeviceLost) and error.__cause__ else error
        if getattr(cause, "status", None) == OUT_OF_MEMORY and not isinstance(error, DeviceLost):
            raise DeviceMemoryError(f"backend 'cupy' has too little GPU memory: {cause}.") from cause
        return cause

    def _relieve(self) -> bool:
        """Drop the programs of evaluations, which hold memory also while they do not run; tell whether there were any."""
        with self._lock:
            compiled = list(self._compiled)
        return sum(each.release() for each in compiled) > 0  # `any` would stop at the first

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        """The exceptions of CUDA and its libraries when a device is lost."""
        from bpengine_cupy.cuda_target.cublaslt.library import CublasLtError
        from bpengine_cupy.cuda_target.driver import DeviceLost

        cuda = self._cupy.cuda
        nccl = (cuda.nccl.NcclError,) if hasattr(cuda, "nccl") and cuda.nccl.available else ()
        return (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError, CublasLtError, DeviceLost, *nccl)

    def _function(self, recorded: RecordedFunction) -> CompiledCall:
        return self._compilable(recorded.step, ordered=False)

    def _compilable(self, step: RecordedStep, *, ordered: bool) -> CudaProgram:
        """Return a step's program, with epilogues if they are enabled and cuBLASLt has them."""
        from bpengine_steps.plan import make_plan

        from bpengine_cupy.cuda_target.codegen.program_text import write_cuda
        from bpengine_cupy.cuda_target.cublaslt.library import NoAlgorithm
        from bpengine_cupy.cuda_target.program import CudaProgram
        from bpengine_cupy.cuda_target.target import CudaTarget

        def program(*, epilogues: bool) -> CudaProgram:
            target = CudaTarget(self.precision, epilogues=epilogues, dots=self._dots)
            return CudaProgram(write_cuda(make_plan(step, target, ordered=ordered)), self._driver, self._relieve)

        if self._epilogues:
            with suppress(NoAlgorithm):
                wanted = program(epilogues=True)
                wanted.compile()
                return wanted
        return program(epilogues=False)

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
        """Run the steps (see `Backend.run_epoch`), as one CUDA program from the first step on."""
        try:
            with self.scope():
                return self._epochs.run(step, state, data, order, lr)
        except MemoryError as error:  # of a step that runs as it is written
            needed, free = str(error).rstrip(".") or repr(error), self._free() >> 20
            raise DeviceMemoryError(
                f"backend 'cupy' has too little GPU memory for a step: {needed}, and {free} MiB are free. Give a smaller "
                "batch_size."
            ) from None
        except self._failures as error:
            cause = self._cause(error)
            raise BackendUnavailable(
                f"backend 'cupy' lost {self.device!r} while it trained: {cause}. This process cannot use the GPU any "
                "more. Start again, from a checkpoint if the fit writes some (run=)."
            ) from cause

    def _program(self, step: Step, state: State, signature: Signature) -> CompiledStep:
        return shared_program(step, lambda: self._own_program(step, state, signature))

    def _own_program(self, step: Step, state: State, signature: Signature) -> CompiledStep:
        from bpengine_steps.tracing import record

        with self.xp.recording():
            recorded = record(step, state, signature)
        return self._compilable(recorded, ordered=signature.ordered)

    @cached_property
    def _driver(self) -> CupyDriver:
        from bpengine_cupy.cuda_target.cublaslt.library import WORKSPACE
        from bpengine_cupy.cuda_target.driver import CupyDriver

        try:
            with self.scope():
                return CupyDriver(self.precision)
        except MemoryError:
            needed, free = 2 * WORKSPACE >> 20, self._free() >> 20
            raise DeviceMemoryError.of(
                f"backend 'cupy' has too little GPU memory to begin: matrix products take {needed} MiB, and {free} MiB are "
                "free. Another process may hold the rest: nvidia-smi shows which.",
                2 * WORKSPACE,
                free << 20,
            ) from None

    def take(self, array: Array, rows: HostArray) -> Array:
        """Return the given rows as a new array."""
        with self.scope():
            if isinstance(array, np.ndarray):  # rows that stay on the host
                return self._cupy.asarray(np.take(np.asarray(array), rows, axis=0))
            return self._cupy.take(array, self._cupy.asarray(rows), axis=0)

    def synchronize(self, *arrays: Array) -> None:
        """Wait until everything launched on the current stream has finished."""
        with self.scope():
            self._cupy.cuda.get_current_stream().synchronize()

    def outside(self, function: Callable[[HostArray, HostArray], None]) -> Callable[[Array], Array]:
        """Wrap a function of the host so that a step may call it (see `Backend.outside`), also a compiled step."""
        return outside(function, super().outside(function))

    def adder(self, cut: Cut, comm: Comm) -> ShardAdder:
        """Return the adder of a step's shards; between processes NCCL moves the sums from GPU to GPU if it can.

        Where NCCL cannot, the host exchanges them (see `Backend.adder`).
        """
        if comm.size == 1:
            return super().adder(cut, comm)
        if comm not in self._connected:
            self._connected[comm] = connected(self._cupy, self._number, comm)
        exchange = self._connected[comm]
        if exchange is None:
            return super().adder(cut, comm)

        def on_device(roots: Array) -> Array:
            return exchange.add_up(roots, cut.shards)

        def into(roots: Array, result: Array) -> None:
            exchange.add_up(roots, cut.shards, result)

        return SharedAdder(self.xp, outside(DeviceFunction(into), on_device), self.plus, comm)

    def circumstances(self) -> dict[str, Any]:
        """Return the versions of CuPy and CUDA's runtime, and the kind of device."""
        runtime = self._cupy.cuda.runtime
        name = runtime.getDeviceProperties(self._number)["name"]
        return {"cupy": self._cupy.__version__, "cuda": runtime.runtimeGetVersion(), "device": name.decode()}

    def memory(self) -> dict[str, int]:
        """Return the bytes in use of CuPy's memory pool, and the most it has allocated on the device."""
        with self.scope():  # a pool counts the current device's
            pool = self._cupy.get_default_memory_pool()
            return {"in_use": int(pool.used_bytes()), "peak": int(pool.total_bytes())}


def shared_program(step: Step, make: Callable[[], CompiledStep]) -> CompiledStep:
    """Return the program of `make`; for a step of several processes only if all of them can compile it."""
    if not isinstance(step, AgreedStep):
        return make()
    program, problem = None, None
    try:
        program = make()
        program.compile()
    except Exception as error:  # whatever recording and compiling may raise: the other processes wait for this report
        problem = str(error) or repr(error)
    elsewhere = step.agree(problem)
    if program is None or elsewhere:
        raise Untraceable(f"what a process cannot compile: {elsewhere}")
    return program


def _device_number(device: str | None, count: int) -> int:
    """Return the number of a device; without a name it is this process's rank among those on its machine."""
    if device is None and count:
        return local_rank() % count
    kind, _, number = (device or "cuda:0").partition(":")
    if kind not in ("cuda", "gpu") or not (number or "0").isdigit():
        raise ConfigError(f"backend 'cupy' runs on devices 'cuda:0', 'cuda:1' ..., got {device!r}.")
    if int(number or 0) >= count:
        raise BackendUnavailable(
            f"backend 'cupy' has no device {device!r} (no device): found: {count_of(count, 'GPU')}."
        )
    return int(number or 0)
