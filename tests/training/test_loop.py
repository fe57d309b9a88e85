"""The training loop: determinism, equality of backends, rules, limits, and what happens when a loss is not finite."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.training import Epoch, batching, loop
from tests.tolerances import agreement_rtol, training_rtol
from tests.training.networks import everything, labelled

PLAIN = bp.Network(5, [bp.Dense(16, "relu"), bp.Dense(3)], "softmax_cross_entropy")


def same_parameters(a: bp.Model, b: bp.Model) -> bool:
    return all(np.array_equal(a.parameters[name], b.parameters[name]) for name in a.parameters)


@pytest.mark.thorough(keep=1)
def test_same_seed_same_backend_is_bit_identical(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    models = [bp.Model(everything(), backend_name, seed=5) for _ in range(2)]
    histories = [m.fit(x, y, batch_size=16, epochs=5) for m in models]
    np.testing.assert_array_equal(histories[0].loss, histories[1].loss)
    assert same_parameters(*models)
    losses = [bp.Model(PLAIN, backend_name, seed=s).fit(x, y, batch_size=16, epochs=2).loss for s in (5, 6)]
    assert not np.array_equal(*losses)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_seed_gives_the_same_losses_on_another_backend_but_for_rounding(
    dtype: str, backend_name: str, rng: np.random.Generator
) -> None:
    """Same initial weights, shuffles and masks: after hundreds of steps the losses differ by rounding only."""
    x, y = labelled(rng)
    models = [bp.Model(everything(), name, dtype, seed=1) for name in ("numpy", backend_name)]
    assert same_parameters(*models)
    ours, theirs = (m.fit(x, y, optimizer=bp.Adam(1e-3), batch_size=16, epochs=75).loss for m in models)
    assert len(ours) == 300
    np.testing.assert_allclose(ours, theirs, rtol=training_rtol(dtype, len(ours)))


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_every_optimizer_lowers_the_loss(optimizer: str, backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    history = bp.Model(PLAIN, backend_name).fit(x, y, optimizer=optimizer, batch_size=20, epochs=40)
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_every_row_is_seen_once_an_epoch_in_an_order_of_its_own() -> None:
    orders = [batching.epoch_order(3, epoch, 10, shuffle=True) for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == list(range(10))
    np.testing.assert_array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[1])
    assert [part.shape for part in batching.batches(orders[0], 4)] == [(2, 4), (1, 2)]


def test_remaining_rows_are_a_smaller_batch(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng, rows=10)
    history = bp.Model(PLAIN, backend_name).fit(x, y, batch_size=4, epochs=2)
    assert history.steps == 6
    assert [e.steps for e in history.epochs] == [3, 6]


def test_weight_of_two_equals_the_row_twice(rng: np.random.Generator) -> None:
    x, y = labelled(rng, rows=6)
    once, twice = (bp.Model(PLAIN, dtype="float64") for _ in range(2))
    once.fit(x, y, weights=[2, 1, 1, 1, 1, 1], steps=20)
    twice.fit(np.concatenate([x[:1], x]), np.concatenate([y[:1], y]), steps=20)
    for name, value in once.parameters.items():
        np.testing.assert_allclose(value, twice.parameters[name], rtol=training_rtol(float, 20), atol=1e-14)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_only_named_parameters_are_trained(update: str, backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    model, before = bp.Model(PLAIN, backend_name), bp.Model(PLAIN, backend_name).parameters
    model.fit(x, y, only=["1.*"], steps=3, update=update)
    changed = {name for name, value in model.parameters.items() if not np.array_equal(value, before[name])}
    assert changed == {"1.weight", "1.bias"}


def test_sequential_updates_leave_the_last_layer_of_every_network_as_in_a_simultaneous_step(
    backend_name: str, rng: np.random.Generator
) -> None:
    """The last layer's update is that of a simultaneous step; the layers below use its new weights."""
    x, y = labelled(rng)
    together, in_turn = (bp.Model(everything(), backend_name, "float64") for _ in range(2))
    together.fit(x, y, optimizer=bp.SGD(0.1), steps=1)
    in_turn.fit(x, y, optimizer=bp.SGD(0.1), steps=1, update="sequential")
    np.testing.assert_array_equal(together.parameters["5.weight"], in_turn.parameters["5.weight"])
    assert not np.array_equal(together.parameters["0.weight"], in_turn.parameters["0.weight"])


