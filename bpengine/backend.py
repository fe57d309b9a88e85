"""Backend: the interface that an array library must offer, and `get_backend`, which loads plug-ins.

A backend is an object you hold, never a global; one process may use several. Plug-ins are found through the entry-point
group "bpengine.backends", those of this distribution through `OWN`. They are imported on first use, so `import bpengine`
loads no array library but NumPy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.comm import Comm
from bpengine.distributed.tree import Cut
from bpengine.errors import BackendUnavailable, ConfigError, unknown, whole
from bpengine.kernels._kernel import Array, Namespace
from bpengine.kernels._trees import Tree
from bpengine.ops import Ops
from bpengine.system.process_caches import ProcessCache

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

REDUCED = ("tf32", "bfloat16")  # float32 arrays, matrix products in fewer bits
PRECISIONS = ("float32", "float64", *REDUCED)
HOST_DEVICES = (1, 3, 11)  # DLPack: memory that the CPU reads, plain or pinned by CUDA or ROCm
# the backends of this distribution: looking up entry points reads the metadata of all installed packages, which takes
# longer than loading a backend
OWN = {"numpy": "bpengine_numpy:NumpyBackend", "cupy": "bpengine_cupy:CupyBackend", "jax": "bpengine_jax:JaxBackend"}
BLAS = ("mkl", "openblas", "fastest")  # what a backend may be asked to multiply by
MOST_THREADS = 1024  # the most threads of matrix products: more than BLAS libraries are built for
BACKENDS = 16  # how many backends obtained by name a process keeps
State = dict[str, Any]
HostArray: TypeAlias = np.ndarray[Any, Any]
Step = Callable[[State, tuple[Array, ...], Array], tuple[State, dict[str, Array]]]
Reason = Literal["ready", "not installed", "no driver", "no device", "version mismatch"]


class Shaped(Protocol):
    """Rows in a container of another library: a data frame, a table, a tensor.

    >>> from bpengine.backend import Shaped
    >>> rows: Shaped = np.zeros((3, 2))
    >>> rows.shape
    (3, 2)
    """

    @property
    def shape(self) -> Sequence[int]:
        """The length of each axis."""


class DLPackProducer(Protocol):
    """An array of another library, which NumPy reads by DLPack.

    >>> from bpengine.backend import DLPackProducer
    >>> array: DLPackProducer = np.zeros(2)
    >>> array.__dlpack_device__()[0] == 1  # memory of the CPU
    True
    """

    def __dlpack__(self, *args: Any, **kwargs: Any) -> object: ...

    def __dlpack_device__(self) -> Sequence[int]: ...


ArrayLike: TypeAlias = npt.ArrayLike | Shaped | DLPackProducer  # numbers as users give them: see `as_host`


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run here; when it cannot, the reason and the cure.

    >>> from bpengine.backend import Availability
    >>> Availability("not installed", "No module named 'jax'.", "pip install jax").ready
    False
    """

    reason: Reason
    detail: str
    cure: str = ""

    @property
    def ready(self) -> bool:
        """True when the backend can run."""
        return self.reason == "ready"


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """What a backend keeps on disk between processes: `files` of `size` bytes together, `limit` at most.

    `trouble` says why the folder cannot be written, "" where it can; `cure` says what to do. `notes` are pairs (subject,
    finding) about tests on this machine.

    >>> from bpengine.backend import CacheState
    >>> CacheState(folder="/home/ana/.cache/bpengine", files=3, size=4096, limit=2**28).trouble
    ''
    """

    folder: str
    files: int
    size: int
    limit: int
    trouble: str = ""
    cure: str = ""
    notes: tuple[tuple[str, str], ...] = ()


class EpochOf(NamedTuple):
    """A model's state, and the arguments of `Backend.run_epoch` for its next steps.

    >>> import numpy as np
    >>> from bpengine.backend import EpochOf
    >>> epoch = EpochOf({"w": np.zeros(2)}, (np.ones((4, 2)),), order=np.array([[0, 1], [2, 3]]), lr=np.array([0.1, 0.1]))
    >>> len(epoch.lr) == len(epoch.order)  # two steps, of two rows each
    True
    """

    state: State
    data: tuple[Array, ...]
    order: HostArray | None
    lr: HostArray


