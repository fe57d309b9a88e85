"""Backend: the interface that an array library must offer, and `get_backend`, which loads plug-ins.

A backend is an object you hold, never a global; two live in one process. Plug-ins are found through the entry-point group
"bpengine.backends", those of this distribution by `OWN`, and imported on first use, so that `import bpengine` loads no array
library but NumPy.
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
from bpengine.ops import Ops
from bpengine.system.process_caches import ProcessCache

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

REDUCED = ("tf32", "bfloat16")  # float32 arrays, matrix products in fewer bits
PRECISIONS = ("float32", "float64", *REDUCED)
HOST_DEVICES = (1, 3, 11)  # DLPack: memory that the CPU reads, plain or pinned by CUDA or ROCm
# of this distribution: asking for entry points reads the metadata of all that is installed, and takes longer than loading one
OWN = {"numpy": "bpengine_numpy:NumpyBackend", "cupy": "bpengine_cupy:CupyBackend", "jax": "bpengine_jax:JaxBackend"}
MOST_THREADS = 1024  # of matrix products: more than BLAS libraries are built for
BACKENDS = 16  # handles by name that a process keeps
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
    def shape(self) -> Any:
        """The length of each axis."""


class DLPackProducer(Protocol):
    """An array of another library, which NumPy reads by DLPack.

    >>> from bpengine.backend import DLPackProducer
    >>> array: DLPackProducer = np.zeros(2)
    >>> array.__dlpack_device__()[0] == 1  # memory of the CPU
    True
    """

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __dlpack_device__(self) -> Any: ...


ArrayLike: TypeAlias = npt.ArrayLike | Shaped | DLPackProducer  # numbers as users give them: see `as_host`


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run here; when it cannot, which of the reasons holds and what cures it.

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

    `trouble` says why the folder cannot be written, "" where it can; `cure` what helps. `notes` are (subject, verdict) of
    what was tested on this machine.

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
        """Return what there is to say about it."""

    def clear(self) -> int:
        """Remove everything, and return how many files there were. Raises OSError for one that cannot be removed."""


@dataclass(frozen=True, kw_only=True)
class ProgramCall:
    """One call of a compiled step. seconds: the least time by its bytes and operations. None: not known.

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
    """What a backend makes of a training step, for reading: its calls in order, its text, and what is to be said of them.

    >>> from bpengine.backend import ProgramListing
    >>> ProgramListing(calls=(), source="", notes=("nothing is compiled",)).notes
    ('nothing is compiled',)
    """

    calls: tuple[ProgramCall, ...]
    source: str
    notes: tuple[str, ...]


