"""Joined updates: one call of a rule for all small parameters, the bits of one call for each, and nothing that shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend, joined_updates
from bpengine_numpy.joined_updates import JoinedParameters, joined_run
from bpengine_steps.signature import leaves

import bpengine as bp
from bpengine.ops import Ops, UpdateInputs, one_by_one
from bpengine.training.optimizers import OPTIMIZERS, Optimizer
from tests.backends.fits import FITS, rows_for


class EagerBackend(NumpyBackend):
    """A NumPy backend that never compiles."""

    patience = math.inf


class DoublingBackend(EagerBackend):
    """Runs one rule in a way of its own, and notes the shapes that it is given."""

    seen: ClassVar[list[tuple[int, ...]]] = []

    def replacements(self) -> Mapping[str, Callable[..., Any]]:
        """Return Momentum's rule."""

        def momentum_update(w: Any, dw: Any, u: Any, t: Any, lr: Any, *, momentum: float) -> Any:
            self.seen.append(w.shape)
            return w - lr * (momentum * u + dw), momentum * u + dw

        return {"momentum_update": momentum_update}


@dataclass(frozen=True)
class NormalisedUpdate(Optimizer):
    """A rule of one's own: each parameter moves by a step of length 1, in the direction that its velocity has."""

    kernel = "momentum"

    def bind(self, ops: Ops) -> Callable[..., Any]:
        """Return the rule."""

        def rule(w: Any, dw: Any, u: Any, t: Any, lr: Any) -> Any:
            velocity = u + dw
            return w - lr * velocity / np.sqrt(np.sum(velocity * velocity)), velocity

        return rule


