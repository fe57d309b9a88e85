"""The roofline: floors by hand from limits that are given, and limits that are really measured."""

from types import SimpleNamespace

import pytest

from bpengine.benchmark.cost import CallCost, Product
from bpengine.benchmark.process import WorkerFailed
from bpengine.benchmark.roofline import Limits, measure

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


def test_floors(limits):
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


@pytest.mark.parametrize("form", ["nn", "nt", "tn"])
def test_a_product_of_each_form_is_really_computed(form):
    """In this process, so that the array that comes out can be looked at."""
    from bpengine.benchmark.peers.limits import Limits as Measuring

    taken = []
    measuring = Measuring("cpu", "float64")
    measuring._shortest = lambda work: taken.append(work()) or 0.5
    assert measuring.product(3, 4, 5, form) == 0.5
    assert taken[0].shape == (3, 5)
    assert (taken[0] == 4 * 0.25).all()
    measuring.copy(64)
    assert measuring._full((2,)).dtype == "float64"
