"""Bringing arrays to a backend and back: copies, dtypes, lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import as_host

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
ALIGNED = 64  # bytes: libraries share memory that starts at a multiple of this, and copy other memory anyway


class OnlyDLPack:
    """An array of another library: nothing of NumPy, only the exchange protocol."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


def aligned(dtype: str, size: int = 64) -> np.ndarray[Any, Any]:
    """Return zeros in memory aligned for every library."""
    memory = np.zeros(size * np.dtype(dtype).itemsize + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)


@DTYPES
def test_a_later_change_of_the_source_changes_nothing(backend_name: str, dtype: str) -> None:
    backend, source = bp.get_backend(backend_name, precision=dtype), aligned(dtype)
    brought = [backend.asarray(source), backend.asarray(source, dtype), backend.asarray(source, copy=True)]
    backend.synchronize(*brought)
    source[:] = 7.0
    for array in brought:
        assert not backend.to_numpy(array).any()


def test_model_copies_the_parameters_it_is_given(backend_name: str) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(32)], "mean_squared_error"), backend_name)
    weight = aligned("float32").reshape(2, 32)
    model.parameters = {"0.weight": weight}
    weight[:] = 7.0
    assert not model.parameters["0.weight"].any()


def test_parameters_returned_by_a_model_are_copies(backend_name: str) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(2), bp.BatchNorm()], "mean_squared_error"), backend_name)
    for shown in (model.parameters, model.running):
        for array in shown.values():
            array[...] = 7.0
    assert not any((a == 7.0).any() for a in [*model.parameters.values(), *model.running.values()])


@DTYPES
def test_dtype_is_kept_or_converted(backend_name: str, dtype: str, rng: np.random.Generator) -> None:
    backend, values = bp.get_backend(backend_name, precision="float64"), rng.normal(size=(3, 2))
    for source in (values, values.astype(np.float32), backend.asarray(values)):
        for copy in (True, False):
            got = backend.to_numpy(backend.asarray(source, dtype, copy=copy))
            assert got.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(got, np.asarray(backend.to_numpy(backend.asarray(source))).astype(dtype))
    for own in (np.float32, np.float64, np.int32, np.uint32, np.bool_):
        assert backend.to_numpy(backend.asarray(np.ones(2, own))).dtype == own


def test_lists_are_accepted(backend_name: str) -> None:
    backend = bp.get_backend(backend_name)
    got = backend.to_numpy(backend.asarray([[1, 2], [3, 4]], backend.dtype))
    assert got.dtype == np.float32
    assert got.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_arrays_of_other_libraries_are_accepted(backend_name: str) -> None:
    backend, source = bp.get_backend(backend_name), np.arange(3, dtype=np.float32)
    got = backend.to_numpy(backend.asarray(OnlyDLPack(source), backend.dtype))
    assert got.dtype == np.float32
    assert got.tolist() == [0.0, 1.0, 2.0]


def test_a_read_only_source_is_accepted(backend_name: str) -> None:
    backend, source = bp.get_backend(backend_name), np.ones((2, 2), np.float32)
    source.flags.writeable = False
    for copy in (True, False):
        assert backend.to_numpy(backend.asarray(source, copy=copy)).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_to_numpy_gives_a_numpy_array(backend_name: str) -> None:
    backend = bp.get_backend(backend_name)
    got = backend.to_numpy(backend.asarray(np.ones((2, 3), np.float32)))
    assert type(got) is np.ndarray
    assert got.shape == (2, 3)


def test_take_returns_the_rows_by_number(backend_name: str) -> None:
    backend = bp.get_backend(backend_name)
    array = backend.asarray(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    assert backend.to_numpy(backend.take(array, np.array([3, 0, 3]))).tolist() == [[9, 10, 11], [0, 1, 2], [9, 10, 11]]


def test_compile_keeps_the_function(backend_name: str) -> None:
    backend = bp.get_backend(backend_name)
    run = backend.compile(lambda tree, y: {"sum": tree["x"] + y})
    x, y = backend.asarray([1.0], "float32"), backend.asarray([2.0], "float32")
    assert backend.to_numpy(run({"x": x}, y)["sum"]).tolist() == [3.0]
    backend.synchronize(x, y)


def test_memory_is_a_number_of_bytes_or_none(backend_name: str) -> None:
    memory = bp.get_backend(backend_name).memory()
    assert set(memory) in (set(), {"in_use", "peak"})
    assert all(isinstance(value, int) and value >= 0 for value in memory.values())


class OnGpu:
    """An array like CuPy's: it refuses NumPy's way, and gives itself by `get`."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.__cuda_array_interface__ = {"shape": self.values.shape, "version": 3}

    def __array__(self, *args: Any, **more: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def get(self) -> Any:
        return self.values


class OfDlpack:
    """An array of another library on a GPU, which copies itself to the host when it is asked to."""

    def __init__(self, values: Any) -> None:
        self.values, self.asked = np.asarray(values), list[Any]()

    def __array__(self, *args: Any, **more: Any) -> Any:
        raise TypeError("can't convert a cuda tensor to numpy")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # CUDA

    def __dlpack__(self, **how: Any) -> Any:
        self.asked.append(how.get("dl_device"))
        if how.get("dl_device") != (1, 0):
            raise BufferError("it lies on a GPU")
        return self.values.__dlpack__()


@pytest.mark.parametrize("kind", [OnGpu, OfDlpack])
def test_gpu_arrays_are_copied_to_the_host(kind: Any) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(as_host(kind(values)), values, strict=True)


def test_array_on_a_device_unknown_to_dlpack_is_read_by_numpys_protocol() -> None:
    class Sharded:
        def __array__(self, *args: Any, **more: Any) -> Any:
            return np.ones(3)

        def __dlpack__(self, **how: Any) -> Any:
            raise BufferError("sharded over several devices")

        def __dlpack_device__(self) -> tuple[int, int]:
            raise BufferError("sharded over several devices")

    np.testing.assert_array_equal(as_host(Sharded()), np.ones(3))


def test_a_model_is_trained_on_data_that_lie_on_a_gpu() -> None:
    x, y = np.arange(8.0).reshape(4, 2), np.arange(4.0).reshape(4, 1)
    parameters = []
    for wrap in (np.asarray, OnGpu):
        model = bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error"), seed=1)
        model.fit(wrap(x), wrap(y), epochs=2)
        parameters.append(model.parameters)
    for name, value in parameters[0].items():
        np.testing.assert_array_equal(parameters[1][name], value)
