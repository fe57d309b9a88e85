"""`bpengine check`: the gradients of a network or a saved model before every oracle."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

import bpengine as bp
from bpengine import data
from bpengine.check import Report, check_gradients
from bpengine.check.report import HEADS
from bpengine.cli import _backends, _build, _names, _source
from bpengine.cli._output import columns, pairs, print_json, show
from bpengine.data import Dataset
from bpengine.errors import ConfigError

HELP = """\
Check the hand-written gradients of a network against independent oracles.

JAX autodiff in float64, finite differences, the complex step where it applies, random inner products. The network is
that of a model file, or a fresh one for the data. A failure names the worst element and the guilty kernel. Exit codes:
0 passed, 1 failed, 2 a mistake in what was asked.

\b
Examples:
  bpengine check iris
  bpengine check digits --layers 64,32 --activation gelu --rows 32 --backend jax
  bpengine check model.safetensors people.csv --target income --json
"""
FAILED = 1


def check(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] FILE_OR_NAME",
            help="A model file, if there is one, then the rows: a file, or the name of a set: "
            f"{', '.join(data.names())}.",
        ),
    ],
    target: _source.Target = None,
    layers: _build.Layers = "64,32",
    activation: _build.Activation = "relu",
    loss: _build.LossName = None,
    backend: _build.BackendName = "numpy",
    dtype: _build.Dtype = "float32",
    rows: Annotated[int, typer.Option(min=1, help="Rows to take the loss over, drawn at random.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Draws the rows, initial weights, directions.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check and print the report."""
    if len(sources) > 2:
        raise ConfigError(f"check requires [MODEL] FILE_OR_NAME, got {len(sources)} names: {' '.join(sources)}.")
    _backends.allow_float64(backend)
    named = bp.Loss(loss) if loss else None
    if len(sources) == 2:
        model = bp.load(sources[0], backend)
        found = _source.load(sources[1], target, model.network.loss)
        x, y = draw(found.x, _names.renumbered(found, model.class_names), rows, seed)
    else:
        found = _source.load(sources[0], target, named)
        model = bp.Model(fresh(found, layers, activation, named), backend, dtype, seed)
        x, y = draw(found.x, found.y, rows, seed)
    report = check_gradients(model, x, y, seed=seed)
    print_json(report.to_dict()) if as_json else _print(report)
    if not report.passed:
        raise typer.Exit(FAILED)


def fresh(found: Dataset, layers: str, activation: str, loss: bp.Loss | None) -> bp.Network:
    """Return a network for a data set, not trained."""
    return _build.network(found, _build.hidden_layers(layers, activation, 0.0), loss, 0.0)


def draw(x: np.ndarray, y: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some rows, drawn at random, in their order."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(x))[:rows])
    return np.asarray(x[chosen]), np.asarray(y[chosen])


def _print(report: Report) -> None:
    verdict = f"{'passed' if report.passed else 'FAILED'}: gradients of {report.subject}, value {report.loss:.6g}"
    findings = ["", *report.findings()] if not report.passed else []
    show(verdict, *findings, "", columns(HEADS, report.rows()), "", pairs(report.notes()))