class DiskCache(Protocol):
    """What a backend keeps on disk between processes, such as code that took long to compile.

    >>> from bpengine.backend import CacheState, DiskCache
    >>> class Nothing:
    ...     def state(self):
    ...         return CacheState(folder="none", files=0, size=0, limit=0)
    ...     def clear(self):
    ...         return 0
    >>> cache: DiskCache = Nothing()
    >>> cache.clear()
    0
    """

    def state(self) -> CacheState:
        """Return the files, their size and the limit."""

    def clear(self) -> int:
        """Remove all files, and return how many there were. Raises OSError for one that cannot be removed."""


@dataclass(frozen=True, kw_only=True)
class ProgramCall:
    """One call of a compiled step. seconds: the least time that its bytes and operations need. None: not known.

    >>> from bpengine.backend import ProgramCall
    >>> call = ProgramCall(name="loop_0", form="by element", work="256 elements", bytes=3072, operations=256, seconds=1e-9)
    >>> call.bytes, call.registers
    (3072, None)
    """

    name: str
    form: str
    work: str
    bytes: int
    operations: int
    seconds: float
    blocks: int | None = None
    threads: int | None = None
    registers: int | None = None
    shared: int | None = None
    spilled: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProgramListing:
    """A training step as a backend compiles it, for reading: its calls in order, its source text, and notes.

    >>> from bpengine.backend import ProgramListing
    >>> ProgramListing(calls=(), source="", notes=("nothing is compiled",)).notes
    ('nothing is compiled',)
    """

    calls: tuple[ProgramCall, ...]
    source: str
    notes: tuple[str, ...]


def as_host(x: ArrayLike) -> HostArray:
    """Return lists, scalars, NumPy arrays and DLPack producers as a NumPy array, without a copy where that is possible.

    Arrays on a GPU are copied to the host: CuPy's arrays do not support NumPy's protocol (`__array__`), others use DLPack.

    >>> from bpengine.backend import as_host
    >>> as_host([1.0, 2.0])
    array([1., 2.])
    """
    if isinstance(x, np.ndarray):
        return np.asarray(x)
    if hasattr(x, "__cuda_array_interface__") or _dlpack_device(x) not in HOST_DEVICES:
        return _from_gpu(x)
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(cast(Any, x))
    return np.asarray(x)


def _dlpack_device(x: object) -> int:
    if not hasattr(x, "__dlpack_device__"):
        return HOST_DEVICES[0]
    try:
        return int(x.__dlpack_device__()[0])
    # the array lies on several devices, or on one that DLPack does not know
    except (
        BufferError,
        RuntimeError,
        TypeError,
        ValueError,
    ):
        return HOST_DEVICES[0]


def _from_gpu(x: ArrayLike) -> HostArray:
    for method in ("get", "cpu"):  # CuPy's, PyTorch's
        if callable(getattr(x, method, None)):
            return np.asarray(getattr(x, method)())
    try:
        return np.from_dlpack(cast(Any, x), device="cpu")
    except (BufferError, RuntimeError, TypeError, ValueError):  # not all producers copy between devices
        return np.asarray(x)


