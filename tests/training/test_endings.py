"""However a fit ends, the model is left with the state that was promised: finite, the best where a rule restores it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training import Epoch, loop
from tests.training.networks import labelled
from tests.training.test_loop import PLAIN, same_parameters

ONE = bp.Network(1, [bp.Dense(1)], "mean_squared_error")


def compiled(backend_name: str, network: bp.Network = ONE, *, early: bool) -> bp.Model:
    """Return a model; on NumPy its epochs are compiled from the first step on where `early` is true."""
    model = bp.Model(network, backend_name)
    if early and backend_name == "numpy":
        model.backend._compiled._patience = float("-inf")
    return model


OVERFLOW = {
    "update": (np.ones((4, 1)), np.full((4, 1), 1e10), 1e35, r"The gradient was finite, the update was not"),
    "gradient": (np.full((1, 1), 1e30), np.full((1, 1), 1e10), 1e-3, r"First bad array: d\w of dense_bwd in layer 0"),
}


@pytest.mark.thorough(keep=18)
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("kind", OVERFLOW)
@pytest.mark.parametrize(
    "limit", [{"epochs": 1}, {"steps": 1}, {"epochs": 3, "callbacks": print}], ids=["epochs", "steps", "callback"]
)
def test_last_update_is_checked(limit: dict[str, Any], kind: str, early: bool, backend_name: str) -> None:
    x, y, rate, message = OVERFLOW[kind]
    model = compiled(backend_name, bp.Network(1, [bp.Dense(1, weight_init="zeros")], "mean_squared_error"), early=early)
    before = model.parameters
    with pytest.raises(
        bp.NonFiniteError, match=r"finite parameters, got parameter '0\.\w+'.* after step 1.*" + message
    ):
        model.fit(x, y, optimizer=bp.SGD(rate), **limit)
    assert all((model.parameters[name] == value).all() for name, value in before.items())


def test_callbacks_and_files_never_get_a_non_finite_number(backend_name: str, tmp_path: Path) -> None:
    """The loss stays finite where the tanh of an infinite number is 1: only the parameters tell."""
    network = bp.Network(1, [bp.Dense(1, "tanh", weight_init="zeros")], "mean_squared_error")
    model, seen, path = bp.Model(network, backend_name), [], tmp_path / "m.safetensors"

    def look(model: bp.Model, epoch: Epoch) -> None:
        seen.append(all(np.isfinite(p).all() for p in model.parameters.values()))

    rates = bp.SGD(lambda step: 1e-3 if step < 3 else 3e38)
    with pytest.raises(bp.NonFiniteError, match=r"after step 4") as caught:
        model.fit(np.ones((4, 1)), np.ones((4, 1)), optimizer=rates, epochs=9, callbacks=[look, bp.Checkpoint(path)])
    assert seen == [True] * 3
    assert same_parameters(bp.load(path), model)
    assert caught.value.history.steps == 4


def test_first_non_finite_update_is_located(backend_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read every twenty steps; the model is restored to the state before the overflow."""
    monkeypatch.setattr(loop, "LONGEST", 50)
    network = bp.Network(1, [bp.Dense(1, "tanh", weight_init="zeros")], "mean_squared_error")
    model, same = (bp.Model(network, backend_name) for _ in range(2))
    x, y = np.ones((4, 1)), np.ones((4, 1))
    rates = bp.SGD(lambda step: 3e38 if step == 7 else 1e-3)
    with pytest.raises(bp.NonFiniteError, match=r"after step 8, .*the parameters it had before step 8"):
        model.fit(x, y, optimizer=rates, steps=20)
    same.fit(x, y, optimizer=rates, steps=7)
    assert same_parameters(model, same)


def best_then(end: Callable[[bp.Model, Epoch], Any], backend_name: str, **settings: Any) -> tuple[bp.Model, bp.Model]:
    """Return a model whose third epoch was the best when `end` ended the fit, and one that stopped there."""
    model, same = (bp.Model(ONE, backend_name) for _ in range(2))
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [2.0]])
    common = {"optimizer": bp.SGD(lambda step: 0.01 if step < 3 else 5.0), "validation": (x, y)}
    same.fit(x, y, **common, epochs=3)
    rule = bp.NoImprovement(50, restore_best=True)
    with suppress(bp.NonFiniteError, ZeroDivisionError):
        model.fit(x, y, **common, stop=rule, callbacks=end, **{"epochs": 8, **settings})
    return model, same


