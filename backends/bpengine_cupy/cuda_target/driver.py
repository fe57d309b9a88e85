"""The few calls that use a GPU. `Driver` is the interface for a program; `CupyDriver` implements it with CuPy.

Tests implement it on the CPU, with the same kernels compiled by a C++ compiler, and raise for calls that a capture forbids.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any, Protocol, TypeAlias

import numpy as np
from bpengine_steps.disk import cache_folder

from bpengine.backend import HostArray
from bpengine.errors import BackendUnavailable
from bpengine.kernels._kernel import Array
from bpengine_cupy.cuda_target import compiler
from bpengine_cupy.cuda_target.codegen.program_text import StepCall
from bpengine_cupy.cuda_target.cublaslt.algorithms import ChosenAlgorithms
from bpengine_cupy.cuda_target.cublaslt.library import WORKSPACE, CublasLt, DescribedProduct, load_library
from bpengine_cupy.cuda_target.cublaslt.products import MatrixProduct

Look = Callable[[], bool]
# a kernel of CuPy's, a product, a function of the host
Launchable: TypeAlias = Callable[..., object] | DescribedProduct


class DeviceLost(BackendUnavailable):
    """The device can do nothing more in this process; the cause is CUDA's error."""


class CudaStream(Protocol):
    """What is asked of a stream of CuPy, which states no types."""

    def wait_event(self, event: CudaEvent) -> None:
        """Let what follows wait for an event."""


class CudaEvent(Protocol):
    """What is asked of an event of CuPy."""

    def record(self, stream: CudaStream) -> None:
        """Stand for all that is in the stream by now."""

    def synchronize(self) -> None:
        """Wait for that."""


class CudaGraph(Protocol):
    """What is asked of a graph of CuPy."""

    def launch(self, stream: CudaStream) -> None:
        """Put its calls into the stream."""

    def upload(self, stream: CudaStream) -> None:
        """Bring it to the device before its first launch."""


class CudaModule(Protocol):
    """What is asked of a loaded module of CuPy."""

    def get_function(self, name: str) -> Callable[..., object]:
        """Return a kernel."""


class Driver(Protocol):
    """A device with two streams, and one for copies. Addresses are numbers; kernels get those of the memory and of the run."""

    @property
    def turn(self) -> AbstractContextManager[Any]:
        """A lock held by the thread that launches calls: calls of another thread would become a part of its graph."""

    def begin(self) -> None:
        """Wait for work that others have launched in other streams."""

    def empty(self, size: int) -> Array:
        """Allocate so many bytes of the device, aligned to 256; raise MemoryError where they are not free."""

    def upload(self, array: HostArray) -> Array:
        """Copy an array to the device."""

    def download(self, array: Array) -> HostArray:
        """Copy an array from the device after all launched work has finished."""

    def address(self, array: Array) -> int:
        """Return the address of an array."""

    def copy(self, to: int, source: int, size: int) -> None:
        """Launch a copy within the device in the first stream."""

    def kernels(self, source: str) -> Mapping[str, Launchable]:
        """Load generated text; return the kernels by name."""

    def known(self, source: str) -> bool:
        """Tell whether generated text was compiled before."""

    def product(self, product: MatrixProduct, base: int) -> DescribedProduct:
        """Describe a product and choose its algorithm."""

    def call(self, call: StepCall, launchable: Launchable, memory: int, run: int) -> None:
        """Launch a kernel, or a described product, in its stream."""

    def fork(self) -> None:
        """Make the second stream wait for the first."""

    def join(self) -> None:
        """Make the first stream wait for the second."""

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """Return a graph of the calls of `work`, without running them."""

    def replay(self, graph: CudaGraph) -> None:
        """Launch a graph in the first stream."""

    def look(self, address: int) -> Look:
        """Launch a copy of 8 bytes to the host in the first stream; a call of the result waits and tells if any is not 0."""

    def free(self) -> int:
        """Return the bytes of the device that can still be allocated."""

    def pinned(self, size: int) -> HostArray:
        """Allocate so many bytes of page-locked memory of the host; raise MemoryError where the system gives none."""

    def send(self, pairs: Sequence[tuple[int, HostArray]], behind: CudaEvent | None) -> CudaEvent:
        """Launch copies of arrays of the host to addresses in the copies' stream, after the mark `behind` unless that is None.

        Return the object for which `after` and `finish` wait.
        """

    def after(self, sent: CudaEvent) -> None:
        """Make the first stream wait for copies."""

    def mark(self) -> CudaEvent:
        """Return a mark for which `send` can wait: all present work of the first stream."""

    def finish(self, sent: CudaEvent) -> None:
        """Wait for copies; any thread may call this."""

    def between(self, work: Callable[[], None]) -> None:
        """Run work that a graph cannot hold, on arrays of the device, with the first stream as the current one."""

    def wait(self) -> None:
        """Wait for the first stream."""