class Backend(ABC):
    """One array library with a device and a precision.

    Subclasses set `name`, `xp` and `supported`, and define the methods below; `bpengine_numpy.NumpyBackend` is the
    reference. `precision` says how numbers are stored and multiplied: "float32" and "float64" store and multiply in that
    dtype; "tf32" and "bfloat16" store float32 and multiply matrices in the reduced format, on hardware that has it.
    Raises ConfigError for an unknown precision, or `threads` where they cannot be set or are not 1 to 1,024;
    BackendUnavailable, with the cure, where the library, the driver or the device is missing.

    >>> backend = bp.get_backend("numpy", precision="float64")
    >>> backend.to_numpy(backend.asarray([1.0, 2.0]))
    array([1., 2.])
    """

    name: ClassVar[str]
    extra: ClassVar[str | None] = None  # the pip extra that installs the library
    grain: int = 1  # steps that are run together; a run that is cut within them may round differently
    window: ClassVar[int] = 1  # steps between two reads of the device in the eager loop
    patience: ClassVar[float] = (
        0.5  # seconds that a backend which can run eagerly or compiled runs a step eagerly before it compiles it
    )
    together: ClassVar[bool] = False  # whether `run_epochs` runs several models as one program
    sets_threads: ClassVar[bool] = False  # whether the number of its threads may be set
    chooses_blas: ClassVar[bool] = False  # whether another BLAS library than its own may multiply
    takes_all_rows: ClassVar[bool] = (
        False  # whether `run_epoch` takes any number of rows, or only what fits on the device
    )
    host_is_free: bool = False  # whether the host only waits while steps run, because a device of its own computes
    differentiates: ClassVar[bool] = False  # whether the library differentiates, so that `jvp` and `transposed` work
    xp: Namespace
    device: str
    precision: str

    def __init__(
        self,
        precision: str = "float32",
        device: str | None = None,
        threads: int | None = None,
        blas: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        self.threads = None if threads is None else _thread_count(threads, self.name)
        if self.threads is not None and not self.sets_threads:
            raise ConfigError(
                f"backend {self.name!r} cannot set its threads, got threads={threads}. Leave it out; NumPy's can be set."
            )
        self.blas = None if blas is None else _blas_name(blas)
        if self.blas is not None and not self.chooses_blas:
            raise ConfigError(
                f"backend {self.name!r} multiplies by a library of its own, got blas={blas!r}. Leave it out; "
                "NumPy's can be chosen."
            )
        self._require_ready()
        self.precision = precision

    @classmethod
    def _require_ready(cls) -> None:
        """Raise BackendUnavailable where the backend cannot run."""
        status = cls.availability()
        if not status.ready:
            raise BackendUnavailable(
                f"backend {cls.name!r} cannot run here ({status.reason}): {status.detail} {status.cure}"
            )

    @property
    def dtype(self) -> str:
        """The dtype that arrays are stored in: "float64" or "float32"."""
        return "float64" if self.precision == "float64" else "float32"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(device={self.device!r}, precision={self.precision!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the constructor's arguments: compiled code and locks belong to a process and are created again."""
        return _made_anew, (type(self), self.precision, self.device, self.threads, self.blas)

    @classmethod
    @abstractmethod
    def availability(cls) -> Availability:
        """Say whether the library, the driver and the device are there, or which of them is missing and the cure."""

    @classmethod
    def blas_libraries(cls) -> Mapping[str, Availability]:
        """Return the libraries that `blas` may name, each with whether it can multiply here; none without a choice."""
        return {}

    @classmethod
    def disk_cache(cls) -> DiskCache | None:
        """Return the disk cache that the backend keeps between processes, None where it keeps none itself."""
        return None

    @classmethod
    def listing(
        cls, step: Step, state: State, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> ProgramListing:
        """Return the program that this backend compiles from a step, traced on NumPy's namespace; this needs no device.

        The arguments are those of `run_epoch`, with arrays on the host. Raises ConfigError for a backend that compiles none.
        """
        raise ConfigError(f"backend {cls.name!r} writes no program that could be shown. 'cupy' does.")

    @abstractmethod
    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool = True) -> Array:
        """Copy `x` (NumPy array, list, DLPack producer) to the device, in `dtype` or in its own dtype.

        With `copy=False` the result may share memory with `x`, which must then not change while the result is in use.
        """

    def bring_rows(
        self, arrays: Sequence[HostArray], dtypes: Sequence[str], *, by_number: bool = False
    ) -> tuple[Array, ...]:
        """Copy the rows of a fit to the device, and wait until they are there.

        by_number: each step will take some of the rows by their numbers. A backend that `takes_all_rows` may then leave
        rows that do not fit on the host; `run_epoch` and `take` accept them.
        """
        there = tuple(self.asarray(a, d, copy=False) for a, d in zip(arrays, dtypes, strict=True))
        self.synchronize(*there)  # otherwise the copy would count as time of the first steps
        return there

    @abstractmethod
    def to_numpy(self, x: Array) -> HostArray:
        """Copy an array of this backend to a NumPy array."""

    @abstractmethod
    def copy(self, state: Tree) -> Tree:
        """Copy every array in a tree of dicts; the copy outlives a donation of the original."""

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context with the settings that this backend computes under; leaving it restores those of the process.

        All methods of a backend, and a network's own methods, run in its scope. Enter it to compute with arrays of the backend
        directly: `with backend.scope(): y = 2.0 * x`.
        """
        return nullcontext()

    def replacements(self) -> Mapping[str, Callable[..., Any]]:
        """Return faster implementations of kernel functions by name; each has the kernel's signature without `xp`."""
        return {}

    def _select(self) -> None:
        """Make the backend's device the library's current one, where the library has one; called by `get_backend`."""
        return

    def ops(self) -> Ops:
        """Return the kernels bound to this backend, with its replacements."""
        return Ops(self.xp, self.replacements(), self.scope)

    @abstractmethod
    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Return the fastest executable form of a pure function; a call uses up the arguments numbered in `donate`."""

    def uncompiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs as it is written, in this backend's scope: for what `compile` has no memory for."""

        def call(*args: Any, **options: Any) -> object:
            with self.scope():
                return function(*args, **options)

        return call

    def jvp(self, function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return function(*primals) and its derivative along `tangents`, trees of the same structure, by forward mode.

        For a library that differentiates, and inside a function that `compile` compiles.
        """
        raise ConfigError(f"backend {self.name!r} does not differentiate. Ask `differentiates` first.")

    def transposed(self, linear: Callable[[Array], Any], like: Array) -> Callable[[Any], Array]:
        """Return the transpose of a linear function of an array like `like`: from its results' space to that of `like`.

        For a library that differentiates, and inside a function that `compile` compiles.
        """
        raise ConfigError(f"backend {self.name!r} does not differentiate. Ask `differentiates` first.")

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
        """Run len(lr) steps and return the new state and what each step reported, as NumPy arrays of (steps,).

        Step i sees the rows order[i] of `data` ((steps, batch) row numbers), or all rows when `order` is None, and the
        learning rate lr[i]. The run ends right after the first step whose report "halt" is true: the reports are then
        shorter, and the state is the one after that step. `state` is donated: it must not be used after the call.

        whole: the number of steps of the run that these are a part of, len(lr) by default. The results must not depend on
        where a run is cut, to the last bit: a backend that compiles for a number of steps compiles for `whole`, and one
        that runs `grain` steps together gets runs that are cut at multiples of it.

        This is the loop for libraries that run eagerly. It reads "halt" from the device only every `window` steps; when a
        step inside the window halted, the window is run again up to that step.
        """
        rates = self.asarray(lr, self.dtype)
        reports: list[dict[str, Array]] = []
        for start in range(0, len(lr), self.window):
            begin, numbers = state, range(start, min(start + self.window, len(lr)))
            state, recent = self._run(step, begin, data, order, rates, numbers)
            halts = self._fetch(recent, "halt")
            halted = int(np.argmax(halts)) + 1 if halts.any() else 0
            if 0 < halted < len(recent):
                state, recent = self._run(step, begin, data, order, rates, numbers[:halted])
            reports += recent
            if halted:
                break
        return state, {name: self._fetch(reports, name) for name in reports[0]}

    def expect(self, step: Step, steps: int) -> None:
        """Take note that a fit is going to run a step up to so many times; rules may end it earlier.

        A backend that compiles may begin earlier where many are to come. Nothing that it computes depends on this.
        """
        return

    def _fetch(self, reports: list[dict[str, Array]], name: str) -> HostArray:
        """Copy one number of every report to the host in a single transfer."""
        if len(reports) == 1:
            return self.to_numpy(reports[0][name])[np.newaxis]
        return self.to_numpy(self.xp.stack([report[name] for report in reports]))

    def _run(
        self, step: Step, state: State, data: tuple[Array, ...], order: HostArray | None, rates: Array, numbers: range
    ) -> tuple[State, list[dict[str, Array]]]:
        reports = []
        for i in numbers:
            rows = data if order is None else tuple(self.take(array, order[i]) for array in data)
            state, report = step(state, rows, rates[i : i + 1])
            reports.append(report)
        return state, reports

    def run_epochs(
        self, step: Step, epochs: Sequence[EpochOf], *, whole: int | None = None, room: int = 1
    ) -> list[tuple[State, dict[str, HostArray]]]:
        """Run the same step for several models, each on its own epoch; return what `run_epoch` returns for each.

        All epochs have the same number of steps and arrays of the same shapes; states are donated. A backend with `together`
        runs them as one program, compiled for `room` models, which should change seldom. When an epoch halts, its state no
        longer changes.

        This implementation runs one epoch after the other.
        """
        return [self.run_epoch(step, e.state, e.data, e.order, e.lr, whole=whole) for e in epochs]

    @property
    def fits_at_once(self) -> int:
        """Return how many fits may run in threads at a time with each about as fast as by itself."""
        return 1

    def divided(self, threads: int) -> AbstractContextManager[Any]:
        """Return a context in which this number of threads run fits at a time and share the process's cores."""
        return nullcontext()

    def outside(self, function: Callable[[HostArray, HostArray], None]) -> Callable[[Array], Array]:
        """Return function(x (m, n), result (n,)), which runs on the host, as a function x -> result that a step may call.

        This implementation copies both between device and host.
        """

        def call(x: Array) -> Array:
            shards = self.to_numpy(x)
            result = np.empty(shards.shape[1:], shards.dtype)
            function(shards, result)
            return self.asarray(result)

        return call

    def plus(self, a: Array, b: Array) -> Array:
        """Return the sum a + b of two shards' contributions; a compiling library may compute it in a separate pass."""
        return a + b

    def adder(self, cut: Cut, comm: Comm) -> ShardAdder:
        """Return a function that adds the shards of a step, of this process and of all that train together.

        This implementation adds one shard after the other, and the processes' sums are exchanged on the host.
        """
        if comm.size == 1:
            return ShardAdder(self.xp, None, self.plus)
        exchange = self.outside(lambda roots, result: comm.add_up(roots, result, cut.shards))
        return ShardAdder(self.xp, exchange, self.plus)

    @abstractmethod
    def take(self, array: Array, rows: HostArray) -> Array:
        """Return the given rows of an array as a new array."""

    @abstractmethod
    def synchronize(self, *arrays: Array) -> None:
        """Wait until the given arrays have been computed."""

    def circumstances(self) -> dict[str, Any]:
        """Return versions and settings, as JSON values, that may change the last bits of what this backend computes."""
        return {}

    def memory(self) -> dict[str, int]:
        """Return bytes "in_use" and "peak" on the device, as far as the library can tell (else an empty dict)."""
        return {}


def _made_anew(
    kind: type[Backend], precision: str, device: str, threads: int | None = None, blas: str | None = None
) -> Backend:
    return kind(precision=precision, device=device, **_set(threads=threads, blas=blas))


def _set(**settings: Any) -> dict[str, Any]:
    """Return the arguments for a backend's class that were set: a plug-in's class need not know the others."""
    return {name: value for name, value in settings.items() if value is not None}


_shared = ProcessCache["Backend"]("backends", BACKENDS)


@cache
def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # not at the top: the import takes as long as that of the kernels

    return {point.name: point for point in entry_points(group="bpengine.backends")}


def backend_names() -> tuple[str, ...]:
    """Return the names of all known backends, installed or not, NumPy first.

    >>> "numpy" in bp.backend_names()
    True
    """
    return tuple(sorted(_plugins(), key=lambda name: (name != "numpy", name)))


def backend_class(name: str) -> type[Backend]:
    """Return the class of a backend by name; raise ConfigError with the nearest names when there is none.

    >>> from bpengine.backend import backend_class
    >>> backend_class("numpy").availability().ready
    True
    """
    if isinstance(name, str) and name in OWN:
        module, _, kind = OWN[name].partition(":")
        own: type[Backend] = getattr(import_module(module), kind)
        return own
    if not isinstance(name, str) or name not in _plugins():
        raise unknown("backend", name, backend_names())
    loaded: type[Backend] = _plugins()[name].load()
    return loaded


def _thread_count(threads: int, name: str) -> int:
    """Return a number of threads; raise ConfigError for anything else, and for more than any library supports."""
    if whole(threads, f"backend {name!r}", "threads") > MOST_THREADS:
        raise ConfigError(
            f"backend {name!r} requires threads to be at most {MOST_THREADS:,}. Give a number near that of the cores."
        )
    return int(threads)


def _blas_name(blas: str) -> str:
    """Return the name of a BLAS library; raise ConfigError with the nearest names for any other."""
    if not isinstance(blas, str) or blas not in BLAS:
        raise unknown("BLAS library", blas, BLAS)
    return blas


def _by_name(kind: type[Backend], precision: str, device: str | None, threads: int | None, blas: str | None) -> Backend:
    """Return the process's backend of this kind: one for each precision, device (however written), threads and BLAS."""
    make = partial(kind, precision=precision, device=device, **_set(threads=threads, blas=blas))
    if not isinstance(precision, str) or not isinstance(device, (str, type(None))):
        return make()  # the constructor says what is wrong with them
    if threads is not None:
        _thread_count(threads, kind.name)  # True is no number of threads, and equal to 1
    if blas is not None:
        _blas_name(blas)
    chosen = _shared.get((kind, precision, device, threads, blas), make)
    return _shared.get((kind, precision, chosen.device, threads, blas), lambda: chosen)


def get_backend(
    backend: str | Backend,
    *,
    precision: str = "float32",
    device: str | None = None,
    threads: int | None = None,
    blas: str | None = None,
) -> Backend:
    """Return a backend by name ("numpy", "jax", "cupy"); an instance is returned as it is if it has the requested precision.

    A name gives the same backend each time in a process, so that models share its compiled code: see `bp.clear_caches`.
    An instance that multiplies in reduced precision is accepted for "float32", since it stores float32.
    threads: the number of threads of the NumPy backend's matrix products while it runs; by default that of BLAS.
    blas: the library of the NumPy backend's matrix products: "mkl", "openblas", or "fastest", see `NumpyBackend`; by default
    the one that NumPy was built with.
    Raises ConfigError for an unknown name or precision, BackendUnavailable when it cannot run here or has no such device.

    >>> bp.get_backend("numpy", precision="float64").dtype
    'float64'
    """
    if not isinstance(backend, Backend):
        chosen = _by_name(backend_class(backend), precision, device, threads, blas)
        chosen._select()
        return chosen
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision != backend.precision and (precision in REDUCED or backend.dtype != precision):
        raise ConfigError(
            f"{backend!r} computes in {backend.precision}, but {precision} was asked for. Give one or the other."
        )
    if threads is not None and threads != backend.threads:
        raise ConfigError(f"{backend!r} was given, and threads={threads} asked for. Give one or the other.")
    if blas is not None and blas != backend.blas:
        raise ConfigError(f"{backend!r} was given, and blas={blas!r} asked for. Give one or the other.")
    if device is not None and device != backend.device:
        raise ConfigError(f"{backend!r} was given, and device {device!r} asked for. Give one or the other.")
    return backend


class GradientOracle(Protocol):
    """What differentiates functions built from forward kernels: `bpengine_jax.oracle.Oracle` is the one there is.

    >>> from bpengine.backend import GradientOracle, get_oracle
    >>> try:
    ...     oracle: GradientOracle = get_oracle()
    ... except bp.BackendUnavailable:  # JAX cannot run here
    ...     pass
    """

    @property
    def name(self) -> str:
        """What it is."""

    @property
    def precision(self) -> str:
        """In which precision it computes."""

    def value_and_gradients(
        self, function: Callable[[Ops, dict[str, Array]], Array], at: dict[str, HostArray]
    ) -> tuple[float, dict[str, HostArray]]:
        """Return function(ops, at) and its gradient with respect to every array of `at`."""

    def differentiated(
        self, function: Callable[[Ops, dict[str, Array]], Array]
    ) -> Callable[[dict[str, HostArray]], tuple[float, dict[str, HostArray]]]:
        """Return `value_and_gradients` of a function, to be called at many points."""

    def derivatives(
        self, loss: Callable[..., Array], row_loss: Callable[..., Array], outputs: Callable[..., Array]
    ) -> Callable[..., dict[str, Any]]:
        """Return (params, rows, v) -> Jacobian, product with the Hessian, gradients per row and of the inputs."""


def get_oracle() -> GradientOracle:
    """Return the gradient oracle: JAX autodiff in float64 (`bpengine_jax.oracle.Oracle`).

    Raises BackendUnavailable when JAX cannot run here.

    >>> from bpengine.backend import get_oracle
    >>> try:
    ...     name = type(get_oracle()).__name__
    ... except bp.BackendUnavailable:  # JAX cannot run here
    ...     name = "Oracle"
    >>> name
    'Oracle'
    """
    status = backend_class("jax").availability()
    if not status.ready:
        raise BackendUnavailable(f"the autodiff oracle needs JAX ({status.reason}): {status.detail} {status.cure}")
    from importlib.metadata import entry_points

    (point,) = entry_points(group="bpengine.oracles", name="jax")
    oracle: GradientOracle = point.load()()
    return oracle
