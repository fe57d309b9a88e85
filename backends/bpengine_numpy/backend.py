"""NumpyBackend: kernels run by NumPy on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from bpengine_steps.signature import Tree, leaves, rebuilt
from bpengine_steps.tracing import outside, plus

from bpengine.backend import ArrayLike, Availability, Backend, DiskCache, HostArray, State, Step, as_host
from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.comm import Comm
from bpengine.distributed.tree import Cut
from bpengine.errors import ConfigError
from bpengine.extras import install_command
from bpengine.ops import Ops
from bpengine.system.blas_pool import BLAS_POOL
from bpengine.system.busy import BUSY_WATCH
from bpengine.system.hardware import cpu
from bpengine.system.quiet import Quiet
from bpengine_numpy.blas.product_namespace import Choice, ProductNamespace
from bpengine_numpy.denormals import flushed
from bpengine_numpy.forking import FORKS
from bpengine_numpy.joined_updates import NumpyOps, joined_run
from bpengine_numpy.llvm_target import compiled_epochs, disk_cache
from bpengine_numpy.recorded_shards import RecordingAdder


@cache
def has_compiler() -> bool:
    """Say whether the extra "fast" is installed; its packages are not loaded for this."""
    return all(find_spec(package) is not None for package in ("llvmlite", "platformdirs"))


@cache
def compiler_version() -> str | None:
    """Return the version of llvmlite, None where the extra "fast" is not installed."""
    # not at the top: it loads more slowly than the engine with NumPy
    from importlib.metadata import version

    return version("llvmlite") if has_compiler() else None


def _choice(blas: str, threads: int | None) -> Choice | None:
    """Return what chooses the library of a product, None where it is always NumPy's own."""
    from bpengine_numpy.blas.library_choice import choice  # looks for libraries, which few processes need

    return choice(blas, threads)