def raise_at_six(error: BaseException) -> Callable[[bp.Model, Epoch], Any]:
    def end(model: bp.Model, epoch: Epoch) -> None:
        if epoch.number == 6:
            raise error

    return end


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(
    ("end", "settings"),
    [
        (lambda model, epoch: None, {}),
        (lambda model, epoch: None, {"epochs": None, "steps": 7}),
        (lambda model, epoch: epoch.number == 6, {}),
        (lambda model, epoch: None, {"epochs": 500}),
        (raise_at_six(KeyboardInterrupt()), {}),
        (raise_at_six(ZeroDivisionError()), {}),
    ],
    ids=["epochs", "steps", "callback", "not finite", "Ctrl-C", "exception"],
)
def test_the_best_state_is_restored(end: Any, settings: dict[str, Any], backend_name: str) -> None:
    model, same = best_then(end, backend_name, **settings)
    assert same_parameters(model, same)
    assert model.fits == 1


def test_message_names_the_best_epoch_that_is_kept() -> None:
    model = bp.Model(ONE)
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [2.0]])
    with pytest.raises(bp.NonFiniteError, match=r"The model keeps the parameters of its best epoch, 1\."):
        model.fit(x, y, optimizer=bp.SGD(5.0), validation=(x, y), stop=bp.NoImprovement(999), epochs=900)


@pytest.mark.parametrize("large", [False, True])
def test_exception_of_a_callback_leaves_the_parameters_it_saw(
    large: bool, backend_name: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """The state of that epoch, with what the callback had set itself; the fit counts, so the next one shuffles anew."""
    if large:
        monkeypatch.setattr("bpengine.training.memory.spill.SMALL", 0)
    x, y = labelled(rng)

    def end(model: bp.Model, epoch: Epoch) -> None:
        if epoch.number == 2:
            model.parameters = {"1.bias": np.ones(3)}
            raise ZeroDivisionError

    model, same = (bp.Model(PLAIN, backend_name) for _ in range(2))
    with pytest.raises(ZeroDivisionError):
        model.fit(x, y, batch_size=20, epochs=5, callbacks=end)
    same.fit(x, y, batch_size=20, epochs=2)
    same.parameters = {"1.bias": np.ones(3)}
    assert same_parameters(model, same)
    assert model.fits == same.fits == 1


def test_a_failure_before_the_first_step_counts_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bp.Model(ONE)

    def fail(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model.backend, "run_epoch", fail)
    with pytest.raises(ZeroDivisionError):
        model.fit([[1.0]], [1.0], epochs=1)
    assert model.fits == 0


@pytest.mark.parametrize("batch_size", [None, 7])
def test_parameters_set_by_a_callback_are_trained_on(
    batch_size: int | None, backend_name: str, rng: np.random.Generator
) -> None:
    """A limited norm after each epoch, in one fit or in a fit per epoch: the same, for a rule without slots."""
    x, y = labelled(rng, rows=21)
    settings = {"optimizer": bp.SGD(0.5), "batch_size": batch_size, "shuffle": False}

    def limit(model: bp.Model, epoch: Epoch | None = None) -> None:
        weight = model.parameters["0.weight"]
        model.parameters = {"0.weight": weight / max(1.0, float(np.linalg.norm(weight)))}

    once, again = (bp.Model(PLAIN, backend_name) for _ in range(2))
    once.fit(x, y, **settings, epochs=4, callbacks=limit)
    for _ in range(4):
        again.fit(x, y, **settings, epochs=1)
        limit(again)
    assert np.linalg.norm(once.parameters["0.weight"]) == pytest.approx(1.0, rel=1e-5)
    assert same_parameters(once, again)


def test_failure_after_a_callback_restores_the_parameters_it_set(backend_name: str) -> None:
    """Restoring replays steps; it must start from the values that the callback has set."""
    model = bp.Model(ONE, backend_name)

    def jump(model: bp.Model, epoch: Epoch) -> None:
        if epoch.number == 3:
            model.parameters = {"0.weight": [[77.0]], "0.bias": [0.0]}

    rates = bp.SGD(lambda step: 0.0 if step < 5 else 1e38)
    with pytest.raises(bp.NonFiniteError, match="before step 6"):
        model.fit([[1.0]], [1.0], optimizer=rates, epochs=9, callbacks=jump)
    assert model.parameters["0.weight"].tolist() == [[77.0]]


def test_parameters_loaded_in_a_callback_are_trained_on(tmp_path: Path) -> None:
    path, other = tmp_path / "m.safetensors", bp.Model(ONE, seed=5)
    other.save(path)
    model = bp.Model(ONE)
    model.fit([[1.0]], [1.0], optimizer=bp.SGD(0.0), epochs=3, callbacks=lambda m, e: m.load_parameters(path))
    assert same_parameters(model, other)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[np.nan]], r"parameter '0\.weight' requires finite numbers that float32 can hold, got nan at \[0, 0\]"),
        ([[-np.inf]], "got -inf"),
        ([[1e39]], r"got 1e\+39 at \[0, 0\]\. Use dtype='float64'"),
        ([["a"]], "requires numbers, got the text 'a'"),
    ],
)
def test_the_setter_refuses_what_the_model_cannot_hold(value: Any, message: str, backend_name: str) -> None:
    model = bp.Model(ONE, backend_name)
    before = model.parameters
    with pytest.raises(bp.errors.DataError, match=message):
        model.parameters = {"0.bias": [0.5], "0.weight": value}
    assert all((model.parameters[name] == kept).all() for name, kept in before.items())
    with pytest.raises(bp.BpError, match="number"):
        bp.Model(bp.Network(1, [bp.Dense(1, weight_init=value)], "mean_squared_error"), backend_name)


