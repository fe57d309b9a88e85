"""Streams: every use of a seed draws numbers of its own, and none that a user of NumPy would draw."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.streams import ENGINE, PURPOSES, derived, dropout_counter, stream
from bpengine.training.batching import epoch_order
from tests.tolerances import correlation_atol

SEEDS = (0, 1, 42, 2**32, 2**80)
NUMBERS = ((), (0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (2**32 - 1,))


def users(seed: int) -> list[np.random.Generator]:
    """Return the streams that a user may make of a seed."""
    generators = [np.random.default_rng(seed), np.random.default_rng([seed, 0, 0, 0, 0, 0])]
    generators += [np.random.default_rng([seed, k]) for k in (*range(1, 20), *PURPOSES.values())]
    generators += [np.random.default_rng([seed, 1, k]) for k in range(20)]
    return generators + np.random.default_rng(seed).spawn(20)


def test_all_streams_are_distinct_from_each_other_and_from_those_of_a_user() -> None:
    seen: dict[bytes, Any] = {}
    for seed in SEEDS:
        for rng in users(seed):
            seen[rng.bytes(16)] = "a user's"
    for seed in SEEDS:
        for purpose in PURPOSES:
            for numbers in NUMBERS:
                drawn = stream(purpose, seed, *numbers).bytes(16)
                assert drawn not in seen, (purpose, seed, numbers, seen[drawn])
                seen[drawn] = purpose, seed, numbers


def test_the_table_gives_every_purpose_a_number_of_its_own() -> None:
    assert len(set(PURPOSES.values())) == len(PURPOSES)
    assert ENGINE >= 2**32  # two words of a SeedSequence: no small number of a user


def test_streams_never_change() -> None:
    assert int(stream("initial weights", 0, 0).integers(2**32)) == 2118466704
    assert derived("later fit", 0, 1) == 17969446400312484009
    assert dropout_counter(0).tolist() == [3354366821, 0]


def test_engine_draws_only_from_its_streams() -> None:
    engine = Path(bp.__file__).parent
    peers = engine / "benchmark" / "peers"  # other libraries, given random matrices
    for path in engine.rglob("*.py"):
        if path.name == "streams.py" or peers in path.parents:
            continue
        names = {n.attr for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Attribute)}
        assert not names & {"default_rng", "SeedSequence", "RandomState", "PCG64"}, path


def network(*layers: Any, inputs: int = 30) -> bp.Network:
    return bp.Network(inputs, layers, "mean_squared_error")


def correlation(a: Any, b: Any) -> float:
    return abs(float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]))


@pytest.mark.parametrize("seed", SEEDS)
def test_initial_weights_have_nothing_to_do_with_data_of_the_same_seed(seed: int) -> None:
    weight = bp.Model(network(bp.Dense(30)), seed=seed).parameters["0.weight"]
    for rng in users(seed):
        assert correlation(weight, rng.standard_normal(weight.shape)) < correlation_atol(weight.size)


def test_layers_and_layers_inside_them_have_weights_of_their_own() -> None:
    inner = bp.Residual([bp.Dense(30), bp.Residual([bp.Dense(30), bp.Dense(30)])])
    layers = [bp.Dense(30), inner, bp.Residual([bp.Dense(30)]), bp.Dense(30)]
    for a, b in ((0, 0), (0, 1)):
        first, second = (bp.Model(network(*layers), seed=seed).parameters for seed in (a, b))
        weights = [(n, v) for n, v in first.items() if n.endswith("weight")]
        assert len(weights) == 6
        for i, (name, weight) in enumerate(weights):
            for j, (other, compared) in enumerate((n, v) for n, v in second.items() if n.endswith("weight")):
                if (i, a) != (j, b):
                    assert correlation(weight, compared) < correlation_atol(weight.size), (name, other)


def test_epochs_splits_and_fits_have_orders_of_their_own() -> None:
    rows = 1000
    orders = [epoch_order(3, epoch, rows, shuffle=True) for epoch in range(3)]
    orders += [epoch_order(derived("later fit", 3, fit), 0, rows, shuffle=True) for fit in (1, 2)]
    orders += [stream("split", 3).permutation(rows), stream("check rows", 3).permutation(rows)]
    mine = {order.astype(np.int64).tobytes() for order in orders}
    assert len(mine) == len(orders)
    assert not mine & {rng.permutation(rows).tobytes() for rng in users(3)}


def test_dropout_masks_differ_for_seeds_that_agree_in_32_bits() -> None:
    assert dropout_counter(5)[0] != dropout_counter(5 + 2**32)[0]


def test_each_fit_of_a_model_sees_an_order_of_its_own() -> None:
    x = np.arange(64.0)[:, None] / 64
    model = bp.Model(network(bp.Dense(1, weight_init="zeros"), inputs=1), seed=0)
    losses = []
    for _ in range(2):
        model.parameters = {"0.weight": [[0.0]], "0.bias": [0.0]}
        losses.append(model.fit(x, x, optimizer=bp.SGD(0.1), batch_size=4, epochs=1).loss)
    assert not np.array_equal(*losses)
