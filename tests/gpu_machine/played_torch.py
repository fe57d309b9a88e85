"""PyTorch with a "cuda" that is its CPU: graphs are recorded operation by operation and replayed on the same tensors."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.backends.cuda_host.player import WATCHERS

REFUSED = ("_local_scalar_dense", "nonzero", "is_pinned", "_pin_memory")  # the host would wait, or take memory


class PlayedCuda(TorchFunctionMode):
    """Puts what is asked for on "cuda" on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map(_on_cpu, (args, kwargs or {}))
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.pin_memory:
            return args[0].clone()
        return func(*args, **kwargs)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


class PlayedEvent:
    """A point in time."""

    def __init__(self, *, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, end: PlayedEvent) -> float:
        return 1e3 * (end._at - self._at)


class PlayedGraph:
    """Operations in the order of their capture, with the tensors they read and write: a replay runs them on these."""

    replaying = False  # one of them is

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        """Run every operation on its own operands, and put its results where those of the capture lie."""
        for watcher in WATCHERS:
            watcher("cudaGraphLaunch", "CPU")
        PlayedGraph.replaying = True
        try:
            self._replay()
        finally:
            PlayedGraph.replaying = False

    def _replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, results in self.calls:
                for there, new in zip(tree_leaves(results), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(there, torch.Tensor) and there.data_ptr() != new.data_ptr():
                        there.copy_(new)


class _Capture(TorchDispatchMode):
    """Notes every operation in a graph. They run, for their results' shapes; what they wrote is put back at the end."""

    def __init__(self, graph: PlayedGraph) -> None:
        super().__init__()
        self._graph, self._made = graph, set[int]()
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(func) for word in REFUSED):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        self._keep(func, args, kwargs or {})
        results = func(*args, **(kwargs or {}))
        self._made |= {x.untyped_storage().data_ptr() for x in tree_leaves(results) if isinstance(x, torch.Tensor)}
        self._graph.calls.append((func, args, kwargs or {}, results))
        return results

    def _keep(self, func: Any, args: Any, kwargs: Any) -> None:
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            for x in tree_leaves(value):
                if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self._made:
                    self._before.setdefault(id(x), (x, x.detach().clone()))

    def put_back(self) -> None:
        with torch.no_grad():
            for x, before in self._before.values():
                x.copy_(before)


@contextmanager
def graph(captured: PlayedGraph) -> Iterator[None]:
    """Capture what is done inside, as `torch.cuda.graph` does: none of it has an effect before a replay."""
    capture = _Capture(captured)
    with capture:
        yield
    capture.put_back()


class PlayedProfile(TorchDispatchMode):
    """PyTorch's profiler: on the played GPU each operation of PyTorch is a kernel, and so is each kernel of a program."""

    def __init__(self, activities: object) -> None:
        super().__init__()
        self._events: list[tuple[str, str]] = []

    def __enter__(self) -> PlayedProfile:
        WATCHERS.append(self._seen)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        WATCHERS.remove(self._seen)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._seen(str(func), "CUDA")
        if not PlayedGraph.replaying:
            self._seen("cudaLaunchKernel", "CPU")
        return func(*args, **(kwargs or {}))

    def _seen(self, name: str, device: str) -> None:
        self._events.append((name, device))

    def events(self) -> list[Any]:
        """Return what was seen, as PyTorch does."""
        return [SimpleNamespace(name=name, device_type=SimpleNamespace(name=device)) for name, device in self._events]


@wraps(torch.autocast.__init__)  # what compiles reads the signature
def _autocast(self: Any, device_type: str, *args: Any, **options: Any) -> None:
    AUTOCAST(self, _on_cpu(device_type), *args, **options)


AUTOCAST = torch.autocast.__init__


def install() -> None:
    """Let this process have a GPU."""
    stream: Callable[[], Any] = lambda: SimpleNamespace(wait_stream=lambda other: None)  # noqa: E731
    played = {
        "Event": PlayedEvent, "CUDAGraph": PlayedGraph, "graph": graph, "Stream": stream, "current_stream": stream,
        "stream": lambda other: nullcontext(), "synchronize": lambda: None, "get_device_name": lambda: "played",
        "memory_allocated": lambda: 0, "max_memory_allocated": lambda: 0,
    }  # fmt: skip
    patch.multiple(torch.cuda, **played).start()
    patch.object(importlib.import_module("torch.profiler"), "profile", PlayedProfile).start()
    patch.object(torch.autocast, "__init__", _autocast).start()  # the CPU rounds operands as a GPU does
    PlayedCuda().__enter__()
