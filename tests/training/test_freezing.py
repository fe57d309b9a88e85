"""What stays as it is in training: named parameters, and with them the statistics of a BatchNorm layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from tests.tolerances import training_rtol
from tests.training.networks import labelled

NORMED = bp.Network(5, [bp.Dense(6), bp.BatchNorm(), bp.Dense(3)], "softmax_cross_entropy")


def trained(network: bp.Network, backend: str, rows: Any, **settings: Any) -> tuple[set[str], bp.Model]:
    """Return the names of all that training has changed, and the model."""
    model = bp.Model(network, backend, "float64")
    before = {**model.parameters, **model.running}
    model.fit(*rows, optimizer=bp.SGD(0.1), **{"batch_size": 20, "epochs": 2, **settings})
    after = {**model.parameters, **model.running}
    return {name for name, value in before.items() if (after[name] != value).any()}, model


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_statistics_are_frozen_with_the_layer(update: str, backend_name: str, rng: np.random.Generator) -> None:
    rows = labelled(rng)
    assert trained(NORMED, backend_name, rows, only="2.*", update=update)[0] == {
        "2.weight", "2.bias", "1.mean", "1.variance",
    }  # fmt: skip
    assert trained(NORMED, backend_name, rows, only="2.*", freeze="1.*", update=update)[0] == {"2.weight", "2.bias"}
    rest = {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert trained(NORMED, backend_name, rows, freeze=["1.*"], update=update)[0] == rest


def test_a_frozen_layer_normalises_by_its_statistics(backend_name: str, rng: np.random.Generator) -> None:
    """With mean 0, variance 1 - eps, gamma 1 and beta 0 it passes its input on: training is as without it."""
    rows = labelled(rng)
    eps = 2.0**-10
    with_it = bp.Network(5, [bp.Dense(6), bp.BatchNorm(eps), bp.Dense(3)], "softmax_cross_entropy")
    without = bp.Network(5, [bp.Dense(6), bp.Layer(), bp.Dense(3)], "softmax_cross_entropy")
    models = [bp.Model(network, backend_name, "float64") for network in (with_it, without)]
    models[0]._running = {**models[0]._running, "1.variance": models[0]._running["1.variance"] - eps}
    losses = [
        m.fit(*rows, optimizer=bp.SGD(0.1), steps=20, **s).loss
        for m, s in zip(models, ({"freeze": "1.*"}, {}), strict=True)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=training_rtol(float, 20))


def test_statistics_inside_a_residual_are_frozen(backend_name: str, rng: np.random.Generator) -> None:
    network = bp.Network(
        5, [bp.Residual([bp.BatchNorm(), bp.Dense(5)]), bp.BatchNorm(), bp.Dense(3)], "softmax_cross_entropy"
    )
    changed, _ = trained(network, backend_name, labelled(rng), freeze="0.0.*")
    assert not {name for name in changed if name.startswith("0.0.")}
    assert {"0.1.weight", "1.mean", "1.gamma"} <= changed


def test_frozen_statistics_need_no_batch(rng: np.random.Generator) -> None:
    x, y = labelled(rng, rows=7)
    model = bp.Model(NORMED)
    assert model.fit(x, y, batch_size=1, epochs=1, freeze="1.*").steps == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": "3.*"}, r"unknown parameter '3\.\*'"),
        ({"freeze": "1.means"}, r"Did you mean '1\.mean'"),
        ({"freeze": 3}, r"freeze to be a name such as .*got 3"),
        ({"freeze": "1.mean"}, r"all running statistics of a layer or none, got all but '1\.variance'.*freeze='1\.\*'"),
        ({"freeze": "*"}, "which leaves none"),
        ({"only": "1.*", "freeze": ["1.gamma", "1.beta"]}, "which leaves none"),
        ({"only": 3}, r"only to be a name such as .*got 3"),
        ({"only": [3]}, r"only to be a name such as .*got \[3\]"),
    ],
)
def test_invalid_settings_for_frozen_layers_are_refused(
    settings: dict[str, Any], message: str, rng: np.random.Generator
) -> None:
    model = bp.Model(NORMED)
    with pytest.raises(bp.ConfigError, match=message):
        model.fit(*labelled(rng), epochs=1, **settings)
    assert model.fits == 0


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(("rows", "batch_size", "steps"), [(33, 32, [33]), (65, 32, [32, 33]), (66, 32, [32, 32, 2])])
def test_a_single_row_joins_the_batch_before_it(
    rows: int, batch_size: int, steps: list[int], backend_name: str, rng: np.random.Generator
) -> None:
    x, y = labelled(rng, rows=rows)
    model, plain = bp.Model(NORMED, backend_name), bp.Model(bp.Network(5, bp.Dense(3), NORMED.loss), backend_name)
    settings = {"batch_size": batch_size, "epochs": 2}
    joined = len(steps) < -(-rows // batch_size)
    if joined:
        with pytest.warns(UserWarning, match=rf"leaves 1 of {rows} rows over .*the last batch has {steps[-1]} rows"):
            history = model.fit(x, y, **settings)
    else:
        history = model.fit(x, y, **settings)
    assert [e.steps for e in history.epochs] == [len(steps), 2 * len(steps)]
    assert plain.fit(x, y, **settings).steps == 2 * -(-rows // batch_size)


def test_every_row_is_trained_on_when_one_joins(tmp_path: Any, rng: np.random.Generator) -> None:
    """From memory and from disk in small pieces: the running mean is that of the batches as they were cut."""
    x, _ = labelled(rng, rows=9)
    np.save(tmp_path / "x.npy", x)
    network = bp.Network(5, [bp.BatchNorm(momentum=0.0), bp.Dense(1)], "mean_squared_error")
    for rows in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        model = bp.Model(network, dtype="float64")
        with pytest.warns(UserWarning, match="the last batch has 5 rows"):
            model.fit(rows, x[:, :1], batch_size=4, epochs=1, shuffle=False)
        np.testing.assert_allclose(model.running["0.mean"], x[4:].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize(("rows", "batch_size", "got"), [(8, 1, "batch_size=1"), (1, None, "1 row"), (1, 5, "1 row")])
def test_batch_norm_refuses_a_batch_of_one_row(rows: int, batch_size: int | None, got: str, backend_name: str) -> None:
    inner = bp.Network(3, [bp.Residual([bp.BatchNorm()]), bp.Dense(1)], "mean_squared_error")
    model = bp.Model(inner, backend_name)
    with pytest.raises(bp.ConfigError, match=rf"at least 2 rows in a step with BatchNorm, got {got}"):
        model.fit(np.ones((rows, 3)), np.ones(rows), batch_size=batch_size, epochs=1)
    assert (model.running["0.0.variance"] == 1).all()