@pytest.mark.parametrize("value", [1e30, np.nan])
def test_rows_changed_during_training_are_reported(
    value: float, backend_name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Running steps again leads nowhere then: what comes back is a state that was kept, and the error says why."""
    monkeypatch.setattr("bpengine.training.batching.RESIDENT_BYTES", 0)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(64, 3)).astype(np.float32))
    mapped, writable = (np.load(tmp_path / "x.npy", mmap_mode=mode) for mode in ("r", "r+"))

    def spoil(model: bp.Model, epoch: Epoch) -> None:
        if epoch.number == 2:
            writable[:] *= value
            writable.flush()

    model = bp.Model(bp.Network(3, [bp.Dense(4, "relu"), bp.Dense(1)], "mean_squared_error"), backend_name, seed=1)
    text = (
        r"data that do not change .*Step \d gives the loss (inf|nan) now and gave \d.*The model keeps (its initial|the)"
    )
    with pytest.raises(bp.NonFiniteError, match=text):
        model.fit(mapped, rng.normal(size=(64, 1)), batch_size=16, epochs=9, callbacks=spoil)
    assert all(np.isfinite(array).all() for array in model.parameters.values())


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), ZeroDivisionError()])
def test_fit_restores_numpys_error_settings(error: BaseException | None) -> None:
    """Ctrl-C between the two halves of `np.errstate` leaves what it had set: here a callback does."""

    def end(model: bp.Model, epoch: Epoch) -> None:
        np.seterr(all="ignore")
        if error is not None:
            raise error

    with np.errstate(divide="raise", over="warn", under="ignore", invalid="print"):
        before = np.geterr()
        with suppress(ZeroDivisionError):
            bp.Model(ONE).fit([[1.0]], [1.0], epochs=2, callbacks=end)
        assert np.geterr() == before


def test_ctrl_c_in_a_step_restores_numpys_error_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """A scope that Ctrl-C ends after it was entered, before the `with` statement could note that."""

        def __enter__(self) -> None:
            np.seterr(all="ignore")
            raise KeyboardInterrupt

        def __exit__(self, *raised: object) -> None:
            raise AssertionError

    model = bp.Model(ONE)
    with np.errstate(all="warn"):
        before = np.geterr()
        monkeypatch.setattr(model.backend, "scope", Interrupted)
        with suppress(KeyboardInterrupt):
            model.fit([[1.0]], [1.0], epochs=2)
        assert np.geterr() == before


@pytest.mark.parametrize("limit", ["epochs", "steps", "callback"])
def test_the_last_epoch_can_be_the_best(limit: str) -> None:
    """Whatever ends the fit: the model keeps what has the lowest validation loss."""
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [2.0]])
    model, same = (bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), seed=1) for _ in range(2))
    common = {"optimizer": bp.SGD(0.01), "validation": (x, y), "batch_size": 1}
    settings: dict[str, Any] = {
        "epochs": {"epochs": 3}, "steps": {"epochs": None, "steps": 6},
        "callback": {"epochs": 9, "callbacks": lambda model, epoch: epoch.number == 3},
    }[limit]  # fmt: skip
    history = model.fit(x, y, **common, **settings, stop=bp.NoImprovement(50, restore_best=True))
    same.fit(x, y, **common, epochs=3)
    assert np.argmin(history.validation_loss) == 2
    for name, array in same.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], array)