def as_host(x: ArrayLike) -> HostArray:
    """Return lists, scalars, NumPy arrays and DLPack producers as a NumPy array, without a copy where that is possible.

    Arrays on a GPU are brought to the host: CuPy's refuse NumPy's own way (`__array__`), others are asked by DLPack.

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
    except (
        BufferError,
        RuntimeError,
        TypeError,
        ValueError,
    ):  # it lies on several devices, or on one DLPack cannot name
        return HOST_DEVICES[0]


def _from_gpu(x: Any) -> HostArray:
    for method in ("get", "cpu"):  # CuPy's, PyTorch's
        if callable(getattr(x, method, None)):
            return np.asarray(getattr(x, method)())
    try:
        return np.from_dlpack(x, device="cpu")
    except (BufferError, RuntimeError, TypeError, ValueError):  # not all producers copy between devices
        return np.asarray(x)


class Backend(ABC):
    """One array library with a device and a precision.

    Subclasses set `name`, `xp` and `supported`, and give the methods below; `bpengine_numpy.NumpyBackend` is the living
    definition. `precision` says how numbers are stored and multiplied: "float32" and "float64" are what they say,
    everywhere; "tf32" and "bfloat16" store float32 and multiply matrices in the reduced format, on hardware that has it.

    >>> backend = bp.get_backend("numpy", precision="float64")
    >>> backend.to_numpy(backend.asarray([1.0, 2.0]))
    array([1., 2.])
    """

    name: ClassVar[str]
    extra: ClassVar[str | None] = None  # the pip extra that installs the library
    grain: int = 1  # steps that are run together: cut between them, a run may round in another way
    window: ClassVar[int] = 1  # steps between two reads of the device in the eager loop
    patience: ClassVar[float] = (
        0.5  # seconds that a backend which can do either runs a step eagerly before it compiles it
    )
    together: ClassVar[bool] = False  # whether `run_epochs` runs several models as one program
    sets_threads: ClassVar[bool] = False  # whether the number of its threads may be set
    takes_all_rows: ClassVar[bool] = (
        False  # whether `run_epoch` takes any number of rows, or only what fits on the device
    )
    differentiates: ClassVar[bool] = False  # whether the library differentiates: `jvp` and `transposed` are there
    xp: Namespace
    device: str
    precision: str

    def __init__(self, precision: str = "float32", device: str | None = None, threads: int | None = None) -> None:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        self.threads = None if threads is None else _thread_count(threads, self.name)
        if self.threads is not None and not self.sets_threads:
            raise ConfigError(
                f"backend {self.name!r} cannot set its threads, got threads={threads}. Leave it out; NumPy's can be set."
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
        """Pickle and copy as what the handle is made from: compiled code and locks belong to a process, and are made anew."""
        return _made_anew, (type(self), self.precision, self.device, self.threads)

    @classmethod
    @abstractmethod
    def availability(cls) -> Availability:
        """Say whether the library is installed, with driver and device, or which of these is missing and the cure."""

    @classmethod
    def disk_cache(cls) -> DiskCache | None:
        """Return what the backend keeps on disk between processes, None where it keeps nothing itself."""
        return None

    @classmethod
    def listing(
        cls, step: Step, state: State, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> ProgramListing:
        """Return the program that this backend writes of a step on NumPy's namespace; needs no device.

        The arguments are those of `run_epoch`, arrays of the host. Raises ConfigError where it writes none.
        """
        raise ConfigError(f"backend {cls.name!r} writes no program that could be shown. 'cupy' does.")

    @abstractmethod
    def asarray(self, x: ArrayLike, dtype: npt.DTypeLike | None = None, *, copy: bool = True) -> Array:
        """Bring `x` (NumPy array, list, DLPack producer) to the device, as `dtype` or as the dtype it has.

        With `copy=False` the result may share memory with `x`, which must then not change while the result is in use.
        """

    def bring_rows(
        self, arrays: Sequence[HostArray], dtypes: Sequence[str], *, by_number: bool = False
    ) -> tuple[Array, ...]:
        """Bring the rows of a fit to the device, and wait until they are there.

        by_number: each step will take some of them by their numbers, so that a backend that `takes_all_rows` may leave them on
        the host where they do not fit: `run_epoch` and `take` know them.
        """
        there = tuple(self.asarray(a, d, copy=False) for a, d in zip(arrays, dtypes, strict=True))
        self.synchronize(*there)  # else the copy would count as time of the first steps
        return there

    @abstractmethod
    def to_numpy(self, x: Array) -> HostArray:
        """Copy an array of this backend to a NumPy array."""

    @abstractmethod
    def copy(self, state: Any) -> Any:
        """Copy every array in a tree of dicts; the copy outlives a donation of the original."""

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context with the settings that this backend computes under; on leaving, the process is as it was.

        Whatever a backend is asked to do it does in its scope, and so do a network's own methods. Enter it for arrays of the
        backend that are worked with directly: `with backend.scope(): y = 2.0 * x`.
        """
        return nullcontext()

    def replacements(self) -> Mapping[str, Callable[..., Any]]:
        """Return faster executions of kernel functions by name; each keeps the kernel's signature, less `xp`."""
        return {}

    def _select(self) -> None:
        """Make its device the library's current one, where a library has such; called whenever it is asked for by name."""
        return

    def ops(self) -> Ops:
        """Return the kernels bound to this backend, with its replacements."""
        return Ops(self.xp, self.replacements(), self.scope)

    @abstractmethod
    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        """Return the fastest executable form of a pure function; arguments numbered in `donate` are dead afterwards."""

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
        shorter, and the state is the one after that step. `state` is donated: it is dead after the call.

        whole: the number of steps of the run that these are a part of, len(lr) by default. Where a run is cut must not change
        a bit: a backend that compiles for a number of steps compiles for this one, and one that runs `grain` steps together
        is given runs that are cut at multiples of it.

        This is the loop for libraries that run eagerly. Only every `window` steps does it read "halt" from the device;
        when a step inside the window had halted, the window is run again up to that step.
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
        """Bring one number of every report to the host in a single transfer."""
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

        All epochs have as many steps, and arrays of one form; states are donated. A backend that is `together` runs them as
        one program, compiled for `room` models, which should change seldom. Where an epoch halts, its state stays.

        Here one comes after the other.
        """
        return [self.run_epoch(step, e.state, e.data, e.order, e.lr, whole=whole) for e in epochs]

    @property
    def fits_at_once(self) -> int:
        """How many fits may run in threads at a time, each as fast as by itself, or nearly so."""
        return 1

    def divided(self, threads: int) -> AbstractContextManager[Any]:
        """Return a context in which so many threads of the process run fits at a time, and share its cores."""
        return nullcontext()

    def outside(self, function: Callable[[HostArray, HostArray], None]) -> Callable[[Array], Array]:
        """Return function(x (m, n), result (n,)), which runs on the host, as one of arrays x -> result that a step may call.

        Here both are copied between device and host.
        """

        def call(x: Array) -> Array:
            shards = self.to_numpy(x)
            result = np.empty(shards.shape[1:], shards.dtype)
            function(shards, result)
            return self.asarray(result)

        return call

    def plus(self, a: Array, b: Array) -> Array:
        """Return a + b of what two shards contribute; a compiling library may give it a pass of its own."""
        return a + b

    def adder(self, cut: Cut, comm: Comm) -> ShardAdder:
        """Return what adds up the shards of a step, on this process and on all that train together.

        Here one shard comes after the other, and the processes' sums are exchanged on the host.
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


