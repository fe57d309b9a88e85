"""The cost model: closed forms, limits, monotony; and the page's tables are those it gives."""

from __future__ import annotations

import json
import math

import pytest

from bench.scaling import model, page
from bench.scaling.model import Cost, Node
from tests.docs.checks import check_links
from tests.docs.page import Page

NODE = Node(flops=1e12, latency=1e-5, bandwidth=1e9, memory=1e10)


@pytest.mark.parametrize("form", [model.engine, model.ring, model.halving_doubling])
def test_a_large_exchange_moves_a_rings_bytes_and_one_node_none(form: object) -> None:
    assert callable(form)
    assert form(1e6, 4, NODE).bandwidth == pytest.approx(2 * 3 / 4 * 1e-3)
    assert form(1e6, 4, NODE).additions == pytest.approx(3 * 3 / 4 * 1e-4)
    assert form(1e6, 1, NODE) == Cost()
    assert form(1e9, 2**20, NODE).bandwidth == pytest.approx(2.0, rel=1e-5)


def test_messages() -> None:
    messages = [f(1e6, 8, NODE).latency / NODE.latency for f in (model.engine, model.ring, model.halving_doubling)]
    assert messages == pytest.approx([14, 14, 6])


def test_small_exchanges_are_one_call() -> None:
    small, large = (model.engine(size, 4, NODE) for size in (2**14, 2**14 + 4))
    assert small.latency == pytest.approx(2 * NODE.latency)
    assert small.bandwidth == pytest.approx(3 * 2**14 / NODE.bandwidth)
    assert large.latency == pytest.approx(6 * NODE.latency)


def test_rows_that_hide() -> None:
    rows, parameters = model.rows_to_hide(NODE), 1e6
    assert 4 * parameters * rows / NODE.flops == pytest.approx(8 * parameters / NODE.bandwidth)
    free = Node(NODE.flops, 0.0, NODE.bandwidth, math.inf)
    rows = model.rows_for(free, 0.9)
    seconds = model.step(parameters, rows * 2**20, 2**20, free)
    assert model.efficiency(seconds, parameters, rows * 2**20, 2**20, free) == pytest.approx(0.9, rel=1e-5)


@pytest.mark.parametrize("node", page.NODES.values(), ids=page.NODES)
def test_efficiency_falls_with_nodes_and_rises_with_rows(node: Node) -> None:
    def used(batch: int, count: int) -> float:
        return model.efficiency(model.step(25e6, batch, count, node), 25e6, batch, count, node)

    by_nodes = [used(2**20, 2**i) for i in range(11)]
    assert by_nodes[0] == pytest.approx(1)
    assert by_nodes == sorted(by_nodes, reverse=True)
    assert used(2**22, 64) > used(2**20, 64)
    last = model.last_efficient(25e6, 2**20, node)
    assert used(2**20, last) >= 0.5 > used(2**20, 2 * last)
    lost = sum(model.losses(25e6, 2**20, 64, node).values())
    assert model.step(25e6, 2**20, 64, node) == pytest.approx(model.products(25e6, 2**20, node) / 64 + lost)
    assert model.bucketed(25e6, 2**20, 64, node) <= model.step(25e6, 2**20, 64, node)


def test_further_shards_cost_their_additions() -> None:
    more = model.step(1e6, 1024, 2, NODE, shards=3) - model.step(1e6, 1024, 2, NODE)
    assert more == pytest.approx(2 * 12e6 / NODE.memory)


def test_checkpoint_intervals() -> None:
    assert model.young(2.0, 100.0) == pytest.approx(20)
    assert model.daly(2.0, 100.0) == pytest.approx(20 * (1 + 0.1 / 3 + 0.01 / 9) - 2)
    assert model.daly(200.0, 100.0) == 100.0
    assert model.daly(1e-6, 1e6) == pytest.approx(model.young(1e-6, 1e6), rel=1e-5)
    best = model.lost(model.young(2.0, 1e5), 2.0, 1e5)
    assert all(model.lost(f * model.young(2.0, 1e5), 2.0, 1e5) > best for f in (0.9, 1.1))


def test_the_page_has_the_tables_of_the_model() -> None:
    found = Page.read(page.PAGE)
    check_links(found)
    assert page.refreshed(found.text) == found.text
    assert "scaling.md" in Page.read(page.ROOT / "docs" / "README.md").links


def test_megabytes_were_measured_within_30_percent() -> None:
    rows = [r for r in json.loads(page.RECORD.read_text(encoding="utf-8"))["rows"] if r["bytes"] >= 2**20]
    assert {r["processes"] for r in rows} == {2, 3, 4}
    assert all(abs(r["deviation"]) <= 0.3 for r in rows)
