"""PyTorch's CUDA graph, its steps called one by one on the CPU: what would be captured, and how often it is replayed."""

from dataclasses import replace

import numpy as np
import pytest

from bpengine.benchmark import CONTENDERS, Workload
from bpengine.benchmark.inputs import make_sample
from tests.benchmark import tiny

ADAM = Workload("graph-test", (6, 8, 5, 3), 4, epoch_steps=37, learning_rate=0.01)


@pytest.fixture
def graph(request):
    """Give the module of the peer; where PyTorch is not installed, skip, or fail if it is required."""
    if CONTENDERS["torch-graph"].missing:
        required = {"torch", "torch-graph"} & set(request.config.getoption("--require-peer"))
        (pytest.fail if required else pytest.skip)("torch is not installed")
    from bpengine.benchmark.peers import torch_graph

    return torch_graph


def trained(kind, workload, steps, argument=""):
    peer = kind(make_sample(workload), argument, "cpu")
    peer.reset()
    peer.train(steps)
    return peer


@pytest.mark.parametrize("workload", [ADAM, replace(ADAM, optimizer="sgd"), tiny.WHOLE], ids=lambda w: w.optimizer)
def test_the_weights_are_those_of_the_eager_steps(graph, workload):
    """Two epochs of 37 steps: graphs of 16 and single steps, in an order that is brought anew for each epoch."""
    steps = workload.steps or 2 * workload.epoch_steps
    expected = trained(graph.TorchEager, workload, steps).weights()
    peer = trained(graph.TorchGraph, workload, steps)
    for _ in range(2):  # the second turn too
        for ours, theirs in zip(peer.weights(), expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        peer.reset()
        peer.train(steps)


def test_an_epoch_is_replays_of_sixteen_steps_and_of_one(graph):
    peer = trained(graph.TorchGraph, ADAM, ADAM.epoch_steps)
    replayed = []
    peer._replays = {k: (lambda k=k: replayed.append(k)) for k in peer._replays}
    peer.train(2 * ADAM.epoch_steps)
    assert replayed == 2 * [16, 16, 1, 1, 1, 1, 1]


def test_the_losses_of_an_epoch_lie_on_the_device(graph):
    peer = trained(graph.TorchGraph, ADAM, ADAM.epoch_steps)
    losses = peer.losses.numpy()
    assert losses.shape == (ADAM.epoch_steps,)
    assert np.all(losses > 0)
    order = next(peer.sample.epochs(ADAM.epoch_steps)).order
    rows = replace(peer.sample, x=peer.sample.x[order[0]], y=peer.sample.y[order[0]])
    assert losses[0] == pytest.approx(rows.loss(rows.initial), rel=1e-5)


def test_training_continues_beyond_the_number_of_stored_losses(graph, monkeypatch):
    monkeypatch.setattr(graph, "LOSSES", 20)
    peer = trained(graph.TorchGraph, tiny.WHOLE, 40)
    eager = trained(graph.TorchEager, tiny.WHOLE, 40)
    np.testing.assert_allclose(peer.weights()[0][0], eager.weights()[0][0], rtol=1e-4)


def test_the_device_is_timed_from_the_first_launch_to_the_last_and_then_waited_for(graph, monkeypatch):
    peer = trained(graph.TorchGraph, ADAM, ADAM.epoch_steps)
    assert peer.device_seconds() is None, "a CPU has no events"
    happened = []

    class Event:
        def record(self):
            happened.append(self)

        def elapsed_time(self, end):
            assert end is peer._events[1]
            return 250.0

    peer._events = [Event(), Event()]
    monkeypatch.setattr(peer, "launch", lambda epoch: happened.append("epoch"))
    monkeypatch.setattr(peer, "_synchronize", lambda: happened.append("wait"))
    peer.train(2 * ADAM.epoch_steps)
    assert happened == [peer._events[0], "epoch", "epoch", peer._events[1], "wait"]
    assert peer.device_seconds() == 0.25


def test_a_precision_is_taken_from_the_row(graph):
    import torch

    was = torch.get_float32_matmul_precision()
    try:
        for name, precision in (("torch-graph", "highest"), ("torch-graph-tf32", "high"), ("torch-graph", "highest")):
            graph.TorchGraph(make_sample(ADAM), CONTENDERS[name].argument, "cpu")
            assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(was)


def test_bfloat16_rounds_the_operands_of_products_and_stores_float32(graph):
    full, rounded = (trained(graph.TorchGraph, ADAM, ADAM.epoch_steps, argument) for argument in ("", ":bfloat16"))
    (w, _), (v, _) = full.weights()[0], rounded.weights()[0]
    assert v.dtype == "float32"
    assert 1e-6 < np.max(np.abs(w - v)) < 0.1
