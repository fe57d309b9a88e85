"""The order of turns, and when extra rounds are run."""

import pytest

from bpengine.benchmark import turns
from bpengine.benchmark.turns import Rotation


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock of the turns by a list of one number, the seconds."""
    seconds = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: seconds[0])
    return seconds


def played(rotation, clock, spread, length=1.0):
    """Play turns of two contenders, each `length` seconds long, and return the rounds."""
    rounds = []
    for turn in rotation.turns("ab", lambda: [0.0, spread]):
        if turn.place == 1:
            rounds.append("")
        rounds[-1] += turn.contender
        clock[0] += length
    return rounds


def test_every_contender_begins_a_round_in_its_turn(clock):
    assert played(Rotation(rounds=4, extra=0, budget_seconds=99.0), clock, 9.0) == ["ab", "ba", "ab", "ba"]


def test_the_budget_ends_the_rounds_after_three(clock):
    assert len(played(Rotation(rounds=9, extra=0, budget_seconds=1.0), clock, 9.0)) == 3
    assert len(played(Rotation(rounds=9, extra=0, budget_seconds=9.0), clock, 9.0)) == 5
    assert len(played(Rotation(rounds=2, extra=0, budget_seconds=0.0), clock, 9.0)) == 2


@pytest.mark.parametrize(("spread", "rounds"), [(turns.STEADY, 5), (turns.STEADY + 0.01, 10)])
def test_extra_rounds_follow_while_the_turns_vary(clock, spread, rounds):
    assert len(played(Rotation(rounds=5, extra=5, budget_seconds=99.0), clock, spread)) == rounds


def test_extra_rounds_end_with_three_budgets(clock):
    assert len(played(Rotation(rounds=5, extra=5, budget_seconds=4.0), clock, 9.0)) == 7
    clock[0] = 0.0
    assert len(played(Rotation(rounds=5, extra=5, budget_seconds=4.0), clock, 0.0)) == 3


def test_the_share_never_passes_the_whole(clock):
    shares = []
    for turn in Rotation(rounds=2, extra=2, budget_seconds=99.0).turns("ab", lambda: [9.0]):
        shares.append(turn.share)
        names = turn.round_name
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    assert names == "round 4 of 4"