class CupyDriver:
    """An NVIDIA GPU through CuPy; products by cuBLASLt."""

    def __init__(self, precision: str) -> None:
        import cupy

        self._cupy, self._precision = cupy, precision
        self.turn = RLock()
        device = cupy.cuda.Device()
        self._arch = int(device.compute_capability)
        self._streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        self._copies = cupy.cuda.Stream(non_blocking=True)
        self._workspaces = [cupy.empty(WORKSPACE, cupy.uint8) for _ in range(2)]
        self._lt = CublasLt(load_library(cupy.cuda.runtime.runtimeGetVersion() // 1000)).open()
        name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode().replace(" ", "-")
        # separate from caches that may be emptied: another choice gives other bits
        folder = cache_folder("cuda-algorithms")
        self._chosen = ChosenAlgorithms(folder and folder / f"{name}-cublaslt-{self._lt.version}")

    def begin(self) -> None:
        """See `Driver`."""
        self._cupy.cuda.get_current_stream().synchronize()

    def empty(self, size: int) -> Array:
        """See `Driver`."""
        try:
            return self._cupy.empty(size, self._cupy.uint8)
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise MemoryError(size) from None

    def upload(self, array: HostArray) -> Array:
        """See `Driver`."""
        uploaded = self.empty(array.nbytes).view(array.dtype).reshape(array.shape)
        uploaded.set(np.ascontiguousarray(array))
        self.begin()
        return uploaded

    def download(self, array: Array) -> HostArray:
        """See `Driver`."""
        self.wait()
        host: HostArray = self._cupy.asnumpy(array)
        return host

    def address(self, array: Array) -> int:
        """See `Driver`."""
        return int(array.data.ptr)

    def copy(self, to: int, source: int, size: int) -> None:
        """See `Driver`."""
        runtime = self._cupy.cuda.runtime
        if size:
            runtime.memcpyAsync(to, source, size, runtime.memcpyDeviceToDevice, self._streams[0].ptr)

    def known(self, source: str) -> bool:
        """See `Driver`."""
        return compiler.compiled_before(source, self._arch)

    def kernels(self, source: str) -> Mapping[str, Launchable]:
        """See `Driver`."""
        from cupy.cuda import function

        module = function.Module()
        module.load(compiler.cubin(source, self._arch))
        return _Functions(module)

    def product(self, product: MatrixProduct, base: int) -> DescribedProduct:
        """See `Driver`."""
        described = DescribedProduct(self._lt, product, base, self._precision)
        described.choose(self._chosen, self._seconds, self._streams[0].ptr, self.address(self._workspaces[0]))
        return described

    def _seconds(self, work: Callable[[], None]) -> float:
        """Time some work in the first stream: the shortest of three runs, after one that loads its code."""
        stream, times = self._streams[0], []
        for _ in range(4):
            begin, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()
            begin.record(stream)
            work()
            end.record(stream)
            end.synchronize()
            times.append(float(self._cupy.cuda.get_elapsed_time(begin, end)))
        return min(times[1:])

    def call(self, call: StepCall, launchable: Launchable, memory: int, run: int) -> None:
        """See `Driver`."""
        if isinstance(launchable, DescribedProduct):
            launchable.launch(self._streams[call.beside].ptr, self.address(self._workspaces[call.beside]))
            return
        launchable(call.grid, call.block, (np.uint64(memory), np.uint64(run)), stream=self._streams[0])

    def fork(self) -> None:
        """See `Driver`."""
        self._meet(self._streams[0], self._streams[1])

    def join(self) -> None:
        """See `Driver`."""
        self._meet(self._streams[1], self._streams[0])

    def _meet(self, first: CudaStream, then: CudaStream) -> None:
        then.wait_event(self._event(first))

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """See `Driver`. The garbage collector is off meanwhile, since freeing an array must not be captured."""
        stream, collecting = self._streams[0], gc.isenabled()
        gc.disable()
        try:
            with stream:
                stream.begin_capture()
                try:
                    work()
                finally:
                    graph: CudaGraph = stream.end_capture()
        finally:
            if collecting:
                gc.enable()
        graph.upload(stream)
        return graph

    def replay(self, graph: CudaGraph) -> None:
        """See `Driver`."""
        graph.launch(self._streams[0])

    def look(self, address: int) -> Look:
        """See `Driver`."""
        try:
            seen: HostArray = self.pinned(8).view(np.int64)
        except MemoryError:  # the host waits for a copy to ordinary memory, with the same answer
            seen = np.zeros(1, np.int64)
        runtime, event = self._cupy.cuda.runtime, self._cupy.cuda.Event(disable_timing=True)
        runtime.memcpyAsync(seen.ctypes.data, address, 8, runtime.memcpyDeviceToHost, self._streams[0].ptr)
        event.record(self._streams[0])

        def answer() -> bool:
            event.synchronize()
            return bool(seen[0])

        return answer

    def free(self) -> int:
        """See `Driver`."""
        return int(self._cupy.cuda.runtime.memGetInfo()[0] + self._cupy.get_default_memory_pool().free_bytes())

    def pinned(self, size: int) -> HostArray:
        """See `Driver`."""
        runtime = self._cupy.cuda.runtime
        try:
            return np.frombuffer(self._cupy.cuda.alloc_pinned_memory(max(size, 1)), np.uint8, size)
        except runtime.CUDARuntimeError as error:
            if error.status != runtime.errorMemoryAllocation:  # the GPU is lost
                raise
            raise MemoryError(size) from None

    def send(self, pairs: Sequence[tuple[int, HostArray]], behind: CudaEvent | None) -> CudaEvent:
        """See `Driver`."""
        runtime = self._cupy.cuda.runtime
        if behind is not None:
            self._copies.wait_event(behind)
        for to, source in pairs:
            runtime.memcpyAsync(to, source.ctypes.data, source.nbytes, runtime.memcpyHostToDevice, self._copies.ptr)
        return self._event(self._copies)

    def after(self, sent: CudaEvent) -> None:
        """See `Driver`."""
        self._streams[0].wait_event(sent)

    def mark(self) -> CudaEvent:
        """See `Driver`."""
        return self._event(self._streams[0])

    def finish(self, sent: CudaEvent) -> None:
        """See `Driver`."""
        sent.synchronize()

    def _event(self, stream: CudaStream) -> CudaEvent:
        event: CudaEvent = self._cupy.cuda.Event(disable_timing=True)
        event.record(stream)
        return event

    def between(self, work: Callable[[], None]) -> None:
        """See `Driver`."""
        with self._streams[0]:
            work()

    def wait(self) -> None:
        """See `Driver`."""
        self._streams[0].synchronize()


class _Functions(dict[str, Launchable]):
    """A module's functions, looked up once each."""

    def __init__(self, module: CudaModule) -> None:
        super().__init__()
        self._module = module

    def __missing__(self, name: str) -> Launchable:
        self[name] = self._module.get_function(name)
        return self[name]