def test_a_gradient_larger_than_the_norm_is_clipped(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    model, before = bp.Model(PLAIN, backend_name, "float64"), bp.Model(PLAIN, backend_name, "float64").parameters
    model.fit(x, y, optimizer=bp.SGD(1.0), steps=1, clip_norm=1e-3)
    moved = np.sqrt(sum(np.sum((model.parameters[n] - before[n]) ** 2) for n in before))
    assert moved == pytest.approx(1e-3, rel=agreement_rtol(float, 200))


def test_exchange_gets_every_gradient_once(rng: np.random.Generator) -> None:
    """The place where several processes average: halving every gradient there halves the step."""
    from bpengine.training.step import StepPlan, init_state, make_step

    x, y = labelled(rng)
    backend = bp.get_backend("numpy", precision="float64")
    ops, (params, running) = backend.ops(), PLAIN.init(0)
    plan = StepPlan(optimizer=bp.SGD(0.1), trained=tuple(params), update="simultaneous", track_step_size=True)
    state = init_state(ops, plan, params, running, np.array([0, 0], dtype=np.uint32))

    def halve(gradients: Any) -> Any:
        return {name: dw / 2 for name, dw in gradients.items()}

    sizes = [make_step(PLAIN, plan, ops, *e)(state, (x, y), np.array([0.1]))[1]["step_size"] for e in ((), (halve,))]
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=agreement_rtol(float))


