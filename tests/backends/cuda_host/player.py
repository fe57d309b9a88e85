"""A GPU played on the CPU: the very text that NVRTC compiles, built by g++ behind cuda_shim.h, and products by NumPy.

Blocks and threads run in one of three orders: a result that depends on it is a race. What a capture forbids raises.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import numpy as np
from bpengine_cupy.cuda_target.codegen.program_text import StepCall
from bpengine_cupy.cuda_target.compiler import full_source
from bpengine_cupy.cuda_target.cublaslt.products import MatrixProduct

from tests.backends.cuda_host.matmul_model import multiply

SHIM = Path(__file__).with_name("cuda_shim.h")
OPTIONS = ("-O0", "-std=c++17", "-w", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing")
IN_TURN, BACKWARDS, GREEDY = 0, 1, 2  # greedy: a warp runs as far as it can before the next one starts
ONE_AT_A_TIME = Lock()  # cuda_shim.h keeps a block's threads and its shared memory in static variables
# called with each kernel ("k3", "CUDA") that runs, and with each launch by the host ("cudaGraphLaunch", "CPU")
WATCHERS: list[Callable[[str, str], None]] = []
ORDERS = {"in turn": IN_TURN, "backwards": BACKWARDS, "greedy": GREEDY}


class WouldNotRun(Exception):
    """An operation that CUDA refuses or hangs on."""


def compiler_missing() -> str | None:
    """Say what is missing to build the text for the CPU, None when nothing is."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return "cuda_shim.h switches threads on x86-64 Linux only"
    return None if shutil.which("g++") else "g++ is not installed (Debian: apt-get install g++)"


def library(text: str) -> ctypes.CDLL:
    """Return generated text, with its prelude, as a library for the CPU; it is built once for each text."""
    names = re.findall(r"^KERNEL\((\w+),", text, re.M)
    doors = [f'extern "C" int cpu_{n}(const int* d, char* m, Run* r) {{ return launch({n}, d, m, r); }}' for n in names]
    whole = "\n".join(['#include "cuda_shim.h"', text, *doors])
    key = hashlib.sha256((whole + SHIM.read_text() + str(OPTIONS)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / "bpengine-cuda-host"
    folder.mkdir(exist_ok=True)
    built = folder / f"{key}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            source = Path(draft) / "step.cpp"
            source.write_text(whole)
            result = Path(draft) / "step.so"
            command = ["g++", *OPTIONS, f"-I{SHIM.parent}", str(source), "-o", str(result)]
            subprocess.run(command, check=True, capture_output=True)
            result.replace(built)
    return ctypes.CDLL(str(built))


def _tell(name: str, device: str) -> None:
    for watcher in WATCHERS:
        watcher(name, device)


class Player:
    """`bpengine_cupy.cuda_target.driver.Driver` on the CPU. `change` may alter the text, to plant a fault."""

    def __init__(self, order: int = IN_TURN, change: Callable[[str], str] = lambda text: text) -> None:
        self._order, self._change = order, change
        self.turn = RLock()
        self._loaded: set[tuple[str, int]] = set()  # kernels and products that have been called, by name and memory
        self._forked = self._beside = False  # the second stream has followed the first; and has not met it again
        self._capturing: list[Callable[[], None]] | None = None
        self.graphs = 0
        self.replays = 0
        self.tf32 = False  # whether products round their float32 operands to ten bits behind the point
        self.epilogues = 0  # products that did more
        self.outings = 0  # times that the program was left for a function on the device
        self._held: list[Any] = []

    def _free(self, what: str) -> None:
        if self._capturing is not None:
            raise WouldNotRun(f"{what} while a stream is captured")

    def begin(self) -> None:
        self._free("waiting")

    def empty(self, size: int) -> Any:
        self._free("taking memory")
        raw = np.full(size + 256, 0xFF, np.uint8)  # NaN everywhere: what is read before it is written shows
        start = -raw.ctypes.data % 256
        return raw[start : start + size]

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        self._free("uploading")
        return np.ascontiguousarray(array).copy()

    def download(self, array: Any) -> Any:
        self._free("downloading")
        return np.array(array)

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def copy(self, to: int, source: int, size: int) -> None:
        self._free("copying between owners")
        ctypes.memmove(to, source, size)

    def known(self, source: str) -> bool:
        return False

    def kernels(self, source: str) -> Mapping[str, Any]:
        self._free("loading kernels")
        built = library(self._change(full_source(source)))
        names = re.findall(r"^KERNEL\((\w+),", source, re.M)
        return {name: getattr(built, f"cpu_{name}") for name in names}

    def product(self, product: MatrixProduct, base: int) -> Any:
        self._free("choosing an algorithm")
        return base

    def call(self, call: StepCall, launchable: Any, memory: int, run: int) -> None:
        if call.beside:
            if not self._forked:
                raise WouldNotRun(f"{call.name}: its stream has not followed the first")
            self._beside = True
        if self._capturing is not None:
            if (call.name, memory) not in self._loaded:
                raise WouldNotRun(f"{call.name} is loaded while a stream is captured")
            self._capturing.append(lambda: self._do(call, launchable, memory, run))
        else:
            self._loaded.add((call.name, memory))
            _tell("cudaLaunchKernel", "CPU")
            self._do(call, launchable, memory, run)

    def _do(self, call: StepCall, launchable: Any, memory: int, run: int) -> None:
        _tell(call.name, "CUDA")
        if call.product is not None:
            self.epilogues += call.product.epilogue is not None
            multiply(call.product, launchable, tf32=self.tf32)
            return
        form = (ctypes.c_int * 6)(*call.grid, *call.block, int(call.meets), self._order)
        with ONE_AT_A_TIME:
            waiting = launchable(form, ctypes.c_void_p(memory), ctypes.c_void_p(run))
        if waiting:
            raise WouldNotRun(f"{call.name}: threads wait for each other for ever")

    def fork(self) -> None:
        self._forked = True

    def join(self) -> None:
        self._forked = self._beside = False

    def capture(self, work: Callable[[], None]) -> Any:
        self._free("capturing")
        self._capturing = []
        try:
            work()
            if self._beside:
                raise WouldNotRun("a capture ends before the second stream has met the first")
            self.graphs += 1
            return self._capturing
        finally:
            self._capturing, self._forked, self._beside = None, False, False

    def replay(self, graph: Any) -> None:
        self._free("replaying")
        self.replays += 1
        _tell("cudaGraphLaunch", "CPU")
        for call in graph:
            call()

    def look(self, address: int) -> Callable[[], bool]:
        self._free("looking")
        seen = bool(ctypes.c_int64.from_address(address).value)
        return lambda: seen

    def free(self) -> int:
        return 1 << 40

    def pinned(self, size: int) -> Any:
        self._free("taking memory of the host")
        return np.empty(size, np.uint8)

    def send(self, pairs: Sequence[tuple[int, Any]], behind: Any) -> Any:
        self._free("sending")
        for to, source in pairs:
            ctypes.memmove(to, source.ctypes.data, source.nbytes)
        return "sent"

    def after(self, sent: Any) -> None:
        self._free("waiting for copies")

    def mark(self) -> Any:
        self._free("marking")
        return "marked"

    def finish(self, sent: Any) -> None:
        self._free("waiting for copies")

    def between(self, work: Callable[[], None]) -> None:
        self._free("leaving the program")
        self.outings += 1
        work()

    def wait(self) -> None:
        self._free("waiting")