class NumpyBackend(Backend):
    """Run on the CPU with NumPy. Precisions: float32, float64.

    threads: the number of threads of matrix products while this backend runs; the process's thread pool is reset to its own
    number afterwards. The last bits of products may depend on it, as on the BLAS library.

    blas: the library that multiplies. None: the one that NumPy was built with. "mkl": Intel's, from the wheel `mkl` (the extra
    `mkl`); "openblas": OpenBLAS, where NumPy was built with it. "fastest": for each product of at least 2^18 multiplications
    NumPy's own or MKL, where that is installed: both multiply such a product for about 5 ms when it is first met, MKL is
    taken where it is more than 5 % faster, and the verdict is kept on disk. The last bits then depend on the verdict. Products
    written `a @ b` in a layer of one's own are NumPy's; `xp.matmul(a, b)` takes the chosen library.
    Raises: BackendUnavailable where MKL is not installed or does not exist for the system, ConfigError for another name, and
    for "openblas" where NumPy was built with another library.
    """

    name = "numpy"

    sets_threads = True
    chooses_blas = True
    takes_all_rows = True

    def __init__(
        self,
        precision: str = "float32",
        device: str | None = None,
        threads: int | None = None,
        blas: str | None = None,
    ) -> None:
        super().__init__(precision, device, threads, blas)
        if precision not in ("float32", "float64"):
            raise ConfigError(f"backend 'numpy' computes in float32 or float64, got precision {precision!r}.")
        if device not in (None, "cpu"):
            raise ConfigError(f"backend 'numpy' runs on the device 'cpu', got {device!r}.")
        self._choice = None if self.blas is None else _choice(self.blas, self.threads)
        self.xp = np if self._choice is None else ProductNamespace(self._choice)
        self.device = "cpu"
        self._compiled = compiled_epochs(self._run_eagerly, self.patience) if has_compiler() else None

    @classmethod
    def _require_ready(cls) -> None:
        """Return at once: NumPy is always installed, and looking up versions takes longer than creating a backend."""

    @classmethod
    def availability(cls) -> Availability:
        """NumPy is always available: the engine itself needs it. With the extra "fast", LLVM compiles epochs."""
        version = compiler_version()
        if version:
            return Availability("ready", f"NumPy {np.__version__}, epochs compiled by llvmlite {version}")
        return Availability("ready", f"NumPy {np.__version__}, for compiled epochs: {install_command('fast')}")

    @classmethod
    def blas_libraries(cls) -> Mapping[str, Availability]:
        """Return "openblas" and "mkl" with whether they can multiply here."""
        from bpengine_numpy.blas.library_choice import libraries

        return libraries()

    @classmethod
    def disk_cache(cls) -> DiskCache | None:
        """Return the cache of compiled loops and of verdicts on BLAS libraries."""
        if has_compiler():
            return disk_cache()
        from bpengine_numpy.blas import fastest, mkl  # only where asked for

        return fastest.verdict_store() if mkl.is_installed() else None

    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool = True) -> HostArray:
        """Copy to an array in C order, or share the memory when `copy` is False and dtype and order fit already."""
        with self.scope():
            return np.array(as_host(x), dtype=dtype, order="C", copy=True if copy else None)

    def to_numpy(self, x: HostArray) -> HostArray:
        """Return the array itself: it is a NumPy array already, and nothing in the engine writes into it."""
        return np.asarray(x)

    def copy(self, state: Tree) -> Tree:
        """Copy every array of a tree: a compiled epoch overwrites the state that it gets."""
        return rebuilt(state, {path: leaf.copy() for path, leaf in leaves(state)})

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which NumPy neither warns nor raises: underflow to zero is normal in training."""
        return Quiet()

    def ops(self) -> Ops:
        """Return the kernels; update rules run once for all small parameters, in blocks over large ones, with the same bits.

        A replacement is run on each parameter by itself.
        """
        replacements = self.replacements()
        return (Ops if replacements else NumpyOps)(self.xp, replacements, self.scope)

    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Return the function in this backend's scope: NumPy runs it eagerly."""

        @wraps(step)
        def run(*args: Any, **options: Any) -> Tree:
            with self.scope(), self._pool():
                return step(*args, **options)

        return run

    def run_epoch(
        self,
        step: Step,
        state: State,
        data: tuple[HostArray, ...],
        order: HostArray | None,
        lr: HostArray,
        *,
        whole: int | None = None,
    ) -> tuple[State, dict[str, HostArray]]:
        """Run the steps (see `Backend.run_epoch`), compiled once that pays, with the same numbers to the last bit.

        Every loss is checked, so NumPy need not warn as well. Denormal numbers count as zero, as they do for XLA.
        """
        with self.scope(), self._pool(), FORKS.epoch(), flushed():
            run = self._compiled.run if self._compiled else self._run_eagerly
            ended = run(step, state, data, order, lr)
            BUSY_WATCH.look()
        return ended

    def expect(self, step: Step, steps: int) -> None:
        """Take note of how many steps a fit may take: where they are many, a step is loaded from disk before they are run."""
        if self._compiled:
            self._compiled.expect(step, steps)

    def _run_eagerly(
        self, step: Step, state: State, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        with joined_run() as separate:
            after, reports = super().run_epoch(step, state, data, order, lr)
            return separate(after), reports

    def _pool(self) -> AbstractContextManager[Any]:
        """Return a context in which matrix products use the requested number of threads."""
        return nullcontext() if self.threads is None else BLAS_POOL.limited(self.threads)

    @property
    def fits_at_once(self) -> int:
        """Return the number of cores, divided by the threads that one fit uses."""
        return max(1, int(cpu()["usable"]) // (self.threads or 1))

    def divided(self, threads: int) -> AbstractContextManager[Any]:
        """Return a context in which matrix products take one thread each where several fits run at a time."""
        return BLAS_POOL.limited(1) if threads > 1 and self.threads is None else nullcontext()

    def outside(self, function: Callable[[HostArray, HostArray], None]) -> Callable[[HostArray], HostArray]:
        """Wrap a function of the host so that a step may call it (see `Backend.outside`), also from a compiled epoch."""
        return outside(function, super().outside(function))

    def plus(self, a: HostArray, b: HostArray) -> HostArray:
        """Return the sum a + b of two shards' contributions; in a compiled epoch it is a separate pass."""
        total: HostArray = plus(a, b)
        return total

    def adder(self, cut: Cut, comm: Comm) -> ShardAdder:
        """Return the adder of a step's shards (see `Backend.adder`); a compiled step runs shards in a loop."""
        exchange = None if comm.size == 1 else self.outside(lambda roots, total: comm.add_up(roots, total, cut.shards))
        return RecordingAdder(np, exchange, self.plus)

    def take(self, array: HostArray, rows: HostArray) -> HostArray:
        """Return the given rows as a new array."""
        return np.take(array, rows, axis=0)

    def circumstances(self) -> dict[str, Any]:
        """Return the version of llvmlite, since the bits of compiled epochs are tested, not proven, and the choice of BLAS."""
        compiler = {"llvmlite": compiler_version()}
        return (
            compiler if self._choice is None else {**compiler, "products": {"asked": self.blas, **self._choice.facts()}}
        )

    def synchronize(self, *arrays: Any) -> None:
        """Return at once: NumPy has computed everything when a call returns."""
