"""A short round of interrupted trainings, and the places at which an interruption did harm once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.attacks import failing
from tests.attacks.interrupts import Aiming, Counting, Ground, Place, attack, attack_on, case, kept

SHORT = ("as written", "sequential", "lent, nobody looks")
pytestmark = pytest.mark.skipif(
    not failing.possible(), reason="bytecodes are counted by CPython's own interface, on Linux"
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(
        tmp_path_factory.mktemp("ground"), tuple(dict.fromkeys([*SHORT, *(place.training for place in kept())]))
    )


def test_interrupted_fits_leave_files_and_models_intact(ground: Ground) -> None:
    report = attack_on(ground, float("inf"), 11, most=6)
    assert report.interrupts == 6
    assert not report.failures, str(report)


@pytest.mark.thorough
def test_all_interrupted_trainings_leave_what_is_promised() -> None:
    report = attack(float("inf"), 11, most=120)
    assert report.interrupts == 120
    assert not report.failures, str(report)


@pytest.mark.parametrize("place", kept(), ids=lambda place: f"{place.training}-{place.function}-{place.time}")
def test_recorded_failures_stay_fixed(place: Place, ground: Ground) -> None:
    assert ground.problem(place.training, Aiming(place))[0] is None


def test_interrupt_arrives_after_the_given_number_of_bytecodes() -> None:
    def work() -> int:
        return sum(abs(k) for k in range(1000))

    with Counting() as counting:
        work()
    places = []
    for count in (100, counting.count // 2):
        with pytest.raises(KeyboardInterrupt), Counting(count):
            work()
        places.append(count)
    assert counting.count > 1000
    assert sys.gettrace() is None or "coverage" in sys.modules


def test_round_draws_every_block_of_bytecodes_once(tmp_path: Path) -> None:
    ground = Ground.__new__(Ground)
    ground.lengths = {"one": 2500, "other": 900}
    drawn = [case(ground, 1, number) for number in range(4)]
    assert sorted(name for name, _ in drawn) == ["one", "one", "one", "other"]
    assert sorted(count // 1000 for name, count in drawn if name == "one") == [0, 1, 2]
    assert [case(ground, 1, number) for number in range(4)] == drawn
    assert [case(ground, 2, number) for number in range(4)] != drawn


def test_attack_reports_a_model_in_an_unknown_state(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "lengths", {"sequential": ground.lengths["sequential"]})
    monkeypatch.setitem(ground.states, "sequential", dict(list(ground.states["sequential"].items())[-1:]))
    report = attack_on(ground, float("inf"), 3, most=4)
    assert "a state that is that after no step" in str(report)
