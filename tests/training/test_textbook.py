"""The numbers that the textbooks print."""

from __future__ import annotations

import numpy as np
import pytest

import bpengine as bp
from tests.tolerances import after_thousands_of_steps_rtol, oracle_rtol, published_atol, value_rtol
from tests.training.networks import MAZUR_X, MAZUR_Y, dosage, mazur, xor_221


def test_xor_forward_values(backend_name: str) -> None:
    """Hidden 0.899, 0.593, 0.378 and output 0.506 for the row (0, 1): the book truncates to three digits."""
    data = bp.data.load("xor")
    model = bp.Model(xor_221(), backend_name, "float64")
    hidden = bp.Model(bp.Network(2, xor_221().layers[:1], "half_sum_squares"), backend_name, "float64").forward(data.x)
    np.testing.assert_allclose(np.floor(hidden[1] * 1000) / 1000, [0.899, 0.593, 0.378], rtol=value_rtol(float))
    assert np.floor(model.forward(data.x)[1, 0] * 1000) / 1000 == 0.506
    expected = [0.4860579504054513, 0.5065094829653212, 0.4842767564858953, 0.5018864241584255]
    np.testing.assert_allclose(model.forward(data.x)[:, 0], expected, rtol=value_rtol(float, 3))


def test_xor_gradients_of_the_worked_row(backend_name: str) -> None:
    """The output unit's and the hidden units' gradients: the bias row's gradient is dL/dz itself."""
    data = bp.data.load("xor")
    _, gradients = bp.Model(xor_221(), backend_name, "float64").loss_and_gradients(data.x[1:2], data.y[1:2])
    deltas = [-0.004269732066271014, 0.009734015518797007, 0.00954640067501057]
    np.testing.assert_allclose(gradients["0.weight"][2], deltas, rtol=oracle_rtol())
    outer = [-0.11095842377493588, -0.07316598988115458, -0.046686299381168445]
    np.testing.assert_allclose(gradients["1.weight"][:, 0], outer, rtol=oracle_rtol())


def test_xor_training_classifies_all_four_rows(backend_name: str) -> None:
    data = bp.data.load("xor")
    model = bp.Model(xor_221(), backend_name, "float64")
    model.fit(data.x, data.y, optimizer=bp.Adam(0.05), steps=3000)
    np.testing.assert_array_equal(model.predict(data.x) > 0.5, data.y > 0.5)


def test_dosage_descent_has_the_published_steps(backend_name: str) -> None:
    """From 0 at learning rate 0.1: 1.5655, 2.1917, ..., and after 10 steps 2.6089, the step size being below 0.001."""
    data, seen = bp.data.load("dosage"), []
    model = bp.Model(dosage(), backend_name, "float64")
    history = model.fit(
        data.x, data.y, optimizer=bp.SGD(0.1), steps=1000, only="1.bias", stop=bp.StepSizeBelow(1e-3),
        callbacks=lambda m, epoch: seen.append(m.parameters["1.bias"][0]),
    )  # fmt: skip
    np.testing.assert_allclose(seen[:2], [1.565510838057775, 2.191715173280885], rtol=oracle_rtol())
    assert seen[-1] == pytest.approx(2.608911137247537, rel=oracle_rtol())
    assert (history.steps, history.stopped_by) == (10, "step size below 0.001")
    np.testing.assert_allclose(
        history.step_size[[0, 9]], [1.565510838057775, 0.0004103892731318393], rtol=after_thousands_of_steps_rtol()
    )
    assert history.loss[0] == pytest.approx(20.423597677589214, rel=oracle_rtol())


def test_dosage_stops_at_the_same_step_without_callbacks(backend_name: str) -> None:
    """Many steps run between two looks of the host; the rule still ends the run at the very step."""
    data, model = bp.data.load("dosage"), bp.Model(dosage(), backend_name, "float64")
    history = model.fit(data.x, data.y, optimizer=bp.SGD(0.1), steps=1000, only=["1.bias"], stop=bp.StepSizeBelow(1e-3))
    assert history.steps == 10
    assert model.parameters["1.bias"][0] == pytest.approx(2.608911137247537, rel=oracle_rtol())
    fresh = bp.Model(dosage(), "numpy", "float64").parameters
    for name in fresh.keys() - {"1.bias"}:
        np.testing.assert_array_equal(model.parameters[name], fresh[name])


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_course_network_has_the_published_gradients(strength: float, backend_name: str) -> None:
    """The 38 gradients of the course's gradient check (3-5-3, sigmoid, sums of sines as weights), lambda / 2m penalty."""
    theta = [_sines(5, 4), _sines(3, 6)]
    layers = [bp.Dense(n, "sigmoid", bias="column-first", weight_init=t.T) for n, t in zip((5, 3), theta, strict=True)]
    loss = bp.Loss("binary_cross_entropy", "batch_mean")
    network = bp.Network(3, layers, loss, bp.L2(strength, per_sample=True))
    labels = np.array([2, 3, 1, 2, 3]) - 1
    value, gradients = bp.Model(network, backend_name, "float64").loss_and_gradients(_sines(5, 3), np.eye(3)[labels])
    unrolled = np.concatenate([gradients[f"{i}.weight"].T.ravel(order="F") for i in (0, 1)])
    assert value == pytest.approx(COURSE[strength][0], rel=oracle_rtol())
    np.testing.assert_allclose(unrolled, COURSE[strength][1], rtol=0, atol=oracle_rtol())


