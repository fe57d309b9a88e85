"""Every contender follows the same rule, step by step: the weights are compared, where a loss would hide a difference."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from bpengine.benchmark import CONTENDERS, Workload
from bpengine.benchmark.inputs import make_sample
from tests.benchmark import tiny
from tests.tolerances import training_rtol

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")  # its variables
SLOW = {"torch-compile"}  # to compile; its optimiser is PyTorch's eager one
ADAM = Workload("adam-test", (6, 8, 5, 3), 4, epoch_steps=2, learning_rate=0.01)
SGD = replace(ADAM, name="sgd-test", optimizer="sgd")
ROUNDED = training_rtol(np.float32, 2)  # of weights, which are about 1


@pytest.fixture(params=[c.name for c in CONTENDERS.values() if "cpu" in c.devices and c.name not in SLOW])
def contender(request, monkeypatch):
    """Give each contender of the CPU in turn; where it is not installed, skip, or fail if it is required."""
    entry = CONTENDERS[request.param]
    if entry.missing:
        required = entry.name in request.config.getoption("--require-peer")
        (pytest.fail if required else pytest.skip)(f"{entry.name}: {entry.missing}")
    for name, value in entry.environment:
        monkeypatch.setenv(name, value)
    return entry


def sample(workload, scale=1.0):
    """Return the sample of a workload with its inputs, and so the gradients of its weights, scaled."""
    drawn = make_sample(workload)
    return replace(drawn, x=(drawn.x * scale).astype(drawn.x.dtype))


def peer(contender, drawn):
    module, _, kind = contender.code.partition(":")
    return getattr(import_module(module, "bpengine.benchmark.peers"), kind)(drawn, contender.argument, "cpu")


def turn(trained, steps=2):
    trained.reset()
    trained.train(steps)
    return [np.array(array) for layer in trained.weights() for array in layer]


def moved(contender, drawn):
    """Return how far each weight moved in two steps, in learning rates."""
    initial = [array for layer in drawn.initial for array in layer]
    return [(now - then) / drawn.workload.rate for now, then in zip(turn(peer(contender, drawn)), initial, strict=True)]


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_adam_is_the_same_however_small_the_gradients(contender, scale):
    """With gradients of 1e-7 an epsilon of 1e-8 would show, and so would its place."""
    drawn = sample(ADAM, scale)
    for ours, theirs in zip(moved(CONTENDERS["numpy"], drawn), moved(contender, drawn), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=ROUNDED / drawn.workload.rate)


def test_underflowing_squares_of_gradients_bound_the_update(contender):
    """Two steps of Adam go two learning rates at most, also where sqrt(v) is 0 in float32, and epsilon alone is left."""
    for change in moved(contender, sample(ADAM, 1e-17)):
        assert np.all(np.abs(change) <= 2 + ROUNDED / ADAM.rate)


def test_sgd_does_not_clip_large_gradients(contender):
    """Gradients of norm 10 and more: clipped ones would show."""
    drawn = sample(SGD, 100.0)
    expected = moved(CONTENDERS["numpy"], drawn)
    assert max(np.linalg.norm(change) for change in expected) > 10
    for ours, theirs in zip(expected, moved(contender, drawn), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=ROUNDED * max(1 / SGD.rate, np.max(np.abs(ours))))


@pytest.mark.parametrize("workload", [ADAM, tiny.WHOLE], ids=lambda workload: workload.name)
def test_each_turn_starts_from_the_same_weights(contender, workload):
    drawn = make_sample(workload)
    initial = [array.copy() for layer in drawn.initial for array in layer]
    trained = peer(contender, drawn)
    for first, second in zip(turn(trained), turn(trained), strict=True):
        np.testing.assert_allclose(second, first, rtol=ROUNDED, atol=ROUNDED)
    for array, kept in zip((array for layer in drawn.initial for array in layer), initial, strict=True):
        np.testing.assert_array_equal(array, kept)
        assert not array.flags.writeable
