"""The array namespace of a recorded forward: NumPy, whose functions recorded arrays handle, and new arrays of any rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from bpengine.kernels import KERNELS
from bpengine.onnx.array_forms import ARRAY_FORMS, filled
from bpengine.onnx.onnx_graph import HostArray, NoOnnxForm, OnnxGraph, has_rows
from bpengine.onnx.recorded_array import RecordedArray, as_recorded
from bpengine.onnx.ufunc_forms import UFUNC_FORMS
from bpengine.ops import Ops

FORMS: Final = {**UFUNC_FORMS, **ARRAY_FORMS}
CREATED: Final = {"zeros": 0, "ones": 1, "empty": 0}


class RecordingNamespace:
    """NumPy's names; new arrays have the graph's number of rows, which is known only at run time."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph

    def __getattr__(self, name: str) -> object:
        """Return NumPy's function of that name, or one that makes an array."""
        if name in CREATED:
            return lambda shape, *, dtype=None: self.full(shape, CREATED[name], dtype=dtype or np.float64)
        return getattr(np, name)

    def full(
        self, shape: object, fill_value: object, *, dtype: npt.DTypeLike | None = None
    ) -> RecordedArray | HostArray:
        """Return an array of equal numbers: NumPy's, unless it has the graph's number of rows."""
        wanted = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if not has_rows(wanted):
            return np.full(wanted, fill_value, dtype)
        return filled(self._graph, wanted, fill_value, dtype or np.asarray(fill_value).dtype)

    def asarray(
        self, a: object, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None
    ) -> RecordedArray | HostArray:
        """Return an array unchanged or in another dtype; anything else as NumPy does."""
        if isinstance(a, RecordedArray):
            return as_recorded(self._graph, a, None if dtype is None else np.dtype(dtype))
        return np.asarray(a, dtype=dtype, copy=copy)


class RecordingOps(Ops):
    """The kernels bound to a recording namespace; kernels used only in training are refused with their reason."""

    def __init__(self, graph: OnnxGraph) -> None:
        refused = {
            kernel.forward.__name__: _refusal(kernel.name, kernel.no_onnx)
            for kernel in KERNELS.values()
            if kernel.no_onnx
        }
        super().__init__(RecordingNamespace(graph), refused)
        self._graph = graph

    def at(self, place: str) -> RecordingOps:
        """Record the following operations under this place."""
        self._graph.place = place
        return self


def _refusal(name: str, reason: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise NoOnnxForm(f"the kernel {name!r} ({reason})")

    return refuse
