"""A fit that goes on from a checkpoint, or from another fit, has the bits of one that was never disturbed."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training.checkpoints.checkpointer import FIRST, GROWTH, Checkpointer
from tests.checkpoints.fits import Averages, checkpoints, compiled, data, digest, fitted, network, settings


class Killed(Exception):
    """Stands for the end of a process, after an epoch."""


class Kill(Averages):
    """The callback, which ends the fit after an epoch once it has looked at it."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def __call__(self, model: bp.Model, epoch: Any) -> None:
        super().__call__(model, epoch)
        if epoch.number == self.after:
            raise Killed


def model(backend_name: str, *, early: bool = False) -> bp.Model:
    built = bp.Model(network(), backend_name)
    return compiled(built) if early else built


CASES = {
    "batches": {"epochs": 6},
    "steps": {"steps": 47},
    "metrics": {"epochs": 6, "metrics": ["confusion_matrix", "log_loss"], "stop": bp.NoImprovement(2, monitor="f1")},
    "full batch": {"batch_size": None, "epochs": 30},
    "no callbacks": {"epochs": 6, "callbacks": ()},
    "a span of full batches": {"batch_size": None, "epochs": 90, "callbacks": (), "validation": None, "stop": ()},
    "accumulated": {"accumulate": 2, "epochs": 6, "clip_norm": None},
    "in order": {"epochs": 6, "update": "sequential", "clip_norm": None, "optimizer": bp.Momentum(0.01)},
}


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("case", CASES)
def test_every_checkpoint_leads_to_the_undisturbed_bits(case: str, backend_name: str, tmp_path: Path) -> None:
    """On NumPy eager; the other backends compile always."""
    lead_to_the_same_bits(case, backend_name, tmp_path, early=False)


@pytest.mark.parametrize("case", CASES)
def test_compiled_epochs_go_on_with_the_same_bits(case: str, tmp_path: Path) -> None:
    lead_to_the_same_bits(case, "numpy", tmp_path, early=True)


