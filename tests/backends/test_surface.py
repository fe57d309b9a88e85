"""Every backend offers exactly the surface of Backend; `get_backend` is the one door. No device is needed here."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.backend import backend_class

BACKENDS = pytest.mark.parametrize("kind", [backend_class(name) for name in bp.backend_names()])


def surface(kind: type) -> dict[str, Any]:
    """Return every public name of a class: (parameter names, kinds, defaults) of functions, the type of the rest."""
    members: dict[str, Any] = {}
    for name, value in inspect.getmembers_static(kind):
        if name == "__init__" or not name.startswith("_"):
            function = getattr(kind, name)
            members[name] = parameters(function) if callable(function) else type(value).__name__
    return members


def parameters(function: Any) -> list[tuple[str, str, Any]]:
    return [(p.name, p.kind.name, p.default) for p in inspect.signature(function).parameters.values()]


@BACKENDS
def test_every_backend_has_the_same_surface(kind: type[bp.Backend]) -> None:
    declared = {"name", "extra", "window"}  # class variables, some of which only the subclasses set
    ours, theirs = surface(kind), surface(bp.Backend)
    assert ours.keys() - declared == theirs.keys() - declared
    for name in ours.keys() - declared:
        assert ours[name] == theirs[name], name


@BACKENDS
def test_every_backend_overrides_what_the_base_leaves_open(kind: type[bp.Backend]) -> None:
    assert bp.Backend.__abstractmethods__ >= {
        "availability",
        "asarray",
        "to_numpy",
        "copy",
        "compile",
        "take",
        "synchronize",
    }
    assert not kind.__abstractmethods__


@BACKENDS
def test_class_variables_are_of_the_declared_kinds(kind: type[bp.Backend]) -> None:
    assert backend_class(kind.name) is kind
    assert kind.extra is None or isinstance(kind.extra, str)
    assert kind.window >= 1
    assert kind.__doc__


def test_the_comparison_of_surfaces_sees_each_kind_of_difference() -> None:
    class Other(NumpyBackend):
        def asarray(self, x: Any, dtype: Any = None, *, copy: bool = False) -> Any: ...
        def to_numpy(self, y: Any) -> Any: ...
        def more(self) -> None: ...

    ours, theirs = surface(Other), surface(NumpyBackend)
    assert {name for name in ours if ours[name] != theirs.get(name)} == {"asarray", "to_numpy", "more"}


def test_backend_names_start_with_numpy() -> None:
    assert bp.backend_names()[0] == "numpy"
    assert {"numpy", "jax", "cupy"} <= set(bp.backend_names())


def test_an_unknown_backend_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(bp.ConfigError, match=r"unknown backend 'nunpy'\. Did you mean 'numpy'"):
        bp.get_backend("nunpy")
    with pytest.raises(bp.ConfigError, match=r"unknown backend 'torch'\. Known: cupy, jax, numpy"):
        bp.get_backend("torch")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"unknown precision 'float16'\. Did you mean .*'float"):
        bp.get_backend("numpy", precision="float16")


def test_numpy_refuses_what_it_cannot_do() -> None:
    with pytest.raises(bp.ConfigError, match="'numpy' computes in float32 or float64, got precision 'tf32'"):
        bp.get_backend("numpy", precision="tf32")
    with pytest.raises(bp.ConfigError, match="runs on the device 'cpu', got 'cuda:0'"):
        bp.get_backend("numpy", device="cuda:0")


def test_an_instance_is_passed_through() -> None:
    single, double = NumpyBackend(), NumpyBackend("float64")
    assert bp.get_backend(single) is single
    assert bp.get_backend(double, precision="float64") is double


def test_an_instance_of_another_precision_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match="computes in float64, but float32 was asked for"):
        bp.get_backend(NumpyBackend("float64"), precision="float32")
    with pytest.raises(bp.ConfigError, match="computes in float32, but float64 was asked for"):
        bp.get_backend(NumpyBackend(), precision="float64")


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_an_instance_that_multiplies_otherwise_than_asked_is_refused(precision: str) -> None:
    with pytest.raises(bp.ConfigError, match=precision):
        bp.get_backend(NumpyBackend(), precision=precision)


def test_a_model_refuses_a_dtype_that_contradicts_its_backend() -> None:
    net = bp.Network(2, [bp.Dense(1)], "mean_squared_error")
    with pytest.raises(bp.ConfigError, match="computes in float64, but float32"):
        bp.Model(net, NumpyBackend("float64"))
    with pytest.raises(bp.ConfigError, match="'float32' and precision 'float64' contradict"):
        bp.Model(net, "numpy", "float32", precision="float64")


def test_two_precisions_live_in_one_process(backend_name: str) -> None:
    net = bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(1)], "mean_squared_error")
    single, double = bp.Model(net, backend_name, "float32"), bp.Model(net, backend_name, "float64")
    for _ in range(2):  # in turn, so that one does not set what the other then uses
        for model in (single, double):
            loss, gradients = model.loss_and_gradients([[0.5, 1.0]], [1.0])
            assert {g.dtype for g in gradients.values()} == {np.dtype(model.dtype)}
            assert model.forward([[0.5, 1.0]]).dtype == np.dtype(model.dtype)
            assert np.isfinite(loss)
    assert (single.dtype, double.dtype) == ("float32", "float64")


def test_repr_shows_device_and_precision(backend_name: str) -> None:
    backend = bp.get_backend(backend_name, precision="float64")
    assert repr(backend) == f"{type(backend).__name__}(device={backend.device!r}, precision='float64')"
    assert backend.device.split(":")[0] in ("cpu", "gpu", "cuda", "tpu")