def test_loss_below_stops_at_the_step(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    history = bp.Model(PLAIN, backend_name).fit(x, y, batch_size=20, epochs=500, stop=bp.LossBelow(0.3))
    assert history.loss[-1] < 0.3
    assert (history.loss[:-1] >= 0.3).all()
    assert history.stopped_by == "loss below 0.3"


def test_no_improvement_stops_and_restores_the_best(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    held_out = (rng.normal(size=(30, 5)), rng.integers(0, 3, 30))  # noise: fitting the data cannot help
    model = bp.Model(PLAIN, backend_name)
    history = model.fit(
        x, y, optimizer=bp.Adam(0.02), batch_size=20, epochs=200, validation=held_out, stop=bp.NoImprovement(3)
    )
    best = int(np.argmin(history.validation_loss))
    assert history.stopped_by == "no improvement on validation data for 3 epochs"
    assert len(history.epochs) == best + 1 + 3
    assert model.evaluate(*held_out)["loss"] == pytest.approx(
        history.validation_loss[best], rel=agreement_rtol("float32")
    )


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_number_of_steps_is_kept_exactly(batch_size: int | None, backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    history = bp.Model(PLAIN, backend_name).fit(x, y, batch_size=batch_size, steps=13)
    assert (history.steps, history.stopped_by) == (13, "13 steps")


def test_many_steps_in_one_go_are_the_same_as_one_by_one(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    in_one_go, one_by_one = (bp.Model(PLAIN, backend_name, "float64") for _ in range(2))
    a = in_one_go.fit(x, y, epochs=100)
    b = one_by_one.fit(x, y, epochs=100, callbacks=lambda model, epoch: None)
    np.testing.assert_array_equal(a.loss, b.loss)
    assert [e.loss for e in a.epochs] == [e.loss for e in b.epochs]


def test_runs_of_full_batch_steps_are_as_long_as_their_speed_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still and by one that runs fast: other runs, the same bits."""
    xor, lengths, run_epoch = bp.data.load("xor"), list[int](), NumpyBackend.run_epoch

    def noted(self: NumpyBackend, step: Any, state: Any, data: Any, order: Any, lr: Any, **options: Any) -> Any:
        lengths.append(len(lr))
        return run_epoch(self, step, state, data, order, lr, **options)

    def trained(seconds: float, steps: int) -> tuple[list[int], bp.Model]:
        ticks, model = (
            itertools.count(),
            bp.Model(bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(1)], "half_sum_squares")),
        )
        with monkeypatch.context() as patch:
            patch.setattr(loop.time, "perf_counter", lambda: seconds * next(ticks))
            patch.setattr(loop, "LONGEST", 100)
            patch.setattr(NumpyBackend, "run_epoch", noted)
            lengths.clear()
            model.fit(xor.x, xor.y, optimizer=bp.Momentum(0.1), epochs=steps)
        return [*lengths], model

    fast, in_one_go = trained(0.0, 250)
    assert fast == [1, 100, 100, 49]
    slow, one_by_one = trained(loop.LONG_ENOUGH, 250)
    assert slow == [100, 50, 25, 12, 6, 3, *[1] * 54]
    again, at_once = trained(0.0, 250)
    assert again == [1, 100, 100, 49]  # the fit before was slow
    once_more, _ = trained(0.0, 250)
    assert once_more == [100, 100, 50]  # the fit before was fast
    assert same_parameters(in_one_go, one_by_one)
    assert same_parameters(in_one_go, at_once)


def test_the_length_of_a_first_run_is_remembered_for_as_many_rows_alone() -> None:
    def step(*_: Any) -> Any: ...

    loop._paces[step] = 4, 0.001
    assert loop._first_span(step, 4) == 200
    assert loop._first_span(step, 5) == 1
    assert loop._first_span(lambda *_: None, 4) == 1


def test_backends_are_told_how_many_steps_a_fit_may_take(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = labelled(rng)
    limits: list[int] = []
    monkeypatch.setattr(NumpyBackend, "expect", lambda self, step, steps: limits.append(steps))
    model = bp.Model(PLAIN)
    first = model.fit(x, y, batch_size=20, epochs=4)
    model.fit(x, y, batch_size=20, epochs=4, steps=5)
    model.fit(x, y, steps=7)
    model.fit(x, y, batch_size=20, epochs=2, continue_from=first)
    per_epoch = -(-len(x) // 20)
    assert limits == [4 * per_epoch, 5, 7, 2 * per_epoch]


@pytest.mark.parametrize(
    ("steps", "taken", "fit"), [(1, 0.01, 20), (50, 0.001, 10_000), (4, 100.0, 1), (7, 0.0, 2**14)]
)
def test_number_of_steps_in_a_run_follows_their_measured_time(steps: int, taken: float, fit: int) -> None:
    assert loop._steps_in(loop.LONG_ENOUGH, steps, taken) == fit


def test_the_schedule_reaches_every_step(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    schedule = bp.WarmUp(3, bp.Cosine(0.1, 5))
    history = bp.Model(PLAIN, backend_name, "float64").fit(
        x, y, optimizer=bp.SGD(schedule), batch_size=20, epochs=3, track_step_size=True
    )
    np.testing.assert_array_equal(history.learning_rate, schedule(np.arange(9)))
    assert history.step_size is not None
    assert history.step_size[8] == 0.0  # the cosine has ended at 0


def test_callbacks_see_the_model_and_can_stop(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    losses = []

    def watch(model: bp.Model, epoch: object) -> bool:
        losses.append(model.evaluate(x, y)["loss"])
        return len(losses) == 3

    history = bp.Model(PLAIN, backend_name).fit(x, y, batch_size=20, epochs=50, callbacks=[watch])
    assert history.stopped_by == "callback"
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == len(history.epochs) == 3


def test_checkpoints_keep_the_best(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    path, model = tmp_path / "best.safetensors", bp.Model(PLAIN)
    held_out = labelled(rng, rows=20)
    history = model.fit(x, y, epochs=20, validation=held_out, callbacks=bp.Checkpoint(path, best=True))
    assert bp.load(path).evaluate(*held_out)["loss"] == pytest.approx(history.validation_loss.min())


def test_a_second_fit_goes_on_in_another_order(rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    model, fresh = bp.Model(PLAIN), bp.Model(PLAIN)
    model.fit(x, y, optimizer=bp.SGD(0.0), batch_size=20, epochs=1)
    again = model.fit(x, y, optimizer=bp.SGD(0.0), batch_size=20, epochs=1)
    first = fresh.fit(x, y, optimizer=bp.SGD(0.0), batch_size=20, epochs=1)
    assert not np.array_equal(again.loss, first.loss)
    assert np.mean(again.loss) == pytest.approx(np.mean(first.loss), rel=agreement_rtol("float32", 60))


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("batch_size", [None, 16])
def test_loss_that_is_not_finite_is_named_and_the_last_finite_state_restored(
    batch_size: int | None, backend_name: str, rng: np.random.Generator
) -> None:
    """The error names step, layer and array; the model has the parameters of the last step whose loss was finite."""
    x = rng.normal(size=(64, 2)) * 10
    network = bp.Network(2, [bp.Dense(1)], "mean_squared_error")
    model, same = (bp.Model(network, backend_name) for _ in range(2))
    settings = {"optimizer": bp.SGD(1.0), "batch_size": batch_size}
    with pytest.raises(
        bp.NonFiniteError, match=r"got \w+ at step \d+\. First bad array: loss of mean_squared_error_fwd"
    ) as caught:
        model.fit(x, x[:, 0], **settings, epochs=50)
    history = caught.value.history
    assert history.steps > 5
    assert not np.isfinite(history.loss[-1])
    assert np.isfinite(history.loss[:-1]).all()
    same.fit(x, x[:, 0], **settings, steps=history.steps - 2)
    assert same_parameters(model, same)


def test_the_step_before_a_segment_is_found_again(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """When the first step of a segment fails, the last good step lies in the segment before."""
    monkeypatch.setattr(loop, "LONGEST", 1)
    test_loss_that_is_not_finite_is_named_and_the_last_finite_state_restored(None, "numpy", rng)


def test_a_gradient_that_is_not_finite_is_named() -> None:
    """The first step's loss is finite and its gradient is not: the parameters before that step are kept."""

    class Steep(bp.Layer):
        def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            return dy * float("inf"), {}

    network = bp.Network(2, [bp.Dense(2), Steep(), bp.Dense(1)], "mean_squared_error")
    model, before = bp.Model(network), bp.Model(network).parameters
    with pytest.raises(bp.NonFiniteError, match=r"step 2\. First bad array: dx of identity_bwd in layer 0"):
        model.fit([[1.0, 2.0]], [3.0], steps=5)
    assert all(np.array_equal(model.parameters[n], before[n]) for n in before)


def test_initial_parameters_that_overflow_are_kept() -> None:
    network = bp.Network(1, [bp.Dense(1, weight_init=[[1e30]])], "mean_squared_error")
    model = bp.Model(network)
    with pytest.raises(
        bp.NonFiniteError,
        match=r"step 1\. First bad array: y of dense_fwd in layer 0, row 0, column 0 = inf .*its initial parameters",
    ):
        model.fit([[1e30]], [1.0], steps=3)
    assert model.parameters["0.weight"][0, 0] == np.float32(1e30)


def test_an_interrupt_keeps_what_was_learned(
    backend_name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the fourth epoch, when the state it started from has been given away: the third epoch's is kept."""
    x, y = labelled(rng)
    model, reference = bp.Model(PLAIN, backend_name), bp.Model(PLAIN, backend_name)
    run_epoch = model.backend.run_epoch

    def interrupted(*args: Any, **options: Any) -> None:
        monkeypatch.undo()
        run_epoch(*args, **options)
        raise KeyboardInterrupt

    def from_the_fourth_epoch(model: bp.Model, epoch: Epoch) -> None:
        if epoch.number == 3:
            monkeypatch.setattr(model.backend, "run_epoch", interrupted)

    history = model.fit(x, y, epochs=10, callbacks=from_the_fourth_epoch)
    reference.fit(x, y, epochs=3)
    assert history.stopped_by == "interrupted"
    assert len(history.epochs) == 3
    assert same_parameters(model, reference)


def test_an_interrupt_between_epochs_keeps_what_was_learned(rng: np.random.Generator) -> None:
    x, y = labelled(rng)

    def interrupt(model: bp.Model, epoch: Epoch) -> None:
        if epoch.number == 3:
            raise KeyboardInterrupt

    model, reference = bp.Model(PLAIN), bp.Model(PLAIN)
    assert model.fit(x, y, epochs=10, callbacks=interrupt).stopped_by == "interrupted"
    reference.fit(x, y, epochs=3)
    assert same_parameters(model, reference)


def test_a_batch_larger_than_the_data_is_the_full_batch_and_says_so(rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    models = [bp.Model(PLAIN) for _ in range(2)]
    with pytest.warns(UserWarning, match="batch_size 100 is more than the 60 rows") as caught:
        models[0].fit(x, y, batch_size=100, epochs=3)
    assert len(caught) == 1
    models[1].fit(x, y, epochs=3)
    assert same_parameters(*models)


def test_no_progress_bar_without_a_terminal(capfd: pytest.CaptureFixture[str], rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    bp.Model(PLAIN).fit(x, y, epochs=3, progress=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("batch_size", [16, 1])
def test_an_array_on_disk_trains_as_one_in_memory(
    batch_size: int, backend_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Pieces of a few rows at a time, the same batches, the same losses to the bit."""
    x, y = labelled(rng)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    np.save(tmp_path / "y.npy", y)
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy")]
    monkeypatch.setattr(batching, "STREAM_BYTES", 1000)
    on_disk, in_memory = bp.Model(PLAIN, backend_name), bp.Model(PLAIN, backend_name)
    a = on_disk.fit(*mapped, batch_size=batch_size, epochs=2)
    b = in_memory.fit(x.astype(np.float32), y, batch_size=batch_size, epochs=2)
    np.testing.assert_array_equal(a.loss, b.loss)
    assert same_parameters(on_disk, in_memory)
    assert on_disk.evaluate(*mapped) == in_memory.evaluate(x.astype(np.float32), y)


def test_training_leaves_its_inputs_alone(backend_name: str, rng: np.random.Generator) -> None:
    x, y = labelled(rng)
    copies = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bp.Model(PLAIN, backend_name, "float64").fit(x, y, epochs=2)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(y, copies[1])


def test_speed_leaves_out_validation_and_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records count as training, validation and callbacks do not; by a clock that only they move."""
    from types import SimpleNamespace

    from bpengine.training import loop
    from bpengine.training.evaluation import Evaluator
    from bpengine.training.history import Recorder

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def slow(owner: Any, name: str, seconds: float) -> None:
        original = getattr(owner, name)

        def run(*args: Any, **options: Any) -> Any:
            clock.now += seconds
            return original(*args, **options)

        monkeypatch.setattr(owner, name, run)

    slow(Recorder, "close", 1.0)
    slow(Evaluator, "evaluate", 100.0)
    model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
    x = np.ones((8, 1))

    def callback(*_: Any) -> None:
        clock.now += 100.0

    history = model.fit(x, x, epochs=4, batch_size=4, validation=(x, x), callbacks=callback)
    assert history.rows_per_second == 8.0
