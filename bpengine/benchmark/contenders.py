"""The contenders by name: title, code, packages, devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from importlib.util import find_spec
from types import MappingProxyType

from bpengine.errors import unknown
from bpengine.extras import cure

CPU, GPU, BOTH = ("cpu",), ("gpu",), ("cpu", "gpu")
PRECISIONS = ("full", "tf32", "bfloat16")


@dataclass(frozen=True)
class Contender:
    """One way to train the workloads.

    code: "module:class" of a `Peer`, relative to bpengine.benchmark.peers. argument: the second argument of that class.
    precision: of matrix products, "full" for that of the dtype. needs: the packages it imports. extra: which
    installs them. cure: what to do where no extra does.
    devices, dtypes: those it supports. quick: takes part in a quick run by default. lazy: compiles while it trains.
    sweeps: compiles fast enough for the sweeps over sizes. own: is the engine itself.

    >>> from bpengine.benchmark import CONTENDERS
    >>> CONTENDERS["numpy"].own, CONTENDERS["numpy"].missing
    (True, None)
    """

    name: str
    title: str
    code: str
    _: KW_ONLY
    needs: tuple[str, ...]
    devices: tuple[str, ...]
    extra: str = ""
    cure: str = ""
    argument: str = ""
    precision: str = "full"
    dtypes: tuple[str, ...] = ("float32", "float64")
    environment: tuple[tuple[str, str], ...] = ()
    quick: bool = False
    lazy: bool = False
    sweeps: bool = True
    own: bool = False

    @property
    def missing(self) -> str | None:
        """Say which package is missing and how it is installed, or return None."""
        lacking = [package for package in self.needs if find_spec(package) is None]
        return (
            f"{', '.join(lacking)} not installed. {cure(self.extra) if self.extra else self.cure}" if lacking else None
        )


def in_place(doing: str, title: str, number: int, count: int) -> str:
    """Return what a contender does, with its place among those that run, from 1 on: "first fit, 2 of 6: PyTorch eager"."""
    placed = f"{doing}, {number} of {count}"
    return f"{placed}: {title}"


_KERAS = (("KERAS_BACKEND", "jax"),)
_ROWS = (
    Contender(
        "numpy+fast",
        "bpengine, NumPy with the extra fast",
        ".engine:Engine",
        needs=("llvmlite", "platformdirs"),
        extra="fast",
        devices=CPU,
        argument="numpy",
        lazy=True,
        own=True,
        quick=True,
    ),
    Contender(
        "numpy",
        "bpengine, NumPy alone",
        ".engine:PlainNumpy",
        needs=(),
        cure="",
        devices=CPU,
        argument="numpy",
        own=True,
        quick=True,
    ),
    Contender(
        "jax",
        "bpengine, JAX",
        ".engine:Engine",
        needs=("jax",),
        extra="jax",
        devices=BOTH,
        argument="jax",
        own=True,
        quick=True,
    ),
    Contender(
        "cupy",
        "bpengine, CuPy",
        ".engine:Engine",
        needs=("cupy",),
        extra="cuda",
        devices=GPU,
        argument="cupy",
        lazy=True,
        own=True,
        quick=True,
    ),
    Contender(
        "jax-scan",
        "jitted JAX + optax, scan over an epoch",
        ".optax_scan:OptaxScan",
        needs=("jax",),
        extra="jax",
        devices=BOTH,
        quick=True,
    ),
    Contender(
        "jax-step",
        "jitted JAX + optax, step by step",
        ".optax_step:OptaxStep",
        needs=("jax",),
        extra="jax",
        devices=BOTH,
    ),
    Contender(
        "torch",
        "PyTorch eager",
        ".torch_eager:TorchEager",
        needs=("torch",),
        extra="peers",
        devices=BOTH,
        quick=True,
    ),
    Contender(
        "torch-compile",
        "PyTorch compiled",
        ".torch_compiled:TorchCompiled",
        needs=("torch",),
        extra="peers",
        devices=BOTH,
        sweeps=False,
    ),
    Contender(
        "torch-autotune",
        "PyTorch compiled, max-autotune",
        ".torch_compiled:TorchAutotuned",
        needs=("torch",),
        extra="peers",
        devices=GPU,
        sweeps=False,
    ),
    Contender(
        "torch-graph",
        "PyTorch, CUDA graph",
        ".torch_graph:TorchGraph",
        needs=("torch",),
        extra="peers",
        devices=GPU,
        quick=True,
    ),
    Contender(
        "torch-graph-autotune",
        "PyTorch compiled, max-autotune, CUDA graph",
        ".torch_graph:TorchGraphAutotuned",
        needs=("torch",),
        extra="peers",
        devices=GPU,
        sweeps=False,
    ),
    Contender(
        "sklearn",
        "scikit-learn MLPClassifier",
        ".scikit:ScikitLearn",
        needs=("sklearn",),
        extra="sklearn",
        devices=CPU,
        quick=True,
    ),
    Contender(
        "keras",
        "Keras on JAX",
        ".keras_jax:KerasJax",
        needs=("keras", "jax"),
        extra="peers",
        devices=CPU,
        environment=_KERAS,
    ),
    Contender(
        "thinc",
        "Thinc",
        ".thinc_layers:ThincLayers",
        needs=("thinc",),
        extra="peers",
        devices=CPU,
        dtypes=("float32",),
    ),
)


def _reduced(row: Contender, precision: str) -> Contender:
    """Return the same contender with reduced-precision products of float32 matrices, on a GPU."""
    return replace(
        row,
        name=f"{row.name}-{precision}",
        title=f"{row.title}, {precision}",
        argument=f"{row.argument}:{precision}",
        precision=precision,
        devices=GPU,
        dtypes=("float32",),
    )


# one contender for each precision, so that only equal precisions are compared
_ALL = [*_ROWS, *(_reduced(row, name) for name in PRECISIONS[1:] for row in _ROWS if "gpu" in row.devices)]
CONTENDERS: Mapping[str, Contender] = MappingProxyType({row.name: row for row in _ALL})


def choose(
    backends: Sequence[str] | None,
    peers: Sequence[str] | None,
    *,
    device: str = "cpu",
    quick: bool = False,
    precisions: Sequence[str] | None = None,
) -> list[Contender]:
    """Return the requested contenders, the engine's backends first; None stands for all of the device.

    A named contender is included even if a quick run, or the precisions, would leave it out.
    Raises ConfigError with the nearest names for one that does not exist on the device.

    >>> from bpengine.benchmark import choose
    >>> [contender.name for contender in choose(["numpy"], ["sklearn", "torch"])]
    ['numpy', 'sklearn', 'torch']
    """
    chosen: list[Contender] = []
    for precision in precisions or ():
        if precision not in PRECISIONS:
            raise unknown("precision of contenders", precision, PRECISIONS)
    for kind, names, own in (("backend", backends, True), ("peer", peers, False)):
        known = {c.name: c for c in CONTENDERS.values() if c.own == own and device in c.devices}
        unasked = [n for n, c in known.items() if (c.quick or not quick) and c.precision in (precisions or PRECISIONS)]
        for name in unasked if names is None else names:
            if name not in known:
                raise unknown(f"{kind} on the {device.upper()}", name, known)
            chosen.append(known[name])
    return chosen
