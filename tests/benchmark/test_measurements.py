"""Medians, ratios, and which losses agree."""

import pytest

from bpengine.benchmark.contender_results import ContenderResult, disagreements, loss_tolerance, speed_ratio


def result(name, seconds, loss=1.0, steps=4):
    measured = ContenderResult(name=name, first_seconds=0.5)
    for taken in seconds:
        measured.add(steps, {"seconds": taken, "loss": loss, "resident": None, "idle_cpu_seconds": 0.25})
    return measured


def test_a_step_takes_the_median_of_the_turns():
    assert result("a", [8.0, 4.0, 40.0]).step_seconds == 2.0


def test_a_ratio_is_the_median_of_the_ratios_within_rounds():
    assert speed_ratio(result("a", [1.0, 2.0, 3.0]), result("b", [2.0, 2.0, 30.0])) == 2.0


def test_warm_up_turns_are_left_out():
    measured = result("a", [9.0, 9.0])
    measured.forget()
    measured.add(2, {"seconds": 1.0, "loss": 2.0, "resident": 7, "idle_cpu_seconds": 0.0})
    assert (measured.seconds, measured.losses, measured.resident, measured.idle_cpu_seconds) == ([1.0], [2.0], [7], 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_agree_within_rounding_and_not_beyond(dtype):
    limit = loss_tolerance(dtype, 4)
    near = [result("a", [1.0], 1.0), result("b", [1.0], 1.0 + limit / 2), result("c", [1.0], 1.0)]
    assert disagreements(near, dtype) == {}
    far = [*near, result("d", [1.0], 1.0 + 3 * limit)]
    assert list(disagreements(far, dtype)) == ["d"]


def test_the_tolerance_is_far_below_what_training_changes():
    assert loss_tolerance("float32", 10_000) < 1e-3
    assert loss_tolerance("float64", 10_000) < 2e-12


def test_a_loss_that_is_no_number_or_changes_between_turns_is_not_valid():
    strange = result("nan", [1.0], float("nan"))
    moving = result("moving", [1.0, 1.0])
    moving.losses[1] = 1.5
    good = [result(name, [1.0]) for name in "abc"]
    assert set(disagreements([*good, strange, moving], "float32")) == {"nan", "moving"}


def test_two_disagreeing_losses_are_both_invalid():
    assert set(disagreements([result("a", [1.0], 1.0), result("b", [1.0], 2.0)], "float32")) == {"a", "b"}


def test_products_in_fewer_bits_may_be_farther_from_the_others_but_have_no_vote():
    """Three agreeing results with reduced precision do not outvote one in the full precision of its dtype."""
    limit = loss_tolerance("float32", 4, "tf32")
    assert limit > 10 * loss_tolerance("float32", 4)
    full = result("full", [1.0], 1.0)
    near, far = (result(name, [1.0], 1.0 + by * limit) for name, by in (("near", 0.9), ("far", 1.1)))
    second = result("far-too", [1.0], 1.0 + 1.1 * limit)
    for measured in (near, far, second):
        measured.precision = "tf32"
    assert set(disagreements([full, near, far, second], "float32")) == {"far", "far-too"}
    near.precision = "full"
    assert {"full", "near"} <= set(disagreements([full, near], "float32"))


def test_the_device_times_a_step_where_every_turn_was_timed():
    measured = result("a", [])
    for seconds in (8.0, 4.0, 40.0):
        measured.add(
            4, {"seconds": 50.0, "device_seconds": seconds, "loss": 1.0, "resident": 0, "idle_cpu_seconds": 0.0}
        )
    assert measured.device_step_seconds == 2.0
    measured.add(4, {"seconds": 50.0, "device_seconds": None, "loss": 1.0, "resident": 0, "idle_cpu_seconds": 0.0})
    assert measured.device_step_seconds is None
    measured.forget()
    assert measured.device_step_seconds is None


def test_no_results_have_no_disagreements():
    assert disagreements([], "float32") == {}