def _made_anew(kind: type[Backend], precision: str, device: str, threads: int | None = None) -> Backend:
    return kind(precision=precision, device=device, **_set_threads(threads))


def _set_threads(threads: int | None) -> dict[str, int]:
    """Return the argument that only those backends are given whose threads somebody sets."""
    return {} if threads is None else {"threads": threads}


_shared = ProcessCache["Backend"]("backends", BACKENDS)


@cache
def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # not at the top: it takes as long to load as the kernels

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
    """Return a number of threads; raise ConfigError for what is none, and for more than any library takes."""
    if whole(threads, f"backend {name!r}", "threads") > MOST_THREADS:
        raise ConfigError(
            f"backend {name!r} requires threads to be at most {MOST_THREADS:,}. Give a number near that of the cores."
        )
    return int(threads)


def _by_name(kind: type[Backend], precision: str, device: str | None, threads: int | None) -> Backend:
    """Return the process's backend of this kind: one for each precision, device, however it is written, and threads."""
    make = partial(kind, precision=precision, device=device, **_set_threads(threads))
    if not isinstance(precision, str) or not isinstance(device, (str, type(None))):
        return make()  # which says what is wrong with them
    if threads is not None:
        _thread_count(threads, kind.name)  # True is no number of threads, and equal to 1
    chosen = _shared.get((kind, precision, device, threads), make)
    return _shared.get((kind, precision, chosen.device, threads), lambda: chosen)


def get_backend(
    backend: str | Backend, *, precision: str = "float32", device: str | None = None, threads: int | None = None
) -> Backend:
    """Return a backend by name ("numpy", "jax", "cupy"); an instance is returned as it is when it fits what is asked for.

    By name it is the same one each time in a process, so that models share what it has compiled: see `bp.clear_caches`.
    An instance that multiplies in reduced precision fits "float32": that is how it stores.
    threads: how many the matrix products of the NumPy backend use, while it works; by default those that BLAS has.
    Raises ConfigError for an unknown name or precision, BackendUnavailable when it cannot run here or has no such device.

    >>> bp.get_backend("numpy", precision="float64").dtype
    'float64'
    """
    if not isinstance(backend, Backend):
        chosen = _by_name(backend_class(backend), precision, device, threads)
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
    if device is not None and device != backend.device:
        raise ConfigError(f"{backend!r} was given, and device {device!r} asked for. Give one or the other.")
    return backend


def get_oracle() -> Any:
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
    return point.load()()
