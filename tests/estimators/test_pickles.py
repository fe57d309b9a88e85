"""Models, networks, histories and backends travel through pickle, deepcopy and joblib, and go on with the same bits."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp

TRIPS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
}
X = np.random.default_rng(0).normal(size=(24, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
EACH_TRIP = pytest.mark.parametrize("trip", TRIPS.values(), ids=TRIPS)
EACH_BACKEND = pytest.mark.parametrize("backend", ["numpy", "jax"], indirect=True)
EACH_DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])


def cube_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    return x * x * x, x


def cube_backward(xp: Any, x: Any, dy: Any) -> Any:
    return 3.0 * x * x * dy


def squares_forward(xp: Any, y: Any, target: Any) -> tuple[Any, Any]:
    diff = y - target
    return xp.mean(diff * diff), diff


def squares_backward(xp: Any, diff: Any, dloss: Any) -> Any:
    return (2.0 / diff.size) * diff * dloss


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """Give the name of a backend; JAX may be missing."""
    if request.param == "jax":
        request.getfixturevalue("jax")
    return str(request.param)


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def model_of(backend: str, dtype: str = "float64") -> bp.Model:
    layers = [bp.Dense(5, "tanh"), bp.BatchNorm(), bp.Dropout(0.25), bp.Dense(2)]
    model = bp.Model(bp.Network(3, layers, "softmax_cross_entropy", bp.L2(0.01)), backend, dtype, seed=3)
    model.class_names = ["no", "yes"]
    return model


def assert_same(one: bp.Model, other: bp.Model) -> None:
    assert repr(one) == repr(other)
    assert one.class_names == other.class_names
    for a, b in ((one.parameters, other.parameters), (one.running, other.running)):
        assert list(a) == list(b)
        assert all(same_bits(a[name], b[name]) for name in a)
    assert same_bits(one.predict(X), other.predict(X))


@pytest.mark.thorough(keep=3)
@EACH_TRIP
@EACH_BACKEND
@EACH_DTYPE
def test_training_goes_on_with_the_same_bits(trip: Callable[[Any], Any], backend: str, dtype: str) -> None:
    model = model_of(backend, dtype)
    history = model.fit(X, Y, batch_size=8, epochs=2)
    other, third, past = trip(model), trip(model), trip(history)  # each by itself
    assert_same(model, other)
    assert same_bits(past.loss, history.loss)
    assert past.epochs == history.epochs
    pairs = ((model, history), (other, past), (third, past))  # a history may be gone on from again
    further = [m.fit(X, Y, batch_size=8, epochs=2, continue_from=h) for m, h in pairs]
    assert_same(model, other)
    assert_same(model, third)
    assert same_bits(further[0].loss, further[1].loss)
    later = [m.fit(X, Y, batch_size=8, epochs=1) for m in (model, other)]  # another fit has an order of its own
    assert same_bits(later[0].loss, later[1].loss)


@pytest.mark.thorough(keep=2)
@EACH_TRIP
@EACH_BACKEND
def test_a_fit_goes_on_from_its_last_step_where_the_best_epoch_was_restored(
    trip: Callable[[Any], Any], backend: str
) -> None:
    model = model_of(backend)
    how: dict[str, Any] = {"validation": (X[:6], 1 - Y[:6]), "stop": bp.NoImprovement(2), "batch_size": 8}
    history = model.fit(X, Y, epochs=50, **how)
    assert "no improvement" in history.stopped_by
    other, past = trip(model), trip(history)
    further = [m.fit(X, Y, epochs=3, batch_size=8, continue_from=h) for m, h in ((model, history), (other, past))]
    assert_same(model, other)
    assert same_bits(further[0].loss, further[1].loss)


@pytest.mark.thorough(keep=1)
@EACH_TRIP
def test_float64_stays_where_jax_is_not_set_to_it(trip: Callable[[Any], Any], jax: Any) -> None:
    model = model_of("jax")
    how: dict[str, Any] = {"batch_size": 8, "validation": (X, Y), "stop": bp.NoImprovement(9)}
    history = model.fit(X, Y, epochs=2, **how)
    with jax.enable_x64(False):
        other, past = trip(model), trip(history)
    further = [m.fit(X, Y, epochs=2, continue_from=h, **how) for m, h in ((model, history), (other, past))]
    assert_same(model, other)
    assert same_bits(further[0].loss, further[1].loss)
    assert past.end.best.state["params"]["0.weight"].dtype == "float64"


@pytest.mark.thorough(keep=1)
@EACH_TRIP
@EACH_BACKEND
def test_own_training_loop_continues_with_the_same_bits_after_a_copy(trip: Callable[[Any], Any], backend: str) -> None:
    model = model_of(backend)
    model.apply_gradients(model.loss_and_gradients(X, Y)[1])
    other = trip(model)
    for m in (model, other):
        m.apply_gradients(m.loss_and_gradients(X, Y)[1])
    assert_same(model, other)


@EACH_TRIP
def test_a_copy_shares_nothing(trip: Callable[[Any], Any]) -> None:
    model = model_of("numpy")
    other, before = trip(model), model.predict(X)
    other.fit(X, Y, epochs=1)
    assert other.backend is not model.backend
    assert same_bits(model.predict(X), before)


@pytest.mark.thorough(keep=1)
@EACH_TRIP
@EACH_BACKEND
def test_a_copy_in_the_middle_of_a_fit_is_the_model_of_that_epoch(trip: Callable[[Any], Any], backend: str) -> None:
    copies: list[bp.Model] = []

    def keep(model: bp.Model, epoch: Any) -> None:
        copies.append(trip(model))

    whole, short = model_of(backend), model_of(backend)
    whole.fit(X, Y, batch_size=8, epochs=3, callbacks=keep)
    short.fit(X, Y, batch_size=8, epochs=2)
    assert all(same_bits(copies[1].parameters[name], array) for name, array in short.parameters.items())
    assert_same(copies[2], whole)


@EACH_TRIP
@EACH_BACKEND
def test_unpickled_backend_is_a_new_handle(trip: Callable[[Any], Any], backend: str) -> None:
    handle = bp.get_backend(backend, precision="float64")
    again = trip(handle)
    assert again is not handle
    assert repr(again) == repr(handle)
    one, other = trip((handle, handle))
    assert one is other


class Patient(NumpyBackend):
    """A backend of a user's own that never compiles."""

    patience = float("inf")


