"""`continue_from`: a second fit goes on where the first ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training.batching import epoch_order
from tests.checkpoints.fits import compiled, data, digest, network, settings


def split(backend_name: str, first: dict[str, Any], second: dict[str, Any], **both: Any) -> str:
    """Return the digest of two fits, the second of which goes on from the first."""
    options = settings(callbacks=(), **both)
    model = bp.Model(network(), backend_name)
    history = model.fit(*data(), **options, **first)
    return digest(model, model.fit(*data(), **options, **second, continue_from=history))


def whole(backend_name: str, limit: dict[str, Any], **both: Any) -> str:
    model = bp.Model(network(), backend_name)
    return digest(model, model.fit(*data(), **settings(callbacks=(), **both), **limit))


PLAIN = {"validation": None, "stop": ()}


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize(
    ("first", "second", "limit", "both"),
    [
        ({"epochs": 5}, {"epochs": 5}, {"epochs": 10}, {}),
        ({"epochs": 3}, {"epochs": 4}, {"epochs": 7}, {"optimizer": bp.Momentum(0.01)}),
        ({"steps": 13}, {"steps": 24}, {"steps": 37}, PLAIN),
        ({"epochs": 4}, {"epochs": 30}, {"epochs": 34}, {"batch_size": None, **PLAIN}),
        ({"epochs": 12}, {"epochs": 12}, {"epochs": 24}, {"stop": bp.NoImprovement(20), "optimizer": bp.Adam(0.05)}),
    ],
    ids=["epochs", "momentum", "the middle of an epoch", "full batch", "the best epoch is another"],
)
def test_two_fits_have_the_bits_of_one(
    first: dict[str, Any], second: dict[str, Any], limit: dict[str, Any], both: dict[str, Any], backend_name: str
) -> None:
    assert split(backend_name, first, second, **both) == whole(backend_name, limit, **both)


def test_fit_continues_with_parameters_changed_in_between() -> None:
    options = settings(epochs=3, callbacks=(), stop=bp.NoImprovement(20))
    model, other = (bp.Model(network()) for _ in range(2))
    histories = [one.fit(*data(), **options) for one in (model, other)]
    for one in (model, other):
        one.parameters = {"0.bias": np.full(12, 0.25)}
    model.fit(*data(), **options, continue_from=histories[0])
    other.parameters = other.parameters
    other.fit(*data(), **options, continue_from=histories[1])
    assert all((model.parameters[name] == value).all() for name, value in other.parameters.items())
    again = bp.Model(network())
    again.fit(*data(), **options, continue_from=again.fit(*data(), **options))
    assert not all((model.parameters[name] == value).all() for name, value in again.parameters.items())


def test_a_history_can_be_continued_twice_and_large_parameters_are_its_own() -> None:
    """Parameters of more than 1 MiB are lent to a fit, which writes into them: what a history keeps must be copies."""
    wide = bp.Network(300, [bp.Dense(1000, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 300)), rng.integers(0, 3, 64)
    options: dict[str, Any] = {
        "batch_size": 16, "validation": (x, y), "stop": bp.NoImprovement(9), "optimizer": bp.Adam(0.01),
    }  # fmt: skip
    model = bp.Model(wide)
    history = model.fit(x, y, epochs=2, **options)
    after = model.parameters
    digests = []
    for _ in range(2):
        model.parameters = after
        digests.append(digest(model, model.fit(x, y, epochs=2, **options, continue_from=history)))
    assert digests[0] == digests[1]
    whole = bp.Model(wide)
    assert digest(whole, whole.fit(x, y, epochs=4, **options)) == digests[0]


def test_the_best_epoch_is_kept_while_other_fits_write_into_the_model() -> None:
    x, y = data()
    model = compiled(bp.Model(bp.Network(6, [bp.Dense(60_000, "relu"), bp.Dense(3)], "softmax_cross_entropy")))
    options: dict[str, Any] = {"batch_size": 100, "epochs": 2}
    history = model.fit(x, y, **options, validation=(x, y), stop=bp.NoImprovement(9), optimizer=bp.SGD(0.05))
    best = history.end.best.state["params"]
    before = {name: np.array(value) for name, value in best.items()}
    model.fit(x, y, **options)
    assert all((best[name] == value).all() for name, value in before.items())
    assert any((model.parameters[name] != value).any() for name, value in before.items())


def test_other_data_begin_a_new_epoch_and_keep_moments_and_steps() -> None:
    """Rows that come in portions: schedule, dropout and moments count all steps; each portion has an order of its own."""
    x, y = data()
    model = bp.Model(network())
    options = settings(epochs=1, callbacks=(), weights=None, **PLAIN)
    history = model.fit(x[:200], y[:200], **options)
    for portion in (slice(200, 300), slice(0, 64)):
        history = model.fit(x[portion], y[portion], **options, continue_from=history)
    assert [epoch.steps for epoch in history.epochs] == [7, 11, 13]
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3]
    assert (history.learning_rate == bp.Cosine(0.02, 60)(np.arange(13))).all()
    assert model.fits == 1


def test_the_order_of_rows_goes_on_with_other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second portion is seen in the order of the second epoch, also where its epochs have another length."""
    x, y = data()
    model = bp.Model(network())
    common = settings(epochs=1, callbacks=(), weights=None, **PLAIN)
    history = model.fit(x[:200], y[:200], **common)
    real, orders = model.backend.run_epoch, list[np.ndarray]()

    def seen(*args: Any, **options: Any) -> Any:
        orders.append(args[3].ravel())
        return real(*args, **options)

    monkeypatch.setattr(model.backend, "run_epoch", seen)
    model.fit(x[:64], y[:64], **common, continue_from=history)
    assert (np.concatenate(orders) == epoch_order(model.seed, 1, 64, shuffle=True)).all()


def test_learning_rate_may_change_and_the_rule_may_not() -> None:
    x, y = data()
    model = bp.Model(network())
    history = model.fit(x, y, batch_size=32, epochs=1, optimizer=bp.Adam(0.01))
    model.fit(x, y, batch_size=16, epochs=1, optimizer=bp.Adam(0.001), continue_from=history)
    with pytest.raises(
        bp.ConfigError, match=r"update rule of the fit it goes on from, adam\(beta1=0\.9.*, got sgd\(\)"
    ):
        model.fit(x, y, epochs=1, optimizer="sgd", continue_from=history)
    with pytest.raises(bp.ConfigError, match=r"the same trained parameters, 0\.weight, .*, got 0\.bias"):
        model.fit(x, y, epochs=1, only="0.bias", continue_from=history)
    small = bp.Model(
        bp.Network(6, [bp.Dense(5), bp.BatchNorm(), bp.Dropout(0.2), bp.Dense(3)], "softmax_cross_entropy")
    )
    with pytest.raises(bp.ConfigError, match=r"'0\.weight' has the shape \(6, 12\); here it has \(6, 5\)"):
        small.fit(x, y, epochs=1, continue_from=history)
    with pytest.raises(bp.ConfigError, match=r"the History that a fit returned, got list"):
        model.fit(x, y, epochs=1, continue_from=[])


def test_a_failed_fit_cannot_be_continued() -> None:
    x, y = data()
    model = bp.Model(network())
    with pytest.raises(bp.NonFiniteError) as raised:
        model.fit(x, y, epochs=9, optimizer=bp.SGD(1e38))
    with pytest.raises(bp.ConfigError, match="got one of a fit that failed"):
        model.fit(x, y, epochs=1, optimizer=bp.SGD(0.1), continue_from=raised.value.history)
