"""The cost model: closed forms, limits, monotony; the record is within 30 % of it; the page has the tables it gives."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bpengine as bp
from bench.scaling import compare, model, nodes, page, worker
from bench.scaling.model import Cost, Node
from bpengine.distributed import Tree
from bpengine.distributed.exchange import Halves, exchange_of
from tests.docs.checks import check_links
from tests.docs.page import Page

NODE = Node(flops=1e12, latency=1e-5, bandwidth=1e9, memory=1e10)
GPUS = replace(NODE, processes=8, near_latency=1e-6, near=1e11)
Form = Callable[[float, int, Node], Cost]


@pytest.mark.parametrize("form", [model.engine, model.slices, model.ring, model.halving_doubling, model.two_level])
def test_large_exchange_moves_as_many_bytes_as_a_ring_and_one_node_none(form: Form) -> None:
    assert form(1e6, 4, NODE).bandwidth == pytest.approx(2 * 3 / 4 * 1e-3)
    assert form(1e6, 4, NODE).additions == pytest.approx(3 * 3 / 4 * 1e-4)
    assert form(1e6, 1, NODE) == Cost()
    assert form(1e9, 2**20, NODE).bandwidth == pytest.approx(2.0, rel=1e-5)


def test_each_form_of_exchange_sends_its_messages() -> None:
    forms = (model.slices, model.ring, model.halving_doubling)
    assert [f(1e6, 8, NODE).latency / NODE.latency for f in forms] == pytest.approx([14, 14, 6])


def test_the_exchange_is_the_one_that_the_engine_chooses() -> None:
    dtype = np.dtype(np.float32)
    for count in range(2, 10):
        for shards in (count, 16):
            chosen = exchange_of(0, count, shards, 10**6, dtype)
            counts = model.roots(shards, count)
            form = model.halving_doubling if isinstance(chosen, Halves) else model.slices
            sent = {"counts": counts} if form is model.slices else {}
            assert model.engine(4e6, count, NODE, counts) == form(4e6, count, NODE, **sent)


def test_short_exchanges_are_one_call() -> None:
    short, long = (model.engine(size, 4, NODE) for size in (2**14, 2**14 + 4))
    assert short.latency == pytest.approx(2 * NODE.latency)
    assert short.bandwidth == pytest.approx(3 * 2**14 / NODE.bandwidth)
    assert long.latency == pytest.approx(4 * NODE.latency)


def test_cost_of_an_exchange_counts_all_roots_of_the_tree() -> None:
    one, several = model.engine(1e6, 3, NODE), model.engine(1e6, 3, NODE, model.roots(16, 3))
    assert model.roots(16, 3) == (2, 3, 2)
    assert several.latency == one.latency
    assert several.bandwidth == pytest.approx(
        (3 * 2 + 2) / 3 * 1e-3
    )  # the most roots to 2 others, and the sums from them
    assert model.engine(1e6, 3, NODE, [1, 3, 1]).bandwidth == pytest.approx((3 * 2 + 2) / 3 * 1e-3)
    assert several.additions == pytest.approx(6 / 2 * one.additions)
    assert model.engine(2**13, 3, NODE).latency < model.engine(2**13, 3, NODE, [3, 3, 3]).latency  # 24 KB, and 72 KB


def test_cost_of_an_exchange_counts_links_inside_and_between_nodes() -> None:
    share, others = 1e6 / 16, 15  # of 16 processes on 2 nodes
    assert model.engine(1e6, 1, GPUS).bandwidth == pytest.approx(2 * 7 / 8 * 1e-5)
    assert model.engine(1e6, 2, GPUS).bandwidth == pytest.approx(2 * 7 / 8 * 1e-5 + 2 * share / 1e9)  # neighbours first
    assert model.engine(1e6, 2, GPUS).latency == pytest.approx(2 * 3 * 1e-6 + 2 * 1e-5)
    assert model.slices(1e6, 2, GPUS).bandwidth == pytest.approx(8 * share / 1e9 + 1 / 2 * 1e6 / 8e9)
    assert model.slices(1e6, 2, GPUS).latency == pytest.approx((8 + 1) * 1e-5 + (7 + 2 * 7) * 1e-6)
    assert model.ring(1e6, 2, GPUS).bandwidth == pytest.approx(2 * 1 / 2 * 1e6 / 8e9)
    assert model.ring(1e6, 2, GPUS).additions == pytest.approx(others * 3 * share / 1e10)
    two = model.two_level(1e6, 2, GPUS)
    assert two.bandwidth == pytest.approx(2 * 7 / 8 * 1e-5 + 2 * 1 / 2 * 1e6 / 8 / 1e9)
    assert two.latency == pytest.approx(2 * 7 * 1e-6 + 2 * 1e-5)


@pytest.mark.parametrize("count", [2, 4, 16])
def test_halving_with_neighbours_first_has_the_trees_bits(count: int) -> None:
    values = np.random.default_rng(count).standard_normal((count, 64)).astype(np.float32)
    tree = Tree(np.add)
    for rank, row in enumerate(values):
        tree.push(rank, 1, row)
    sums, distance = list(values), 1
    while distance < count:
        sums = [sums[rank] + sums[rank ^ distance] for rank in range(count)]
        distance *= 2
    far, distance = list(values), count // 2
    while distance:
        far = [far[rank] + far[rank ^ distance] for rank in range(count)]
        distance //= 2
    assert all(np.array_equal(row, tree.total()) for row in sums)
    assert count == 2 or not np.array_equal(far[0], tree.total())


def test_number_of_rows_that_hide_an_exchange_follows_from_its_cost() -> None:
    for node in (NODE, replace(NODE, half=100, start=1e-3), GPUS):
        rows, each = model.rows_to_hide(1e6, 64, node), model.rows_for(0.9, 1e6, 64, node)
        assert 4e6 * rows / node.flops == pytest.approx(model.engine(4e6, 64, node).total)
        batch = each * 64 * node.processes
        assert model.efficiency(model.step(1e6, batch, 64, node), 1e6, batch, 64, node) == pytest.approx(0.9)
    free = replace(NODE, latency=0.0, memory=math.inf)
    assert model.rows_to_hide(1e6, 2**20, free) == pytest.approx(2 * NODE.flops / NODE.bandwidth, rel=1e-5)


@pytest.mark.parametrize("node", nodes.NODES.values(), ids=nodes.NODES)
def test_efficiency_falls_with_nodes_and_rises_with_rows(node: Node) -> None:
    def used(count: int, batch: int = 2**22) -> float:
        return model.efficiency(model.step(25e6, batch, count, node), 25e6, batch, count, node)

    by_nodes = [used(2**i) for i in range(11)]
    assert by_nodes[0] == pytest.approx(1) if node.processes == 1 else by_nodes[0] < 1
    assert by_nodes == sorted(by_nodes, reverse=True)
    assert used(64, 2**23) > used(64)
    last = model.last_efficient(used)
    assert used(last) >= 0.5 > used(2 * last)
    lost, share = sum(model.losses(25e6, 2**22, 64, node).values()), 64 * node.processes
    assert model.step(25e6, 2**22, 64, node) == pytest.approx(model.products(25e6, 2**22, node) / share + lost)
    assert model.bucketed(25e6, 2**22, 64, node) <= model.step(25e6, 2**22, 64, node)


def test_last_efficient_number_of_nodes() -> None:
    assert model.last_efficient(lambda count: 1.0) == model.MOST
    assert model.last_efficient(lambda count: 0.4) == 0
    assert model.last_efficient(lambda count: 1 / count, 0.25) == 4


def test_further_shards_cost_additions_and_start() -> None:
    node = replace(NODE, half=50, start=1e-4)
    more = model.step(1e6, 1024, 2, node, shards=8) - model.step(1e6, 1024, 2, node)
    assert more == pytest.approx(3 * (12e6 / node.memory + 1e-4))
    uneven = model.step(1e6, 1200, 2, NODE, shards=3) - model.engine(4e6, 2, NODE, [1, 2]).total
    assert uneven == pytest.approx(
        6e6 * 800 / NODE.flops + 12e6 / NODE.memory
    )  # the process with two of three is waited for


def test_checkpoint_intervals_are_those_of_young_and_daly() -> None:
    assert model.young(2.0, 100.0) == pytest.approx(20)
    assert model.daly(2.0, 100.0) == pytest.approx(20 * (1 + 0.1 / 3 + 0.01 / 9) - 2)
    assert model.daly(200.0, 100.0) == 100.0
    assert model.daly(1e-6, 1e6) == pytest.approx(model.young(1e-6, 1e6), rel=1e-5)
    best = model.lost(model.young(2.0, 1e5), 2.0, 1e5)
    assert all(model.lost(f * model.young(2.0, 1e5), 2.0, 1e5) > best for f in (0.9, 1.1))


def test_the_page_has_the_tables_of_the_model() -> None:
    read = Page.read(page.PAGE)
    check_links(read)
    assert page.refreshed(read.text) == read.text
    assert "scaling.md" in Page.read(page.ROOT / "docs" / "README.md").links
    for name in ("several-processes.md", "several-processes.pt-BR.md"):
        assert "../scaling.md" in Page.read(page.ROOT / "docs" / "guides" / name).links


def test_exchanges_and_steps_were_measured_within_30_percent() -> None:
    record = compare.read()
    exchanges = [row for row in compare.exchanges(record) if row.whole and row.size >= compare.BANDWIDTH]
    cases = {(row.network, row.processes) for row in exchanges}
    assert cases == {(network, count) for network in ("loopback", "nodes") for count in (2, 3, 4)}
    steps = compare.steps(record)
    assert [row.processes for row in steps] == [2, 3, 4]
    assert all(abs(row.deviation) <= 0.3 for row in (*exchanges, *steps))
    assert all(abs(seconds / predicted - 1) <= 0.3 for _, seconds, predicted in compare.products_alone(record))


def test_slower_record_changes_the_deviation(tmp_path: Path) -> None:
    record = compare.read()
    for job in record["jobs"]:
        job["seconds"] = {size: [1.4 * second for second in seconds] for size, seconds in job["seconds"].items()}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    pairs = zip(compare.exchanges(compare.read(path)), compare.exchanges(compare.read()), strict=True)
    assert all(slow.deviation == pytest.approx(1.4 * (1 + row.deviation) - 1) for slow, row in pairs)


def test_steps_are_timed_on_the_small_network() -> None:
    sizes = [array.size for array in bp.Model(worker.NETWORK).parameters.values()]
    assert nodes.parameters(*nodes.SMALL) == compare.PARAMETERS == sum(sizes)