def _sines(rows: int, columns: int) -> np.ndarray:
    return (np.sin(np.arange(1, rows * columns + 1)) / 10).reshape(columns, rows).T


def test_simultaneous_and_sequential_updates_give_the_published_losses(backend_name: str) -> None:
    """One step of Mazur's network: 0.291027774 when all weights move at once, 0.291027924 when the output moves first."""
    for update, expected in (("simultaneous", 0.29102777369359933), ("sequential", 0.29102792390544197)):
        model = bp.Model(mazur(), backend_name, "float64")
        model.fit(MAZUR_X, MAZUR_Y, optimizer=bp.SGD(0.5), steps=1, only="*.weight", update=update)
        assert model.evaluate(MAZUR_X, MAZUR_Y)["loss"] == pytest.approx(expected, rel=oracle_rtol())


def test_mazur_after_10000_steps(backend_name: str) -> None:
    model = bp.Model(mazur(), backend_name, "float64")
    history = model.fit(MAZUR_X, MAZUR_Y, optimizer=bp.SGD(0.5), steps=10000, only="*.weight")
    assert history.loss[9999] == pytest.approx(3.510854812251263e-05, rel=after_thousands_of_steps_rtol())
    assert model.evaluate(MAZUR_X, MAZUR_Y)["loss"] == pytest.approx(
        3.510187782978859e-05, rel=after_thousands_of_steps_rtol()
    )


# w1, b1, w2, b2, w3, w4 after 500 epochs: one sample at a time, and all three at once
ONLINE = [
    1.4792734393249434,
    -0.5678659409642612,
    2.69812208872669,
    -0.25758617265288614,
    -4.240239164788934,
    1.5834988308012274,
]
FULL = [
    1.4281577734675848,
    -0.6094402037781238,
    2.6311663734874773,
    -0.27415654973296394,
    -3.889455862196467,
    1.3510193408073197,
]


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("batch_size", "expected"), [(1, ONLINE), (None, FULL)])
def test_online_and_full_batch_descent_reach_different_parameters(
    batch_size: int | None, expected: list[float], backend_name: str
) -> None:
    """500 epochs of the book's relu network; its notebook meant the full batch and ran one sample at a time."""
    hidden = bp.Dense(2, "relu", weight_init=[[0.06, 3.49]])
    output = bp.Dense(1, bias=False, weight_init=[[-4.11], [2.74]])
    data, network = bp.data.load("dosage"), bp.Network(1, [hidden, output], "sum_squared_residuals")
    model = bp.Model(network, backend_name, "float64")
    model.fit(data.x, data.y, optimizer=bp.SGD(0.01), epochs=500, batch_size=batch_size, shuffle=False)
    p = model.parameters
    (w1, w2), (b1, b2), (w3, w4) = p["0.weight"][0], p["0.bias"], p["1.weight"][:, 0]
    np.testing.assert_allclose([w1, b1, w2, b2, w3, w4], expected, atol=published_atol(9))


COURSE = {
    0.0: (2.100950569902465, [
        -0.009278252357988553, 0.008899119595669549, -0.008360107617464878, 0.007628135510829697,
        -0.006747983700318727, -3.0497891351970835e-06, 1.428694425341254e-05, -2.593831000235382e-05,
        3.698832344314105e-05, -4.6875976885170535e-05, -0.0001750600823405783, 0.00023314635652461608,
        -0.0002874687293451203, 0.0003353203472161939, -0.0003762155867434089, -9.626606195300452e-05,
        0.0001179826657957097, -0.00013714970603439315, 0.00015324708160012582, -0.00016656029419676017,
        0.3145449700538522, 0.11105658821714429, 0.09740069696443916, 0.164090818795005,
        0.05757364934941238, 0.05045758548622866, 0.1645679322878899, 0.057786737849711244,
        0.05075301729088548, 0.15833933388389226, 0.05592352960098067, 0.049162084115011565,
        0.15112752746625063, 0.05369670091028243, 0.04714562485252806, 0.14956833471681857,
        0.05315420524262197, 0.046559718625936566,
    ]),
    3.0: (2.146359815024358, [
        -0.009278252357988553, 0.008899119595669549, -0.008360107617464878, 0.007628135510829697,
        -0.006747983700318727, -0.016767979681070747, 0.039433482867380756, 0.05933555648740055,
        0.024764097437948534, -0.03268814263024736, -0.06017447247538279, -0.031961228723501475,
        0.024922553480253334, 0.059771761688908416, 0.0386410548226836, -0.01737046506185692,
        -0.05756586684697769, -0.04519638451233496, 0.009145879661377266, 0.0546101547494609,
        0.3145449700538522, 0.11105658821714429, 0.09740069696443916, 0.11868266907652932,
        3.819286962407353e-05, 0.03369265559429311, 0.20398712821101725, 0.11714823264711414,
        0.07548012640539087, 0.12569806723053006, -0.004075882792061544, 0.01696770903498547,
        0.17633754967584908, 0.11313314225197466, 0.08616289526195507, 0.13229413571691465,
        -0.004529644270151435, 0.0015004838196360018,
    ]),
}  # fmt: skip