class OwnArray(np.ndarray[Any, Any]):
    """An array of a backend of a user's own, which takes no others."""


class OwnArrays(Patient):
    """A backend that refuses to train on arrays of the host."""

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool = True) -> Any:
        return super().asarray(x, dtype, copy=copy).view(OwnArray)

    def run_epoch(self, step: Any, state: Any, *args: Any, **options: Any) -> Any:
        slots = [slot for part in state["slots"].values() for slot in part]
        assert all(isinstance(array, OwnArray) for array in (*state["params"].values(), *slots, state["counter"]))
        return super().run_epoch(step, state, *args, **options)


@EACH_TRIP
def test_arrays_are_brought_back_to_the_backend(trip: Callable[[Any], Any]) -> None:
    network = bp.Network(3, bp.Dense(2), "softmax_cross_entropy")
    model = bp.Model(network, OwnArrays("float64"), "float64")
    history = model.fit(X, Y, epochs=2)
    other, past = trip(model), trip(history)
    assert type(past.end.state["counter"]) is np.ndarray
    other.fit(X, Y, epochs=1, continue_from=past)
    assert isinstance(other.backend, OwnArrays)


@EACH_TRIP
def test_a_backend_keeps_its_class(trip: Callable[[Any], Any]) -> None:
    assert type(trip(Patient("float64"))) is Patient


@EACH_TRIP
def test_functions_of_ones_own_and_shared_layers_stay(trip: Callable[[Any], Any]) -> None:
    cube, shared = (cube_forward, cube_backward), bp.Dense(3, "tanh")
    loss = bp.CustomLoss(squares_forward, squares_backward, name="squares", reduction="mean")
    network = bp.Network(3, [shared, shared, bp.Dense(2, cube), bp.Dense(1, bp.CustomActivation(*cube))], loss)
    again = trip(network)
    assert again == network
    assert again.shared == network.shared
    assert again.layers[0] is again.layers[1]
    assert again.loss.name == "squares"
    models = [bp.Model(n, dtype="float64") for n in (network, again)]
    histories = [m.fit(X, X[:, :1], epochs=3) for m in models]
    assert same_bits(histories[0].loss, histories[1].loss)


@EACH_TRIP
def test_pickle_of_a_model_keeps_its_features(trip: Callable[[Any], Any]) -> None:
    table = bp.data.Table({"age": bp.data.TableColumn(np.array([20.0, 40.0, np.nan, 60.0]))})
    features = bp.Features().fit(table, [1.5, 2.5, 9.0, 4.0], task="regression")
    model = bp.Model(bp.Network(features.inputs, bp.Dense(1), "mean_squared_error"), features=features)
    again = trip(model)
    assert again.features.to_json() == features.to_json()
    assert again.evaluate(table, [1.0, 2.0, 3.0, 4.0]) == model.evaluate(table, [1.0, 2.0, 3.0, 4.0])


def predictions(model: bp.Model, history: bp.History) -> tuple[Any, Any]:
    """Run in another process: what comes back is the model's, and that of a fit that goes on there."""
    before = model.predict(X)
    return before, model.fit(X, Y, batch_size=8, epochs=1, continue_from=history).loss


def test_pickled_model_works_in_another_process() -> None:
    from joblib import Parallel, delayed

    model = model_of("numpy")
    history = model.fit(X, Y, batch_size=8, epochs=2)
    (there,) = Parallel(n_jobs=2)(delayed(predictions)(model, history) for _ in range(1))
    here = predictions(model, history)
    assert all(same_bits(a, b) for a, b in zip(there, here, strict=True))