def fitted(
    case: str, backend: bp.Backend, monkeypatch: pytest.MonkeyPatch, *, joined: bool, **more: Any
) -> tuple[bp.Model, list[tuple[Any, Any]], int]:
    """Return a model after a fit, the arrays of its run state by path, and how often updates were joined."""
    layers, loss, settings = FITS[case]
    calls = 0
    update = JoinedParameters.update

    def counted(self: JoinedParameters, *arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        return update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(JoinedParameters, "update", counted)
        patch.setattr(joined_updates, "SMALL", joined_updates.SMALL if joined else 0)
        network, rng = bp.Network(4, layers, loss), np.random.default_rng(3)
        model = bp.Model(network, backend, dtype=backend.dtype, seed=1)
        x, y = rng.normal(size=(24, 4)), rows_for(loss, 24, network.outputs, rng)
        history = model.fit(x, y, **{"batch_size": 8, "epochs": 3, **settings, **more})
        assert history.end is not None
        return model, list(leaves(history.end.state)), calls


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("case", FITS)
def test_joined_and_single_updates_have_the_same_bits(
    case: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = EagerBackend(precision=precision)
    joined, ends, calls = fitted(case, backend, monkeypatch, joined=True)
    single, others, none = fitted(case, backend, monkeypatch, joined=False)
    assert none == 0
    assert (calls > 0) == (FITS[case][2]["optimizer"] != "sgd")  # which has no slots: nothing would be gained
    for name, value in single.parameters.items():
        np.testing.assert_array_equal(joined.parameters[name], value)
    for (path, array), (other_path, other) in zip(ends, others, strict=True):
        assert path == other_path
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize(
    "settings",
    [
        {"shards": 2},
        {"clip_norm": 0.05},
        {"stop": bp.LossBelow(1.0)},
        {"stop": bp.StepSizeBelow(2e-3)},
        {"update": "sequential"},
        {"only": ["*.bias"]},
        {"accumulate": 2},
    ],
    ids=str,
)
def test_settings_of_a_fit_change_nothing(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = EagerBackend()
    _, ends, calls = fitted("softmax_cross_entropy", backend, monkeypatch, joined=True, **settings)
    _, others, _ = fitted("softmax_cross_entropy", backend, monkeypatch, joined=False, **settings)
    assert calls > 0
    for (_, array), (_, other) in zip(ends, others, strict=True):
        np.testing.assert_array_equal(array, other)


def test_arrays_share_no_memory_after_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ends, calls = fitted("softmax_cross_entropy", EagerBackend(), monkeypatch, joined=True)
    assert calls > 0
    arrays = [*model.parameters.values(), *(array for path, array in ends if path[0] == "slots")]
    assert len(arrays) >= 12
    for i, array in enumerate(arrays):
        assert array.flags.c_contiguous
        assert not any(np.shares_memory(array, other) for other in arrays[:i])
        assert array.base is None or array.base.size == array.size


def test_a_rule_of_ones_own_sees_each_parameter_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {"optimizer": NormalisedUpdate(0.01)}
    joined, _, calls = fitted("softmax_cross_entropy", EagerBackend(), monkeypatch, joined=True, steps=1, **rule)
    assert calls == 0
    before = bp.Model(joined.network, EagerBackend(), seed=1).parameters
    for name, value in joined.parameters.items():  # a step of length 0.01 for each, and not for all together
        np.testing.assert_allclose(np.linalg.norm(value - before[name]), 0.01, rtol=1e-4)


def test_a_replacement_of_a_backend_is_given_each_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    DoublingBackend.seen.clear()
    _, _, calls = fitted("one output", DoublingBackend(), monkeypatch, joined=True, steps=1)
    assert calls == 0
    assert sorted(DoublingBackend.seen) == [(1,), (4, 5), (5,), (5, 1)]


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_joined_updates_equal_single_ones_for_arrays_of_every_kind(rule: str, rng: np.random.Generator) -> None:
    """Large, in another order, of another dtype, single numbers, gradients of another dtype, replaced parameters."""
    optimizer, ops = OPTIMIZERS[rule](), NumpyBackend().ops()
    bound = optimizer.bind(ops)
    params: dict[str, Any] = {
        "small": rng.normal(size=(3, 5)), "odd": rng.normal(size=7), "one": rng.normal(size=1),
        "large": rng.normal(size=(200, 200)), "other order": rng.normal(size=(5, 3)).T,
        "single": rng.normal(size=3).astype(np.float32), "number": np.array(0.5), "empty": np.empty((0, 3)),
    }  # fmt: skip
    params["other order"] = np.asfortranarray(params["other order"])
    gradients = {name: np.abs(rng.normal(size=w.shape)).astype(w.dtype) for name, w in params.items()}
    slots = optimizer.init(np, params)
    t, lr = np.ones(1), np.full(1, 0.01)
    expected = params, slots
    with joined_run() as separate:
        state = params, slots
        for number in range(4):
            if number == 2:  # equal shapes, exchanged
                for one in (state[0], expected[0]):
                    one["small"] = one["small"][::-1].copy()
            if number == 3:
                gradients = {**gradients, "odd": gradients["odd"].astype(np.longdouble)}
            state = ops.update_all(bound, UpdateInputs(state[0], gradients, state[1], t, lr))
            expected = one_by_one(bound, UpdateInputs(expected[0], gradients, expected[1], t, lr))
            for (path, array), (_, other) in zip(leaves(state), leaves(expected), strict=True):
                assert (array.dtype, array.shape) == (other.dtype, other.shape), path
                assert array.flags.c_contiguous == other.flags.c_contiguous  # on which bits of products may depend
                np.testing.assert_array_equal(array, other)
        after = separate(state)
    assert list(after[0]) == list(params)


def test_parameters_are_not_joined_outside_of_a_run(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(joined_updates, "JoinedParameters", None)
    network = bp.Network(3, [bp.Dense(4, "relu"), bp.Dense(2)], "softmax_cross_entropy")
    model = bp.Model(network, EagerBackend())
    x, y = rng.normal(size=(6, 3)), rng.integers(0, 2, 6)
    _, gradients = model.loss_and_gradients(x, y)
    before = model.parameters["0.weight"].copy()
    model.apply_gradients(gradients, optimizer=bp.Adam(0.1))
    assert not np.array_equal(model.parameters["0.weight"], before)
