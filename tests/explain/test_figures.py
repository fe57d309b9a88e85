"""The figures: what is written and drawn in them is the engine's own; they are saved whole, and nothing global changes."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.cli import main
from bpengine.errors import ConfigError, DataError, NonFiniteError, ShapeError
from bpengine.explain import figures
from bpengine.explain.figures.canvas import number, write
from bpengine.explain.figures.label_placement import places as label_places
from bpengine.explain.figures.network_layout import diagram
from bpengine.explain.sweeps.trajectory import Walk
from bpengine.extras import install_command
from bpengine.i18n.phrases.causes import RULES
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import translated_rule, translator
from bpengine.output.dark_svg import DARK
from bpengine.training.history import Epoch
from tests.explain.networks import dosage, xor
from tests.not_finite import put
from tests.tolerances import correlation_atol, value_rtol

TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"
ROOT = Path(__file__).parents[2]


def texts(figure: Any) -> list[str]:
    """Return every text of a figure, drawn once so that nothing is left to be laid out."""
    from matplotlib.text import Text

    figure.savefig(Path("/dev/null"), format="svg")
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def cut_off(figure: Any) -> list[str]:
    """Return the texts around the axes that the edge of the paper cuts off."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    return [t.get_text() for t in figure.texts if t.get_window_extent(renderer).x1 > figure.bbox.x1]


def lines(figure: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the labelled lines of a figure's first axes."""
    curves = figure.axes[0].get_lines()
    return {str(line.get_label()): (line.get_xdata(), line.get_ydata()) for line in curves}


def descended() -> tuple[bp.Model, Any, Any, bp.History]:
    model, x, y = dosage()
    rule = bp.StepSizeBelow(1e-3)
    return model, x, y, model.fit(x, y, optimizer=bp.SGD(0.1), steps=1000, only="1.bias", stop=rule)


def mazur() -> tuple[bp.Model, Any, Any]:
    hidden = bp.Dense(2, "sigmoid", weight_init=[[0.15, 0.25], [0.2, 0.3]], bias_init=[0.35, 0.35])
    output = bp.Dense(2, "sigmoid", weight_init=[[0.4, 0.5], [0.45, 0.55]], bias_init=[0.6, 0.6])
    model = bp.Model(bp.Network(2, [hidden, output], "half_sum_squares"), dtype="float64")
    return model, [[0.05, 0.1]], [[0.01, 0.99]]


def planes(rng: np.random.Generator, classes: int, rows: int = 30) -> tuple[bp.Model, Any, Any]:
    network = bp.Network(2, [bp.Dense(5, "tanh"), bp.Dense(classes)], "softmax_cross_entropy")
    return bp.Model(network), rng.normal(size=(rows, 2)), rng.integers(0, classes, rows)


# the network


def test_network_shows_the_engines_values_weights_and_gradients() -> None:
    model, x, y = xor(slice(1, 2))
    trace, words = model.trace(x, y), texts(figures.network(model, x, y))
    for layer in trace.layers.values():
        for values in (layer.a[0], layer.parameters["weight"].ravel()):
            assert {number(v) for v in values} <= set(words)
        assert {f"∂ {number(v)}" for v in layer.dz[0]} <= set(words)
        assert {f"∂ {number(v, 3)}" for v in layer.gradients["weight"].ravel()} <= set(words)
    assert f"∂ {number(-0.1233517184)}" in words  # the output's gradient
    assert "target 1" in words
    assert "layer 0: Dense, sigmoid" in words


def test_network_writes_a_units_gradient_as_the_sum_it_is() -> None:
    model, x, y = mazur()
    trace = model.trace(x, y)
    deltas, weights = trace.layers["1"].dz[0], model.parameters["1.weight"][0]
    words = texts(figures.network(model, x, y, layer=0, unit=0))
    first, second = number(deltas[0]), f"({number(deltas[1])})"
    terms = f"{first}{TIMES}{number(weights[0])} + {second}{TIMES}{number(weights[1])}"
    assert f"dL/da = {terms} = {number(trace.layers['0'].da[0, 0])}" in words
    assert any(t.startswith("dL/dz") and t.endswith(f"= {number(trace.layers['0'].dz[0, 0])}") for t in words)


def test_network_draws_one_line_for_each_weight_and_none_twice(rng: np.random.Generator) -> None:
    layers = [bp.Dense(3, "tanh"), bp.LayerNorm(), bp.Activation("relu"), bp.Dense(2, bias=False)]
    model = bp.Model(bp.Network(2, layers, "softmax_cross_entropy"), dtype="float64")
    figure = figures.network(model, rng.normal(size=(4, 2)), [0, 1, 1, 0], sample=3)
    ends = [tuple(np.ravel(line.get_xydata())) for line in figure.axes[0].get_lines()]
    assert len(ends) == len(set(ends)) == (2 + 1) * 3 + 3 * 3 + 3 + 3 * 2
    assert any("Row 3 of 4" in t for t in texts(figure))


def spots(text: Any, renderer: Any) -> tuple[np.ndarray, Any]:
    """Return points of a text, and what says how many of some points lie on it."""
    turn, middle = np.deg2rad(text.get_rotation()), text.get_transform().transform(text.get_position())
    text.set_rotation(0.0)
    box = text.get_window_extent(renderer)
    text.set_rotation(np.rad2deg(turn))
    half = np.array([box.width, box.height]) / 2 * [1.0, 0.6]  # letters fill 0.6 of the height of a line
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 4)), -1).reshape(-1, 2)
    return middle + grid * half @ turned, lambda points: int((abs((points - middle) @ turned.T) < half).all(1).sum())