def lead_to_the_same_bits(case: str, backend_name: str, tmp_path: Path, *, early: bool) -> None:
    expected = fitted(model(backend_name, early=early), **CASES[case])
    folder = bp.RunFolder(tmp_path, every=5, keep=100)
    assert fitted(model(backend_name, early=early), run=folder, **CASES[case]) == expected
    every = checkpoints(tmp_path)
    assert len(every) > 5
    for path in reversed(every[:: max(1, len(every) // 4)]):
        for later in checkpoints(tmp_path):
            if later.name > path.name:
                later.unlink()
        resumed = fitted(model(backend_name, early=early), run=folder, resume=True, **CASES[case])
        assert resumed == expected, path.name


def test_a_killed_fit_goes_on_in_another_process_with_its_callbacks(backend_name: str, tmp_path: Path) -> None:
    expected = fitted(model(backend_name), epochs=8)
    folder = bp.RunFolder(tmp_path, every=7)
    for after in (3, 6):
        with pytest.raises(Killed):
            fitted(model(backend_name), epochs=8, run=folder, resume=True, callbacks=Kill(after))
    with pytest.raises(bp.ConfigError, match=r"fit\.callbacks\[0\] is 'Averages' here and 'Kill' in the checkpoint"):
        fitted(model(backend_name), epochs=8, run=folder, resume=True)
    last = Kill(99)
    history = (again := model(backend_name)).fit(*data(), **settings(epochs=8, run=folder, resume=True, callbacks=last))
    assert digest(again, history, last.state()) == expected


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("limit", [{"epochs": 6}, {"steps": 47}])
def test_a_finished_fit_is_returned_at_once_and_goes_on_where_its_limit_is_higher(
    limit: dict[str, int], backend_name: str, tmp_path: Path
) -> None:
    expected = fitted(model(backend_name), run=tmp_path, **limit)
    before = checkpoints(tmp_path)
    calls = Averages()
    history = (again := model(backend_name)).fit(
        *data(), **settings(run=tmp_path, resume=True, callbacks=calls, **limit)
    )
    assert digest(again, history, calls.state()) == expected
    assert checkpoints(tmp_path) == before
    assert again.fits == 1
    higher = {name: 2 * value for name, value in limit.items()}
    plain = {"callbacks": (), "validation": None, "stop": ()}  # a callback saw the epoch that the limit cut
    (tmp_path / "other").mkdir()
    fitted(model(backend_name), run=tmp_path / "other", **plain, **limit)
    gone_on = fitted(model(backend_name), run=tmp_path / "other", resume=True, **plain, **higher)
    assert gone_on == fitted(model(backend_name), **plain, **higher)
    with pytest.raises(bp.ConfigError, match=rf"resume requires {next(iter(limit))} of at least"):
        fitted(model(backend_name), run=tmp_path / "other", resume=True, **plain, **limit)


@pytest.mark.parametrize("done", [1, 10, 29])
def test_a_fit_that_a_limit_of_steps_cut_goes_on_to_its_limit_of_epochs(done: int, tmp_path: Path) -> None:
    """Of 10 steps to the epoch: also to the end of the epoch that was cut, which counted as one when it was."""
    plain: dict[str, Any] = {"callbacks": (), "validation": None, "stop": (), "run": tmp_path}
    fitted(model("numpy"), **plain, epochs=None, steps=done)
    for epochs in range(done // 10 + 1, 4):
        whole = fitted(model("numpy"), **{**plain, "run": None}, epochs=epochs)
        assert fitted(model("numpy"), **plain, epochs=epochs, resume=True) == whole


@pytest.mark.parametrize("done", [10, 20])
def test_a_rule_counts_the_epoch_at_which_a_limit_of_steps_cut_the_fit(done: int, tmp_path: Path) -> None:
    """A resumed fit ends in the same epoch as one that was never cut."""
    rule: dict[str, Any] = {
        "stop": bp.NoImprovement(1),
        "optimizer": bp.SGD(30.0),
        "callbacks": (),
        "track_step_size": False,
    }
    alone, other = model("numpy"), model("numpy")
    whole = alone.fit(*data(), **settings(**rule, epochs=9))
    assert len(whole.epochs) == 2, "no improvement in the second epoch"
    other.fit(*data(), **settings(**rule, run=tmp_path, epochs=None, steps=done))
    resumed = model("numpy")
    history = resumed.fit(*data(), **settings(**rule, run=tmp_path, resume=True, epochs=9))
    assert digest(resumed, history) == digest(alone, whole)


def test_a_rule_that_ended_the_fit_ends_it_again_with_its_best_epoch(tmp_path: Path) -> None:
    stop = {"stop": bp.NoImprovement(3), "epochs": 500, "optimizer": bp.Adam(0.05), "callbacks": ()}
    expected = fitted(model("numpy"), **stop)
    assert fitted(model("numpy"), run=bp.RunFolder(tmp_path, every=3), **stop) == expected
    assert fitted(model("numpy"), run=bp.RunFolder(tmp_path, every=3), resume=True, **stop) == expected
    checkpoints(tmp_path)[-1].unlink()
    assert fitted(model("numpy"), run=bp.RunFolder(tmp_path, every=3), resume=True, **stop) == expected


def test_memory_mapped_rows_go_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    x, _ = data()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def run(**others: Any) -> str:
        fresh = model("numpy")
        return digest(fresh, fresh.fit(mapped, data()[1], **settings(epochs=6, callbacks=(), **others)))

    expected = run()
    folder = bp.RunFolder(tmp_path / "run", every=4, keep=50)
    assert run(run=folder) == expected
    for path in checkpoints(tmp_path / "run")[-9:]:
        path.unlink()
    assert run(run=folder, resume=True) == expected


def test_a_step_that_fails_right_after_a_checkpoint_leads_back_to_the_one_before(tmp_path: Path) -> None:
    """The model gets the parameters of the last finite loss, which stand before the checkpoint."""
    options = settings(
        epochs=9,
        optimizer=bp.SGD(lambda step: 1e38 if step == 19 else 0.01),
        callbacks=(),
        clip_norm=None,
        validation=None,
        stop=(),
    )
    plain, first, again = model("numpy"), model("numpy"), model("numpy")
    with pytest.raises(bp.NonFiniteError) as expected:
        plain.fit(*data(), **options)
    folder = bp.RunFolder(tmp_path, every=5, keep=9)
    for one, resume in ((first, False), (again, True)):
        with pytest.raises(bp.NonFiniteError) as raised:
            one.fit(*data(), **options, run=folder, resume=resume)
        assert str(raised.value) == str(expected.value)
        assert "the parameters it had before step 20, the last with a finite loss" in str(raised.value)
        assert [path.stem[-2:] for path in checkpoints(tmp_path)] == ["05", "10", "15", "20"]
        assert all((one.parameters[name] == value).all() for name, value in plain.parameters.items())


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGUSR1", signal.SIGTERM)])
def test_a_signal_ends_the_fit_after_the_step_with_a_checkpoint(number: int, backend_name: str, tmp_path: Path) -> None:
    expected = fitted(model(backend_name), epochs=8)
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}

    class Ask(Averages):
        def __call__(self, model: bp.Model, epoch: Any) -> None:
            super().__call__(model, epoch)
            if epoch.number == 3:
                os.kill(os.getpid(), number)

    asked, left = Ask(), model(backend_name)
    with pytest.raises(bp.RunInterrupted, match=r"stopped after step 30.*resume=True goes on") as raised:
        left.fit(*data(), **settings(epochs=8, run=tmp_path, callbacks=asked))
    assert (raised.value.signal, raised.value.step, raised.value.folder) == (number, 30, str(tmp_path))
    assert {one: signal.getsignal(one) for one in before} == before
    assert left.fits == 1
    alone = model(backend_name)
    alone.fit(*data(), **settings(epochs=3))
    assert all((left.parameters[name] == value).all() for name, value in alone.parameters.items())
    again = Ask()
    history = (gone_on := model(backend_name)).fit(
        *data(), **settings(epochs=8, run=tmp_path, callbacks=again, resume=True)
    )
    assert digest(gone_on, history, again.state()) == expected


def test_second_signal_has_its_default_effect(tmp_path: Path) -> None:
    def twice(model: bp.Model, epoch: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    history = model("numpy").fit(*data(), **settings(epochs=4, callbacks=twice, run=tmp_path))
    assert history.stopped_by == "interrupted"


def test_where_a_run_of_steps_is_cut_changes_no_bit(
    backend_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLA may round in another way when it compiles for two steps instead of four: it is told the length of the whole."""
    case = CASES["accumulated"]
    expected = fitted(model(backend_name), **case)
    cut, whole = model(backend_name), []
    real = cut.backend.run_epoch

    def seen(*args: Any, **options: Any) -> Any:
        whole.append((len(args[-1]), options["whole"]))
        return real(*args, **options)

    monkeypatch.setattr(cut.backend, "run_epoch", seen)
    monkeypatch.setattr(Checkpointer, "most_steps", lambda self, step: 3)
    assert fitted(cut, run=tmp_path, **case) == expected
    assert whole == [(3, 4), (1, 4), (1, 1)] * 6


def test_a_long_epoch_is_cut_so_that_an_end_comes_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of steps begin short, and grow while they take less time than the slice."""
    lengths: list[int] = []
    fresh = model("numpy")
    real = fresh.backend.run_epoch

    def seen(*args: Any, **options: Any) -> Any:
        lengths.append(len(args[-1]))
        return real(*args, **options)

    monkeypatch.setattr(fresh.backend, "run_epoch", seen)
    fresh.fit(*data(), **settings(batch_size=3, epochs=1, run=tmp_path))
    assert lengths[0] == FIRST < lengths[1] <= FIRST * GROWTH  # less than that where the first took long
    assert sum(lengths) == 100


def test_other_settings_and_data_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    x, y = data()
    folder = bp.RunFolder(tmp_path, every=5)
    fitted(model("numpy"), epochs=2, run=folder)
    other = {
        "batch_size": ({"batch_size": 16}, r"fit\.batch_size is 16 here and 32 in the checkpoint"),
        "shuffle": ({"shuffle": False}, r"fit\.shuffle is False here and True"),
        "rule": ({"optimizer": bp.SGD(bp.Cosine(0.02, 60))}, r"fit\.plan\.optimizer\.type is 'SGD' here and 'Adam'"),
        "schedule": ({"optimizer": bp.Adam(bp.Cosine(0.02, 61))}, r"fit\.plan\.optimizer\.learning_rate\.rates is"),
        "clip": ({"clip_norm": 4.0}, r"fit\.plan\.clip_norm is 4 here and 5"),
        "validation": ({"validation": (x[:51], y[:51])}, r"validation\[0\] is"),
        "weights": ({"weights": None}, r"data is .* here and"),
        "stop": ({"stop": bp.NoImprovement(41)}, r"fit\.plan\.loss_below is None here and 1e-09"),
        "metrics": ({"metrics": "f1"}, "the metrics of its validation rows are f1 here and none in the checkpoint"),
        "folder": ({"resume": False}, r"of step 20 of this fit\. Pass resume=True"),
    }
    for settings_of_it, message in other.values():
        with pytest.raises(bp.ConfigError, match=message):
            fitted(model("numpy"), **{"epochs": 4, "run": folder, "resume": True, **settings_of_it})
    wrong = {
        "seed": bp.Model(network(), seed=1),
        "network": bp.Model(bp.Network(6, [bp.Dense(13), bp.Dense(3)], "softmax_cross_entropy")),
        "dtype": bp.Model(network(), dtype="float64"),
        "parameters": model("numpy"),
    }
    wrong["parameters"].parameters = {"0.bias": np.ones(12)}
    messages = {
        "seed": r"parameters\[0\]",
        "network": r"network\.layers",
        "dtype": "backend",
        "parameters": "parameters",
    }
    for name, one in wrong.items():
        with pytest.raises(bp.ConfigError, match=f"of another fit: {messages[name]}"):
            fitted(one, epochs=4, run=folder, resume=True)
    changed = x.copy()
    changed[17, 3] += 1e-3
    with pytest.raises(bp.ConfigError, match=r"of another fit: data\[0\] is"):
        model("numpy").fit(changed, y, **settings(epochs=4, run=folder, resume=True))


def test_other_versions_warn_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bpengine.training.checkpoints import fit_identity

    expected = fitted(model("numpy"), epochs=4)
    with monkeypatch.context() as patched:
        patched.setattr(fit_identity, "circumstances", lambda backend: {"numpy": "1.0"})
        fitted(model("numpy"), epochs=2, run=tmp_path)
    with pytest.warns(
        UserWarning, match=r"is .* here and .* in the checkpoint: the fit goes on, but its last bits may"
    ):
        assert fitted(model("numpy"), epochs=4, run=tmp_path, resume=True) == expected


def test_invalid_checkpoint_settings_are_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"RunFolder requires keep of at least 2, got 1"):
        bp.RunFolder("run", keep=1)
    with pytest.raises(bp.ConfigError, match=r"every to be a whole number"):
        bp.RunFolder("run", every=0)
    with pytest.raises(bp.ConfigError, match=r"RunFolder requires seconds above 0"):
        bp.RunFolder("run", seconds=0)
    with pytest.raises(bp.ConfigError, match=r"resume requires the folder of the run, got none"):
        fitted(model("numpy"), epochs=1, resume=True)
    with pytest.raises(bp.ConfigError, match=r"fit requires run to be a bp.RunFolder"):
        fitted(model("numpy"), epochs=1, run=3)


def test_several_fits_of_a_script_have_checkpoints_of_their_own(tmp_path: Path) -> None:
    """The script is run again from its beginning: fits that are over are returned, the one that was killed goes on."""

    def script(killed_after: int, **where: Any) -> str:
        trained = model("numpy")
        first = trained.fit(*data(), **settings(epochs=2, callbacks=(), **where))
        second = trained.fit(*data(), **settings(epochs=2, callbacks=(), continue_from=first, **where))
        third = trained.fit(*data(), **settings(epochs=3, callbacks=Kill(killed_after), **where))
        return digest(trained, third, second.loss)

    expected = script(99)
    folder = {"run": bp.RunFolder(tmp_path, every=8), "resume": True}
    with pytest.raises(Killed):
        script(2, **folder)
    assert {path.name.partition("-")[0] for path in checkpoints(tmp_path)} == {"fit0", "fit0+20", "fit1"}
    assert script(99, **folder) == expected


def test_fits_without_a_folder_do_not_look_at_signals(tmp_path: Path) -> None:
    seen = []
    model("numpy").fit(
        *data(), **settings(epochs=1, callbacks=lambda *_: seen.append(signal.getsignal(signal.SIGTERM)) and None)
    )
    assert seen == [signal.getsignal(signal.SIGTERM)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(model("numpy"), epochs=1, run=tmp_path)
