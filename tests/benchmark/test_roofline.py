"""The roofline: floors by hand from limits that are given, and limits that are really measured."""

from types import SimpleNamespace

import numpy as np
import pytest

from bpengine.benchmark import CONTENDERS
from bpengine.benchmark.floors.cost import CallCost, Product
from bpengine.benchmark.floors.roofline import Limits, measure
from bpengine.benchmark.peers import limits as limits_of
from bpengine.benchmark.processes.process import WorkerFailed

FAST, SLOW = Product(10, 10, 10, "nn"), Product(5, 10, 10, "tn")


@pytest.fixture
def limits():
    """Give 1000 operations per second at best, half of that for the other product; copies get slower with size."""
    return Limits("none", {FAST: 2.0, SLOW: 2.0}, {100: 1.0, 1000: 20.0})


def test_the_best_rate_is_that_of_the_fastest_product(limits):
    assert limits.best_rate == 2000 / 2.0


@pytest.mark.parametrize(("moved", "rate"), [(1, 200), (200, 200), (201, 100), (10**6, 100)])
def test_bandwidth_is_that_of_copies_that_move_at_least_so_much(limits, moved, rate):
    assert limits.bandwidth(moved) == rate


def test_floors_follow_from_rates_and_bandwidth(limits):
    calls = (
        CallCost("0", "dense_fwd", 2100, (FAST,), 150),  # 2 s of products, 0.75 s of copies
        CallCost("0", "dense_bwd", 1000, (SLOW,), 400),  # 1 s at the best rate, 4 s of copies
        CallCost("", "adam_update", 500, (), 50),  # 0.25 s of copies
    )
    cost = SimpleNamespace(calls=calls, product_flops=3000, products=[FAST, SLOW])
    assert limits.floors(cost) == {"products": 3.0, "own_products": 4.0, "calls": 2.0 + 4.0 + 0.25}


def test_a_second_measurement_counts_where_it_is_faster(limits):
    limits.add(Limits("again", {FAST: 1.0, SLOW: 3.0}, {100: 2.0, 1000: 10.0}))
    assert limits.products == {FAST: 1.0, SLOW: 2.0}
    assert limits.copies == {100: 1.0, 1000: 10.0}


def test_the_record_has_rates(limits):
    assert limits.to_dict() == {
        "library": "none",
        "best_product_flops_per_second": 1000.0,
        "product_flops_per_second": {"10x10x10xnn": 1000.0, "5x10x10xtn": 500.0},
        "copy_bytes_per_second": {"100": 200.0, "1000": 100.0},
    }


def test_a_machine_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(WorkerFailed):
        measure([FAST], "gpu", "float32")


@pytest.fixture(params=["numpy", "torch"])
def measuring(request):
    """Give the measurements in this process, so that the arrays can be looked at: NumPy's, and PyTorch's on the CPU."""
    if request.param == "numpy":
        return limits_of.NumpyLimits("cpu", "float64")
    needs_torch(request)
    return limits_of.TorchLimits("cpu", "float64")


def needs_torch(request):
    if CONTENDERS["torch"].missing:
        required = "torch" in request.config.getoption("--require-peer")
        (pytest.fail if required else pytest.skip)("torch is not installed")


@pytest.mark.parametrize("form", ["nn", "nt", "tn"])
def test_a_product_of_each_form_is_really_computed_from_random_operands(measuring, monkeypatch, form):
    """Products of constants flip few bits, and run faster on a GPU than any that training makes."""
    factors, products = [], []
    drawn = measuring._factor
    monkeypatch.setattr(measuring, "_factor", lambda *shape: factors.append(drawn(*shape)) or factors[-1])
    monkeypatch.setattr(measuring, "_shortest", lambda work: products.append(work()) or 0.5)
    assert measuring.product(30, 40, 50, form) == 0.5
    a, b = (np.asarray(factor) for factor in factors[:2])
    for factor in (a, b):
        assert len(np.unique(factor)) == factor.size
        assert factor.dtype == "float64"
    expected = (a.T if form[0] == "t" else a) @ (b.T if form[1] == "t" else b)
    np.testing.assert_allclose(np.asarray(products[0]), expected, rtol=1e-12)


def test_a_copy_copies_so_many_bytes(measuring, monkeypatch):
    seen = []
    copy = measuring._copy
    monkeypatch.setattr(measuring, "_threads", 1)
    monkeypatch.setattr(
        measuring, "_copy", lambda source, target: (seen.append((source, target)), copy(source, target))
    )
    measuring.copy(64)
    source, target = map(np.asarray, seen[-1])
    assert source.nbytes == 64
    np.testing.assert_array_equal(source, target)


@pytest.mark.parametrize(("seconds", "calls"), [(1e-6, 64), (1e-4, 10), (1e-2, 1)])
def test_several_calls_are_made_for_each_wait(monkeypatch, seconds, calls):
    """Synchronising after each call would measure the wait instead of a small product."""
    measuring, clock = limits_of.NumpyLimits("cpu", "float32"), [0.0]
    waits = []

    def work():
        clock[0] += seconds

    monkeypatch.setattr(limits_of.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(measuring, "_wait", lambda: waits.append(clock[0]))
    assert measuring._shortest(work) == pytest.approx(seconds)
    assert waits[-1] - waits[-2] == pytest.approx(calls * seconds)


def test_products_in_bfloat16_have_operands_in_bfloat16(request):
    needs_torch(request)
    measuring = limits_of.TorchLimits("cpu", "bfloat16")
    assert str(measuring._factor(2, 3).dtype) == "torch.bfloat16"
    assert str(measuring._random((2,)).dtype) == "torch.float32", "what is copied is what is stored"
    assert measuring.product(4, 5, 6, "nt") > 0


def test_a_precision_that_a_library_lacks_is_an_error_that_says_so():
    with pytest.raises(WorkerFailed, match="NumPy multiplies in float32 or float64, not in tf32"):
        measure([FAST], "cpu", "tf32")