@pytest.mark.parametrize("units", [2, 3, 4])
def test_network_writes_no_number_of_a_line_over_another_text(units: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _, x, y = xor()
    layers = [bp.Dense(units, "sigmoid"), bp.Dense(1, "sigmoid")]
    figure = figures.network(bp.Model(bp.Network(2, layers, "half_sum_squares"), dtype="float64"), x, y)
    written = [text for text in figure.axes[0].texts if text.get_text()]
    renderer = FigureCanvasAgg(figure).get_renderer()
    places = [(text, *spots(text, renderer)) for text in written]
    covered = [
        (one.get_text(), other.get_text())
        for one, points, _ in places
        for other, _, on in places
        if one is not other and one.get_rotation() and on(points)
    ]
    assert covered == []


def test_no_line_strikes_a_number_of_another_through() -> None:
    network = bp.Network(2, [bp.Dense(2, "sigmoid"), bp.Dense(2, "sigmoid")], "half_sum_squares")
    drawn = diagram(bp.Model(network, dtype="float64").trace([[0.05, 0.1]], [[0.01, 0.99]]), 0)
    along = np.linspace(-0.15, 0.15, 5)  # the middle half of a text; where lines meet, its ends are near to others
    for line, (x, y) in label_places(drawn.lines):
        for other in drawn.lines:
            if other is not line and other.start.x == line.start.x:
                right, up = (
                    x + along * np.cos(line.angle) - other.start.x,
                    y + along * np.sin(line.angle) - other.start.y,
                )
                away = np.abs(up * np.cos(other.angle) - right * np.sin(other.angle))
                assert away.min() > 0.07, (line.start.unit, line.end.unit, other.start.unit, other.end.unit)


@pytest.mark.parametrize("bias", [True, False, "column", "column-first"])
def test_network_joins_each_weight_to_its_own_circles(bias: Any) -> None:
    dense = bp.Dense(2, bias=bias)
    model = bp.Model(bp.Network(2, dense, "mean_squared_error"), dtype="float64", seed=4)
    name = "0.weight"
    rows = len(model.parameters[name])
    weights = np.arange(1.0, 2 * rows + 1).reshape(rows, 2)
    model.parameters = {name: weights, **({"0.bias": [11.0, 12.0]} if bias is True else {})}
    from bpengine.explain.figures.network_layout import Weighted, diagram

    drawn = diagram(model.trace([[0.3, 0.4]], [[0.0, 1.0]]), 0)
    joins = {(line.start.unit, line.end.unit): line.weight for line in drawn.lines if isinstance(line, Weighted)}
    first = 1 if bias == "column-first" else 0
    expected = {(i, j): weights[i + first, j] for i in range(2) for j in range(2)}
    ones = {True: [11.0, 12.0], "column": weights[-1], "column-first": weights[0]}.get(bias)
    expected |= {} if ones is None else {(None, j): ones[j] for j in range(2)}
    assert joins == expected


@pytest.mark.parametrize(
    ("inputs", "units"), [(9, [2]), (2, [9]), (5, [5]), (1, [1] * 6)], ids=["inputs", "units", "parameters", "layers"]
)
def test_network_too_large_names_the_limit_and_what_to_use(inputs: int, units: list[int]) -> None:
    model = bp.Model(bp.Network(inputs, [bp.Dense(n) for n in units], "mean_squared_error"))
    shape = f"{inputs}-{'-'.join(map(str, units))}"
    with pytest.raises(
        ConfigError, match=rf"at most 5 layers, 8 units and 24 parameters.*{shape}.*gradient_histograms"
    ):
        figures.network(model, np.zeros((1, inputs)), np.zeros((1, units[-1])))


def test_network_refuses_half_a_choice_and_rows_that_do_not_exist() -> None:
    model, x, y = mazur()
    with pytest.raises(ConfigError, match="layer and unit together"):
        figures.network(model, x, y, layer=0)
    with pytest.raises(ConfigError, match="units 0 to 1"):
        figures.network(model, x, y, layer=0, unit=7)
    with pytest.raises(ConfigError, match="row from 0 to 0"):
        figures.network(model, x, y, sample=1)


class Outside(bp.Layer):
    """Doubles its input without a kernel."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x + x, None, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return dy + dy, {}


def test_network_says_that_a_layer_computes_outside_of_kernels() -> None:
    network = bp.Network(1, [bp.Dense(1, "tanh"), Outside(), bp.Dense(1)], "half_sum_squares")
    model = bp.Model(network, dtype="float64")
    words = " ".join(texts(figures.network(model, [[1.0]], [[0.0]], layer=0, unit=0)))
    assert "computes outside of kernels" in " ".join(words.split())
    assert "dL/dz = dL/da" in words
    assert "nothing comes back" not in words


def test_network_marks_numbers_that_are_not_finite() -> None:
    model, x, y = mazur()
    put(model, {"0.weight": [[np.nan, 0.25], [0.2, 0.3]]})
    figure = figures.network(model, x, y, layer=0, unit=0)
    words = texts(figure)
    assert "nan (!)" in words
    assert any("First cause: parameter '0.weight', row 0, column 0 = nan (1 of 4" in t for t in words)
    assert cut_off(figure) == []


# the loss curve


def test_loss_curve_draws_the_history() -> None:
    *_, history = descended()
    drawn = lines(figures.loss_curve(history))
    (label,) = [name for name in drawn if "stopped after" in name]
    assert f"stopped after {history.steps} steps by: {history.stopped_by}" in label
    np.testing.assert_array_equal(drawn[label][0], np.arange(history.steps))
    np.testing.assert_array_equal(drawn[label][1], history.loss)


def test_loss_curve_names_a_limit_of_steps_or_epochs_as_one() -> None:
    model, x, y = xor()
    words = texts(figures.loss_curve({"a": model.fit(x, y, steps=3), "b": model.fit(x, y, epochs=1)}))
    for label in ("a; stopped after 3 steps by: limit of 3 steps", "b; stopped after 1 step by: limit of 1 epoch"):
        assert label in words


def test_loss_curve_scale_follows_the_losses() -> None:
    *_, history = descended()
    assert figures.loss_curve(history).axes[0].get_yscale() == "log"
    assert figures.loss_curve(history, log=False).axes[0].get_yscale() == "linear"
    assert figures.loss_curve(bp.History(np.array([3.0, 1.0]))).axes[0].get_yscale() == "linear"
    assert figures.loss_curve(bp.History(np.array([3.0, 0.0]))).axes[0].get_yscale() == "linear"


def test_loss_curve_of_several_fits_draws_steps_epochs_and_validation(rng: np.random.Generator) -> None:
    runs = {}
    for name, rule in (("fast", bp.Adam(0.01)), ("slow", bp.SGD(0.01))):
        model, x, y = planes(rng, 3)
        runs[name] = model.fit(x, y, optimizer=rule, epochs=4, batch_size=10, validation=(x, y))
    figure = figures.loss_curve(runs)
    drawn = [np.asarray(line.get_xydata()) for line in figure.axes[0].get_lines()]
    for run in runs.values():
        ends = [epoch.steps for epoch in run.epochs]
        for x_, y_ in (
            (np.arange(run.steps), run.loss),
            (ends, [epoch.loss for epoch in run.epochs]),
            (ends, run.validation_loss),
        ):
            assert any(np.array_equal(d, np.column_stack([x_, y_])) for d in drawn)
    words = texts(figure)
    assert {"validation", "where the fit ended", "thin: each step; thick: mean of each epoch"} <= set(words)
    assert any(t.startswith("fast; stopped after 12 steps") for t in words)


def test_loss_curve_marks_losses_that_are_not_finite() -> None:
    model, x, y = dosage()
    with pytest.raises(NonFiniteError) as caught:
        model.fit(x, y, optimizer=bp.SGD(1e200), steps=9)
    assert isinstance(caught.value.history, bp.History)
    loss = caught.value.history.loss
    bad = np.flatnonzero(~np.isfinite(loss))
    drawn = lines(figures.loss_curve(caught.value.history))
    (label,) = [name for name in drawn if name.startswith("not finite")]
    assert label == f"not finite: {len(bad)}, first at step {bad[0]}"
    np.testing.assert_array_equal(drawn[label][0], bad)


def test_loss_curve_of_nothing_but_nan_is_drawn() -> None:
    assert "not finite: 2, first at step 0" in texts(figures.loss_curve(bp.History(np.array([np.nan, np.inf]))))


def test_loss_curve_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ConfigError, match="at least one step, got an empty one named 'b'"):
        figures.loss_curve({"b": bp.History()})
    with pytest.raises(ConfigError, match="1 to 4 histories, got 0"):
        figures.loss_curve([])
    with pytest.raises(ConfigError, match="requires a History"):
        figures.loss_curve([[1.0, 2.0]])


# the sweep


def test_sweep_draws_the_curve_and_the_descent_point_by_point() -> None:
    model, x, y, history = descended()
    swept = bp.sweep(model, x, y, "1.bias", [0.0, 1.0, 2.0, 3.0], history=history)
    figure = figures.sweep(swept)
    drawn = lines(figure)
    np.testing.assert_allclose(drawn["loss"][1], [20.4236, 7.7685, 1.1134, 0.4583], atol=1e-4)
    np.testing.assert_array_equal(drawn["loss"][1], swept.loss)
    (walk,) = [xy for name, xy in drawn.items() if name.startswith("descent, 10 steps: value - slope x learning rate")]
    assert swept.descent is not None
    np.testing.assert_array_equal(walk[0], [p.value[0] for p in swept.descent.points])
    np.testing.assert_array_equal(walk[1], history.loss)
    words = texts(figure)
    assert {
        "1",
        "2",
        "3",
        "4\N{EN DASH}10",
        "start 0",
        f"slope at the start: {number(-15.66)}",
        "end of the descent: 2.609",
    } <= set(words)
    assert "stopped after 10 steps by: step size below 0.001" in words


def test_sweep_names_plain_descent_only_for_plain_descent() -> None:
    model, x, y = dosage()
    history = model.fit(x, y, optimizer=bp.Adam(0.1), steps=5, only="1.bias")
    words = texts(figures.sweep(bp.sweep(model, x, y, "1.bias", [0.0, 1.0], history=history)))
    assert "descent, 5 steps" in words


def test_sweep_without_descent_marks_the_model_and_sorts_the_values() -> None:
    model, x, y = dosage(b3=1.5)
    drawn = lines(figures.sweep(bp.sweep(model, x, y, "1.bias", [3.0, 0.0])))
    np.testing.assert_array_equal(drawn["loss"][0], [0.0, 3.0])
    assert list(drawn["the model, 1.5"][0]) == [1.5, 1.5]


def test_sweep_of_two_parameters_draws_the_trajectory() -> None:
    model, x, y = dosage()
    names = ["1.weight[0,0]", "1.bias[0]"]
    walk = Walk(model, names)
    history = model.fit(x, y, optimizer=bp.SGD(0.01), epochs=3, only=["1.*"], callbacks=walk)
    grid = [np.linspace(-2, 0, 4), np.linspace(0, 3, 5)]
    figure = figures.sweep(bp.sweep(model, x, y, names, grid, history=history, walk=walk))
    np.testing.assert_allclose(
        np.transpose(lines(figure)["descent, 3 steps"]), walk.visited, rtol=value_rtol("float64")
    )
    assert figure.axes[0].get_xlabel() == names[0]
    assert figure.axes[0].get_ylabel() == names[1]
    assert figure.axes[1].get_ylabel() == "loss"
    with pytest.raises(ConfigError, match="at least 2 values of each parameter, got 1 x 5"):
        figures.sweep(bp.sweep(model, x, y, names, [[0.0], grid[1]]))


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_the_numbers_of_a_scale_of_colours_differ(spread: float) -> None:
    _, x, y = xor()
    layer = bp.Dense(1, weight_init=[[spread], [spread]], bias_init=[0.5])
    model = bp.Model(bp.Network(2, [layer], "half_sum_squares"), dtype="float64")
    swept = bp.sweep(model, x, y + 1.0, ["0.weight[0,0]", "0.weight[1,0]"], [np.linspace(0, spread, 4)] * 2)
    for figure in (figures.sweep(swept), figures.decision_boundary(model, x, y)):
        texts(figure)  # draws it
        bar = figure.axes[1]
        shown = [bar.yaxis.get_major_formatter()(tick) for tick in bar.get_yticks()]
        assert len(set(shown)) == len(shown) > 2


def test_the_mark_of_the_model_at_the_edge_of_a_sweep_is_whole() -> None:
    model, x, y = xor()
    values = [np.linspace(0.0, value, 3) for value in (float(model.parameters["0.weight"][0, i]) for i in (0, 1))]
    figure = figures.sweep(bp.sweep(model, x, y, ["0.weight[0,0]", "0.weight[0,1]"], values))
    (mark,) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "*"]
    assert not mark.get_clip_on()


def test_a_long_title_is_broken_not_cut_off() -> None:
    model, x, y = dosage()
    names = ["1.weight[0,0]", "0.weight[0,1]"]
    figure = figures.sweep(bp.sweep(model, x, y, names, [[0, 1], [0, 1]]), lang="pt")
    assert cut_off(figure) == []
    assert any(text.endswith("o resto\ncongelado") for text in texts(figure))


@pytest.mark.parametrize("two", [False, True])
def test_sweep_marks_losses_that_are_not_finite(two: bool) -> None:
    model, x, y = dosage()
    names, values = (["1.bias", "0.bias[0]"], [[0.0, 1e200, 1.0], [0.0, 1.0]]) if two else ("1.bias", [0.0, 1e200, 1.0])
    words = texts(figures.sweep(bp.sweep(model, x, y, names, values)))
    assert any(t.startswith(f"not finite: {1 + two}, first at 1e+200") for t in words)


def test_sweep_figure_refuses_what_is_not_a_sweep() -> None:
    with pytest.raises(ConfigError, match=r"requires a Sweep, as bp\.sweep returns it"):
        figures.sweep(bp.History())


# the fitted curve


def test_fitted_curve_draws_predictions_data_residuals_and_earlier_epochs() -> None:
    model, x, y, _ = descended()
    model.parameters = {"1.bias": [2.0]}
    before = model.parameters
    figure = figures.fitted_curve(model, x, y, also={"b3 = 0": {"1.bias": [0.0]}}, feature="dosage")
    drawn = lines(figure)
    grid, curve = drawn["predicted"]
    np.testing.assert_array_equal(curve, model.predict(grid[:, None])[:, 0])
    assert grid[0] < x.min()
    assert grid[-1] > x.max()
    old, _, _ = dosage()
    np.testing.assert_array_equal(drawn["predicted, b3 = 0"][1], old.predict(grid[:, None])[:, 0])
    np.testing.assert_array_equal(np.column_stack(drawn["observed"]), np.column_stack([x, y]))
    (residuals,) = figure.axes[0].collections
    ends = [tuple(s[:, 1]) for s in residuals.get_segments()]
    np.testing.assert_array_equal(ends, np.column_stack([y, model.predict(x)]))
    assert figure.axes[0].get_xlabel() == "dosage"
    assert f"sum of squared residuals {number(model.evaluate(x, y)['loss'])}" in texts(figure)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_fitted_curve_names_residuals_only_where_they_can_be_seen() -> None:
    model, x, y, _ = descended()
    assert FIGURES["residuals"][0] not in texts(figures.fitted_curve(model, x, y))
    model.parameters = {"1.bias": [2.0]}
    assert FIGURES["residuals"][0] in texts(figures.fitted_curve(model, x, y))


def test_numbers_beside_faded_lines_are_not_faded() -> None:
    model, x, y = mazur()
    figure = figures.network(model, x, y, layer=0, unit=0)
    written = {text.get_text(): text for text in figure.axes[0].texts}
    lines_drawn = {line.get_alpha() for line in figure.axes[0].lines}
    assert 0.25 in lines_drawn
    assert {text.get_alpha() for text in written.values()} == {None}


def test_an_svg_is_dark_on_a_dark_screen(tmp_path: Path) -> None:
    model, x, y = mazur()
    drawn = figures.save(figures.network(model, x, y, layer=0, unit=0), tmp_path / "a.svg").read_text("utf-8")
    style = drawn.split("<style>")[1].split("</style>")[0]
    colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawn.split("</style>", 1)[1]))
    assert style.startswith("@media (prefers-color-scheme:dark){")
    assert colours <= set(DARK)
    assert all(f"fill: {colour}" in style for colour in colours)


def test_fitted_curve_of_several_outputs_and_not_finite(rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(1, [bp.Dense(2, "tanh"), bp.Dense(2)], "mean_squared_error"))
    x, y = rng.normal(size=(40, 1)), rng.normal(size=(40, 2))
    assert {"predicted, output 0", "observed, output 1"} <= lines(figures.fitted_curve(model, x, y)).keys()
    put(model, {"1.bias": [np.nan, 0.0]})
    assert any(t.startswith("not finite: 401") for t in texts(figures.fitted_curve(model, x, y)))


def test_fitted_curve_refuses_what_it_cannot_draw(rng: np.random.Generator) -> None:
    model, x, y = planes(rng, 2)
    with pytest.raises(ShapeError, match=r"1 input, got 2\. Use decision_boundary"):
        figures.fitted_curve(model, x, y)
    one = bp.Model(bp.Network(1, bp.Dense(2), "softmax_cross_entropy"))
    with pytest.raises(ConfigError, match="targets that are values"):
        figures.fitted_curve(one, [[0.0]], [0])
    model, x, y = dosage()
    with pytest.raises(ConfigError, match="at most 4 curves"):
        figures.fitted_curve(model, x, y, also={str(i): {"1.bias": [i]} for i in range(4)})


# the decision boundary


def test_decision_boundary_shades_by_the_output_and_counts_the_rows(rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "sigmoid_cross_entropy"), seed=1)
    x, y = rng.normal(size=(12, 2)), np.arange(12.0)[:, None] % 2
    figure = figures.decision_boundary(model, x, y, features=("a", "b"))
    mesh = figure.axes[0].collections[0]
    points = mesh.get_coordinates().reshape(-1, 2)
    np.testing.assert_allclose(mesh.get_array().ravel(), model.predict(points)[:, 0], rtol=1e-6)
    right = (model.predict(x) > 0.5) == (y > 0.5)
    words, drawn = texts(figure), lines(figure)
    assert f"{right.sum()} of 12 rows on the right side of the boundary" in words
    assert {"a", "b", "class 0", "class 1", "boundary: output = 0.5"} <= set(words)
    np.testing.assert_array_equal(np.column_stack(drawn["class 1"]), x[y[:, 0] == 1])
    np.testing.assert_array_equal(np.column_stack(drawn["on the wrong side"]), x[~right[:, 0]])


def test_decision_boundary_of_several_classes_names_them(rng: np.random.Generator) -> None:
    model, x, y = planes(rng, 3)
    model.class_names = ("setosa", "$x$", "virginica")
    figure = figures.decision_boundary(model, x, y)
    mesh = figure.axes[0].collections[0]
    coordinates = mesh.get_coordinates()
    points = (coordinates[:-1, :-1] + coordinates[1:, 1:]).reshape(-1, 2) / 2
    assert np.mean(mesh.get_array().ravel() == np.argmax(model.predict(points), axis=1)) > 0.999  # but for ties
    words = texts(figure)
    assert {"class setosa", "class $x$", "boundary: two outputs equal"} <= set(words)
    assert f"{int(np.sum(np.argmax(model.predict(x), axis=1) == y))} of 30 rows" in " ".join(words)


def test_decision_boundary_with_targets_minus_one_and_one(rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(2, bp.Dense(1, "tanh"), "mean_squared_error"))
    x, y = rng.normal(size=(6, 2)), np.array([[-1.0], [1.0]] * 3)
    assert {"class -1", "class 1"} <= set(texts(figures.decision_boundary(model, x, y, threshold=0.0)))
    with pytest.raises(DataError, match=r"one on each side of the threshold 0\.5, got 0, 1, 2"):
        figures.decision_boundary(model, x, np.array([[0.0], [1.0], [2.0]] * 2))


@pytest.mark.parametrize("classes", [1, 3])
def test_decision_boundary_marks_outputs_that_are_not_finite(rng: np.random.Generator, classes: int) -> None:
    loss = "mean_squared_error" if classes == 1 else "softmax_cross_entropy"
    model = bp.Model(bp.Network(2, bp.Dense(classes), loss))
    put(model, {"0.bias": np.full(classes, np.nan)})
    y = np.array([0, 1, 0, 1])
    figure = figures.decision_boundary(model, rng.normal(size=(4, 2)), y[:, None] if classes == 1 else y)
    words = texts(figure)
    assert any(t.startswith("not finite: 40401") for t in words)
    assert "0 of 4 rows on the right side of the boundary" in words
    marks = next(points for label, points in lines(figure).items() if label.startswith("not finite"))
    assert abs(np.corrcoef(marks)[0, 1]) < correlation_atol(200)  # all over the plane


def test_decision_boundary_refuses_what_it_cannot_draw(rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(3, bp.Dense(2), "softmax_cross_entropy"))
    with pytest.raises(ShapeError, match="2 inputs, got 3"):
        figures.decision_boundary(model, np.zeros((1, 3)), [0])
    with pytest.raises(ConfigError, match="at most 5 classes, got 6"):
        figures.decision_boundary(*planes(rng, 6))
    with pytest.raises(ConfigError, match="names of 2 features, got 1"):
        figures.decision_boundary(*planes(rng, 2), features=("a",))


# gradient histograms


def test_gradient_histograms_count_every_parameter_once(rng: np.random.Generator) -> None:
    layers = [bp.Dense(6, "relu", bias_init=np.array([-99.0] + [0.0] * 5)), bp.LayerNorm(), bp.Dense(3)]
    model = bp.Model(bp.Network(4, layers, "softmax_cross_entropy"), dtype="float64")
    partials = bp.sensitivity(model, rng.normal(size=(9, 4)), rng.integers(0, 3, 9))
    figure = figures.gradient_histograms(partials)
    written = "\n".join(texts(figure))
    assert len(figure.axes) == 3
    for axes, place in zip(figure.axes, ("0", "1", "2"), strict=True):
        values = np.concatenate([g.ravel() for name, g in partials.gradients.items() if name.startswith(f"{place}.")])
        zeros = int(np.sum(values == 0))
        assert sum(int(bar.get_height()) for bar in axes.patches) == values.size - zeros
        assert not zeros or f"exactly 0: {zeros} of {values.size}" in written
        median = float(np.median(np.abs(values[values != 0])))
        assert axes.get_lines()[0].get_xdata()[0] == median
    assert re.search(r"dead units: \d of 6 \(0", written)


def test_gradient_histograms_mark_what_is_not_finite() -> None:
    model, x, y = mazur()
    put(model, {"1.bias": [np.nan, 0.6]})
    assert any(
        "not finite:" in t and "(!)" in t for t in texts(figures.gradient_histograms(bp.sensitivity(model, x, y)))
    )


def test_gradient_histograms_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ConfigError, match="requires a Sensitivity"):
        figures.gradient_histograms({})
    model = bp.Model(bp.Network(1, bp.Activation("tanh"), "mean_squared_error"))
    with pytest.raises(ConfigError, match="1 to 12 layers with parameters, got 0"):
        figures.gradient_histograms(bp.sensitivity(model, [[1.0]], [[0.0]]))


# all of them


def every(lang: str) -> dict[str, Any]:
    """Return one figure of each kind."""
    rng = np.random.default_rng(7)
    model, x, y, history = descended()
    flat, rows, labels = planes(rng, 2)
    net, net_x, net_y = mazur()
    return {
        "network": figures.network(net, net_x, net_y, layer=0, unit=1, lang=lang),
        "loss": figures.loss_curve(history, lang=lang),
        "sweep": figures.sweep(bp.sweep(model, x, y, "1.bias", [0.0, 3.0], history=history), lang=lang),
        "fit": figures.fitted_curve(model, x, y, lang=lang),
        "boundary": figures.decision_boundary(flat, rows, labels, lang=lang),
        "gradients": figures.gradient_histograms(bp.sensitivity(flat, rows, labels), lang=lang),
    }


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(("lang", "number"), [("en", 0), ("pt", 1)])
def test_labels_are_in_the_language(lang: str, number: int) -> None:
    expected = {
        "network": ("network", "inputs", "key"), "loss": ("loss_curve", "steps", "loss_log", "the_end"),
        "sweep": ("loss_axis", "curve"), "fit": ("fitted", "predicted", "observed", "output_axis"),
        "boundary": ("boundary", "boundary_argmax"), "gradients": ("gradients", "count", "gradient_size"),
    }  # fmt: skip
    for kind, figure in every(lang).items():
        words = set(texts(figure))
        for key in expected[kind]:
            assert FIGURES[key][number] in words, (kind, key)
            assert FIGURES[key][number] == FIGURES[key][1 - number] or FIGURES[key][1 - number] not in words


@pytest.mark.parametrize(
    "rule",
    [
        bp.StepSizeBelow(0.01),
        bp.LossBelow(0.5),
        bp.NoImprovement(3),
        bp.NoImprovement(3, monitor="roc_auc"),
        "7 epochs",
        "9 steps",
        "1 epoch",
        "1 step",
        "no improvement on validation data for 1 epoch",
        "no improvement of f1 on validation data for 1 epoch",
        "interrupted",
        "callback",
    ],
)
def test_every_update_rule_has_a_portuguese_label(rule: Any) -> None:
    translated = translated_rule(str(rule), translator("pt"))
    assert translated != str(rule)
    assert re.findall(r"[\d.]+", translated) == re.findall(r"[\d.]+", str(rule))
    assert translated_rule(str(rule), translator("en")) == str(rule)
    assert translated_rule("a rule of one's own", translator("pt")) == "a rule of one's own"
    assert len(RULES) == 12


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown language 'fr'"):
        figures.loss_curve(bp.History(np.ones(2)), lang="fr")


def test_figures_change_no_global_setting_of_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        "names = set(matplotlib.rcParams) - {'backend'}  # to read that one loads pyplot\n"
        "before = {name: matplotlib.rcParams[name] for name in names}\n"
        "from tests.explain.test_figures import every, figures\n"
        f"for name, figure in every('en').items(): figures.save(figure, r'{tmp_path}/' + name + '.svg')\n"
        "assert {name: matplotlib.rcParams[name] for name in names} == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
    assert len(list(tmp_path.iterdir())) == 6


def test_importing_figures_does_not_load_matplotlib() -> None:
    code = "import sys, bpengine.explain.figures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_save_writes_the_same_bytes_each_time_and_keeps_what_exists(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"loss.{kind}"
    figures.save(figures.loss_curve(bp.History(np.array([2.0, 1.0]))), path)
    before = path.read_bytes()
    assert before[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    with pytest.raises(ConfigError, match="exists already"):
        figures.save(figures.loss_curve(bp.History(np.array([9.0, 1.0]))), path)
    assert path.read_bytes() == before
    figures.save(figures.loss_curve(bp.History(np.array([2.0, 1.0]))), path, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss.pngg", "unknown figure format 'pngg'. Did you mean 'png'"),
        ("loss", r"ends in \.png, \.svg or \.pdf"),
        ("nowhere/loss.png", "there is no folder"),
        ("folder.png", "it is a folder"),
    ],
)
def test_save_refuses_a_place_it_cannot_write(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=message):
        figures.save(figures.loss_curve(bp.History(np.ones(2))), tmp_path / name)


def test_missing_matplotlib_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ConfigError, match=rf"requires? matplotlib, which is not installed.*{re.escape(install_command('plot'))}"
    ):
        figures.loss_curve(bp.History(np.ones(2)))


def test_dollar_signs_are_printed_as_text() -> None:
    history = bp.History(
        np.ones(3), epochs=[Epoch(number=1, steps=3, loss=1.0, learning_rate=0.1, seconds=0.0)], stopped_by="$x"
    )
    figure = figures.loss_curve({"price $a_$": history})
    write(figure.axes[0], 0.0, 1.0, "$b_$")  # no formula: to set it as one fails
    assert {"price $a_$; stopped after 3 steps by: $x", "$b_$"} <= set(texts(figure))


def test_draw_makes_each_kind_by_name() -> None:
    model, x, y = dosage(b3=-2.0)
    drawn = lines(figures.draw("sweep", model, x, y, parameter="1.bias"))
    assert (drawn["loss"][0][0], drawn["loss"][0][-1]) == (-4.0, 0.0)
    flat, rows, labels = planes(np.random.default_rng(1), 2)
    titles = [figures.draw(kind, model, x, y).get_label() for kind in ("fit", "gradients", "network")]
    titles.append(figures.draw("boundary", flat, rows, labels, lang="pt").get_label())
    assert titles == [FIGURES[key][0] for key in ("fitted", "gradients", "network")] + [FIGURES["boundary"][1]]
    with pytest.raises(ConfigError, match="requires the name of a parameter"):
        figures.draw("sweep", model, x, y)
    with pytest.raises(ConfigError, match=r"unknown figure 'boundery'\. Did you mean 'boundary'"):
        figures.draw("boundery", model, x, y)


SUBJECT = ("explain", "2-3-1", "--data", "xor", "--activation", "sigmoid")


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(
    "options",
    [
        ("network", "--layer", 0, "--unit", 2, "--lang", "pt"),
        ("sweep", "--sweep", "1.bias=-1:1:5"),
        ("sweep", "--sweep", "1.bias=-1:1:5", "--sweep", "0.weight[0,1]=0,1,2"),
        ("gradients",),
        ("boundary",),
    ],
)
def test_the_command_line_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[Any, ...]) -> None:
    path = tmp_path / "made.svg"
    command = [str(part) for part in (*SUBJECT, "--out", path, "--figure", *options)]
    assert main(command) == 0, capsys.readouterr().err
    assert b"<svg" in path.read_bytes()
    assert main(command) == 2
    assert ("já existe" if "pt" in options else "exists already") in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--figure", "netwrok", "--out", "a.png"), "unknown figure 'netwrok'. Did you mean 'network'"),
        (("--figure", "network"), "--figure requires --out"),
        (("--figure", "network", "--out", "a.gif"), "unknown figure format 'gif'"),
        (("--figure", "sweep", "--out", "a.png"), "requires --sweep NAME=VALUES"),
        (("--figure", "network", "--sensitivity", "--out", "a.png"), "one thing at a time"),
        (("--figure", "fit", "--out", "a.png"), "requires a network with 1 input, got 2"),
    ],
)
def test_the_command_line_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SUBJECT, *options]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_the_pictures_of_the_documentation_are_there_and_small(tmp_path: Path) -> None:
    folder = ROOT / "docs" / "figures"
    pictures = list(runpy.run_path(str(folder / "make.py"))["make"](tmp_path))
    assert {path.name for path in pictures} == {path.name for path in folder.glob("*.svg")}
    assert max(path.stat().st_size for path in pictures) < 200_000


def test_figure_and_page_join_the_same_units_and_place_them_alike(rng: np.random.Generator) -> None:
    layers = [bp.Dense(3, bias="column-first"), bp.LayerNorm(), bp.BatchNorm(), bp.Activation("softmax"), bp.Dense(1)]
    model = bp.Model(bp.Network(2, layers, "mean_squared_error"), dtype="float64")
    trace = model.trace(rng.normal(size=(3, 2)), rng.normal(size=(3, 1)))
    from bpengine.explain.figures.network_layout import diagram
    from bpengine.explain.network_columns import columns

    on_page, drawn = columns(trace), diagram(trace, 0)
    assert [column.joined for column in on_page] == [False, True, True, False, True, True]
    assert [column.joined for column in drawn.columns] == [column.joined for column in on_page]
    assert on_page[0].marks == (None, 0, 1)
    joins = {(line.start.place, line.start.unit, line.end.unit) for line in drawn.lines}
    assert ("0", 0, 1) in joins
    assert ("1", 0, 1) not in joins
    assert ("2", 0, 1) in joins
