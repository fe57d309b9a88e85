"""Programs: functions compiled by XLA for the arrays they are called with, kept on disk for later processes.

JAX has a cache on disk of its own, but it stores only programs that took a second to compile, a damaged file disables it for
good, and its folder is a setting of the whole process. Where that folder is set, by a user or an administrator, JAX's cache
is used, and nothing is stored here. Otherwise programs are files in the user's cache folder, checked before they are loaded
(see `bpengine_steps.disk`), under a key of everything that XLA compiles from. No setting of JAX is changed.
"""

from __future__ import annotations

import hashlib
import os
import pickle  # nosec B403 # its errors alone: JAX reads by it what this user keeps, machine code as it is
import platform
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from bpengine_steps.disk import LIMIT, Cache, cache_folder
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.stages import Lowered

from bpengine.kernels._trees import Tree
from bpengine.system.hardware import cpu
from bpengine.system.lru_cache import LruCache

SWITCH = "BPENGINE_XLA_CACHE"  # an environment variable: "0" stores nothing on disk
FORMAT = 1  # version of the files' format
SHAPES = 32  # the most forms of arguments for which a function stays compiled; they differ in the number of rows
_IDLE = (
    "cache",
    "log",
    "traceback",
    "dump",
    "pprint",
)  # settings with these words in their names do not change programs
_REFUSED = (ValueError, TypeError, RuntimeError)  # raised by JAX and XLA: another device, a call of the host
# the exceptions that pickle's documentation names, by which JAX reads and writes; an unreadable program is compiled again
_UNREADABLE = (*_REFUSED, pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, KeyError)
_UNWRITABLE = (*_REFUSED, pickle.PicklingError, AttributeError)
Executable = Callable[..., Any]  # a program that XLA has compiled


class _JaxReads:
    """Counts the programs that JAX loads from its own cache: these would be stored without their code.

    JAX reads such a cache even after the process has reset the setting.
    """

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_listener(self._note)

    def _note(self, event: str, **_: object) -> None:
        self.count += event == "/jax/compilation_cache/cache_hits"


_JAX_READS = _JaxReads()


class Program:
    """A pure function as XLA runs it, compiled once for each shape of its arguments. To be called in a backend's scope."""

    def __init__(self, function: Callable[..., Any], donate: Sequence[int] = ()) -> None:
        self._donate = tuple(donate)
        self._jitted = jax.jit(function, donate_argnums=self._donate)
        self._compiled = LruCache[Executable](SHAPES)
        self._recent = LruCache[tuple[Executable, list[Any]]](SHAPES)  # the same, by a key that is faster to compare

    def __call__(self, *args: Any, **options: Any) -> Tree:
        """Run the function; arguments numbered in `donate` must not be used afterwards."""
        leaves, tree = jax.tree.flatten((args, options))
        if jax.config.jax_disable_jit or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._jitted(*args, **options)  # inside of another compiled function
        shardings = [leaf.sharding if isinstance(leaf, jax.Array) else None for leaf in leaves]
        # Arrays on one device share an object that describes their location. Comparing its address, which is stable while the
        # program keeps the object, takes a tenth of the time of a comparison by value.
        recent = tree, tuple(map(_type, leaves)), tuple(map(id, shardings))
        program, _ = self._recent.get(recent, lambda: (self._program(tree, leaves, args, options), shardings))
        return program(*args, **options)

    def _program(self, tree: Hashable, leaves: list[Any], args: tuple[Any, ...], options: dict[str, Any]) -> Executable:
        signature = tree, tuple(map(_form, leaves))
        return self._compiled.get(signature, lambda: self._compile(signature, args, options))

    def lower(self, *args: Any, **options: Any) -> Lowered:
        """Return the function lowered for these arguments, as `jax.jit` does."""
        return self._jitted.lower(*args, **options)

    def _compile(self, signature: Hashable, args: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Any]:
        devices = {d for leaf in jax.tree.leaves((args, options)) for d in _devices(leaf)}
        lowered = self.lower(*args, **options)
        kept = store() if len(devices) == 1 and in_use() else None
        if kept is None:
            compiled: Callable[..., Any] = lowered.compile()
            return compiled
        device = devices.pop()
        # with the arguments' shapes: the text lacks those that the function does not use, but a program checks them
        key = f"{_surroundings()}\n{_about(device)}\n{self._donate}\n{signature}\n{lowered.as_text()}"
        content = kept.get(key)
        return (content and _loaded(content, lowered, device)) or _kept(lowered, kept, key)


def in_use() -> bool:
    """Tell whether programs are stored here: not if the user disables it, or if JAX's own cache is set or disabled."""
    own = jax.config.jax_compilation_cache_dir is None and jax.config.jax_enable_compilation_cache
    return own and os.environ.get(SWITCH) != "0"


@cache
def store() -> Cache | None:
    """Return the cache of programs; None without the package that knows the user's cache folder.

    It gives no warnings: it is used automatically, and results are the same without it.
    """
    return Cache(cache_folder("xla"), LIMIT, quiet=True) if find_spec("platformdirs") else None


def _type(leaf: object) -> Hashable:
    """Return shape and dtype of an argument, those of an array in JAX's form."""
    if isinstance(leaf, jax.Array):
        aval: Hashable = leaf.aval
        return aval
    return type(leaf), getattr(leaf, "shape", ()), getattr(leaf, "dtype", None)


def _form(leaf: object) -> Hashable:
    """Return the properties of an argument that a program depends on."""
    return (leaf.aval, leaf.sharding) if isinstance(leaf, jax.Array) else _type(leaf)


def _devices(leaf: object) -> set[Any]:
    return leaf.devices() if isinstance(leaf, jax.Array) else set()


def _loaded(content: bytes, lowered: Lowered, device: jax.Device) -> Callable[..., Any] | None:
    """Return the program of a file, None where this JAX cannot load it."""
    try:
        program: Callable[..., Any] = deserialize_and_load(
            content, lowered.in_tree, lowered.out_tree, backend=device.client, execution_devices=[device]
        )
    except _UNREADABLE:
        return None
    return program


def _kept(lowered: Lowered, kept: Cache, key: str) -> Callable[..., Any]:
    """Compile, and write the program to disk; a program that calls the host cannot be written."""
    before = _JAX_READS.count
    compiled: Callable[..., Any] = lowered.compile()
    if _JAX_READS.count > before:
        return compiled
    try:
        content = serialize(compiled)[0]
    except _UNWRITABLE:
        return compiled
    kept.put(key, content)
    return compiled


@cache
def _processor() -> str:
    """Return the properties of the processor on which code may depend: its instruction sets, and the number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return repr((platform.machine(), hashlib.sha256(features.encode()).hexdigest(), sorted(cpu().items())))


def _surroundings() -> str:
    """Return the versions, flags and settings on which XLA's code depends."""
    libraries = [version(name) for name in ("jax", "jaxlib")]
    flags = {name: os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")}
    settings = {n: v for n, v in sorted(jax.config.values.items()) if not any(word in n for word in _IDLE)}
    return repr((FORMAT, platform.python_version(), libraries, flags, settings, _processor()))


def _about(device: jax.Device) -> str:
    return repr((device.platform, device.device_kind, device.id, device.client.platform_version))
