"""A folder that makes a machine without a GPU look like one with a GPU, for every Python process that has it on its path.

    PYTHONPATH=tests/gpu_machine:. make gpu-bench-full-small PYTHON=.venv/bin/python

Python imports a module of this name when it starts, so processes that a command starts have the GPU as well. CuPy is
NumPy with the driver played on the CPU (`tests.backends.cuda_host`), PyTorch's "cuda" is its CPU, with graphs that are
recorded and replayed (`played_torch.py`), JAX runs on its CPU. Workloads of the benchmark, and of `bench/gpu_first.py`, are
made small, so that what is tried is every line of the code, and no time means anything.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from unittest.mock import patch

Change = Callable[[], None]


class PlayedCupy(MetaPathFinder, Loader):
    """Finds CuPy, installed or not, and gives the played one.

    Where it is installed, its NVRTC runs here as on any machine without a GPU: the settings that it reads are CuPy's own.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == "cupy" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        from tests.backends.cuda_host import played_cupy

        played: ModuleType = played_cupy.module(lambda: played_cupy.FREE)
        installed = PathFinder.find_spec("cupy")
        played.__path__ = list(installed.submodule_search_locations or ()) if installed else []
        return played

    def exec_module(self, module: ModuleType) -> None:
        if module.__path__:
            module.__dict__["_environment"] = importlib.import_module("cupy._environment")


class AfterImport(MetaPathFinder):
    """Makes a change as soon as a module has been imported, and not before: most processes import few of them."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self._changes, self._asked = changes, ""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._changes or name == self._asked:
            return None
        self._asked = name  # of the finders behind this one
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asked = ""
        if spec and spec.loader:
            spec.loader = _Changed(spec.loader, self._changes[name])
        return spec


class _Changed(Loader):
    def __init__(self, loader: Loader, change: Change) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change()

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


def namespace() -> None:
    """Let NumPy's namespace be CuPy's."""
    import array_api_compat
    import array_api_compat.numpy

    patch.dict(sys.modules, {"array_api_compat.cupy": array_api_compat.numpy}).start()
    patch.object(array_api_compat, "cupy", array_api_compat.numpy, create=True).start()


def available() -> None:
    """Let the backend find what it needs."""
    from bpengine_cupy import availability

    def runtime() -> ModuleType:
        from tests.backends.cuda_host import played_cupy  # which imports the module that is changed here

        played: ModuleType = played_cupy.module(lambda: played_cupy.FREE).cuda.runtime
        return played

    ask = availability.compiler_problem

    def problem() -> str | None:
        there = "cupy_backends" in sys.modules or importlib.util.find_spec("cupy_backends")
        return ask() if there else None  # the player needs none

    patch.object(availability, "_import_runtime", runtime).start()
    patch.object(availability, "compiler_problem", problem).start()


def driver() -> None:
    """Let programs run on the player."""
    from bpengine_cupy.cuda_target import driver

    from tests.backends.cuda_host import played_cupy

    patch.object(driver, "CupyDriver", played_cupy.driver).start()


def torch() -> None:
    """Let "cuda" stand for the CPU."""
    from tests.gpu_machine import played_torch

    played_torch.install()


def workloads() -> None:
    """Make workloads small, and the same in kind: layers, whole or several batches, a rest beside graphs of 16 steps."""
    from dataclasses import replace

    from bpengine.benchmark.workloads import Workload

    on = Workload.on

    def small(self: Workload, device: str) -> Workload:
        work = on(self, device)
        sizes = tuple(min(size, 24) for size in work.sizes)
        if work.whole:
            return replace(work, steps=200)
        return replace(work, sizes=sizes, batch=min(work.batch, 32), epoch_steps=18)

    patch.object(Workload, "on", small).start()


def roofline() -> None:
    """Measure small products and copies."""
    from bpengine.benchmark.floors import roofline

    roofline.LARGE["gpu"], roofline.COPIES["gpu"] = (64, 128), (2**12, 2**16)


def platforms() -> None:
    """Let JAX run where it can."""
    from bpengine.benchmark.processes import process

    patch.object(process, "DEVICES", {**process.DEVICES, "gpu": {"JAX_PLATFORMS": "cpu"}}).start()


def xla_products() -> None:
    """Let JAX multiply in float32 where tf32 is asked for, which XLA does not have on a CPU."""
    from bpengine.benchmark.peers import optax_step

    patch.dict(optax_step.MATMUL, {"tf32": "highest"}).start()


def engines() -> None:
    """Let the benchmark's contenders, and nothing else, take the reduced precisions on JAX; they multiply in float32."""

    def change() -> None:
        from bpengine_jax import backend

        patch.dict(backend.MATMUL, {"tf32": "highest", "bfloat16": "highest"}).start()
        patch.object(backend, "_check_precision", lambda precision, platform: None).start()

    CHANGES["bpengine_jax.backend"] = change


def jax() -> None:
    """Let tests that require JAX's GPU take the CPU."""
    import jax

    patch.object(jax, "default_backend", lambda: "gpu").start()


CHANGES: dict[str, Change] = {
    "array_api_compat": namespace,
    "bpengine_cupy.availability": available,
    "bpengine_cupy.cuda_target.driver": driver,
    "torch": torch,
    "jax": jax,
    "bpengine.benchmark.workloads": workloads,
    "bpengine.benchmark.floors.roofline": roofline,
    "bpengine.benchmark.processes.process": platforms,
    "bpengine.benchmark.peers.optax_step": xla_products,
    "bpengine.benchmark.peers.engine": engines,
}
os.environ.setdefault("GPU_FIRST", "small")
sys.meta_path[:0] = [PlayedCupy(), AfterImport(CHANGES)]
