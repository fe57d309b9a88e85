"""Draw the pictures of the README and the guides: `python docs/figures/make.py [folder]`; needs bpengine[plot].

Every number in them is computed here, in float64; with one version of matplotlib the files come out the same each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.examples.known import known
from bpengine.explain import figures

LANGUAGES = {"en": "", "pt": ".pt-BR"}


def xor_row(lang: str) -> Any:
    """Draw the 2-2-1 network for exclusive or, its bias a column of ones, in one row."""
    entry = known("xor_221_bias_trick")
    hidden = bp.Dense(3, "sigmoid", bias="column", weight_init=np.transpose(entry.network["W1"]))
    output = bp.Dense(1, "sigmoid", bias=False, weight_init=np.transpose(entry.network["W2"]))
    model = bp.Model(bp.Network(2, [hidden, output], "half_sum_squares"), dtype="float64")
    row = slice(entry.data["worked_row"], entry.data["worked_row"] + 1)
    return figures.network(
        model, np.array(entry.data["X_with_ones"])[row, :2], np.array(entry.data["Y"])[row], lang=lang
    )


def hidden_unit(lang: str) -> Any:
    """Draw where a hidden unit's gradient comes from: gradient x weight + gradient x weight."""
    n = known("mazur_222").network
    hidden = bp.Dense(2, "sigmoid", weight_init=np.transpose(n["W1"]), bias_init=n["b1"])
    output = bp.Dense(2, "sigmoid", weight_init=np.transpose(n["W2"]), bias_init=n["b2"])
    model = bp.Model(bp.Network(2, [hidden, output], "half_sum_squares"), dtype="float64")
    return figures.network(model, [[0.05, 0.10]], [[0.01, 0.99]], layer=0, unit=0, lang=lang)


def dosage() -> tuple[bp.Model, Any, Any, bp.History]:
    """Return the dosage network, its last bias trained from 0, everything else at its optimum."""
    entry = known("statquest_dosage_b3")
    n, x, y = entry.network, np.array(entry.data["X"]), np.array(entry.data["Y"])
    hidden = bp.Dense(2, "softplus", weight_init=np.transpose(n["W1"]), bias_init=n["b1"])
    network = bp.Network(1, [hidden, bp.Dense(1, weight_init=np.transpose(n["W2"]))], "sum_squared_residuals")
    model = bp.Model(network, dtype="float64")
    rule = bp.StepSizeBelow(1e-3)
    return model, x, y, model.fit(x, y, optimizer=bp.SGD(0.1), steps=1000, only="1.bias", stop=rule)


def dosage_sweep(lang: str) -> Any:
    """Draw the sum of squared residuals as the last bias moves, with the descent walking down it."""
    model, x, y, history = dosage()
    return figures.sweep(bp.sweep(model, x, y, "1.bias", np.linspace(-0.5, 4.5, 101), history=history), lang=lang)


def dosage_fit(lang: str) -> Any:
    """Draw the curve against the data, at the end and on the way."""
    model, x, y, _ = dosage()
    also = {f"1.bias = {b}": {"1.bias": [float(b)]} for b in (0, 1, 2)}
    name = {"en": "dosage", "pt": "dosagem"}[lang]
    return figures.fitted_curve(model, x, y, also=also, feature=name, lang=lang)


def xor() -> tuple[bp.Model, Any, Any, bp.History]:
    """Return a network trained on exclusive or until its loss is below 0.01."""
    rows = bp.data.load("xor")
    network = bp.Network(2, [bp.Dense(4, "tanh"), bp.Dense(1)], "sigmoid_cross_entropy")
    model = bp.Model(network, dtype="float64", seed=3)
    history = model.fit(rows.x, rows.y, optimizer=bp.Adam(0.05), steps=1000, stop=bp.LossBelow(0.01))
    return model, rows.x, rows.y, history


def xor_boundary(lang: str) -> Any:
    """Draw which class the network gives to every point of the plane."""
    model, x, y, _ = xor()
    return figures.decision_boundary(model, x, y, features=("a", "b"), lang=lang)


def xor_loss(lang: str) -> Any:
    """Draw the loss of that training."""
    return figures.loss_curve(xor()[3], lang=lang)


PICTURES = {
    "xor-row": xor_row,
    "hidden-unit": hidden_unit,
    "dosage-sweep": dosage_sweep,
    "dosage-fit": dosage_fit,
    "xor-boundary": xor_boundary,
    "xor-loss": xor_loss,
}


def make(folder: Path) -> Iterator[Path]:
    """Write every picture in both languages; yield the files."""
    for name, drawing in PICTURES.items():
        for lang, ending in LANGUAGES.items():
            yield figures.save(drawing(lang), folder / f"{name}{ending}.svg", force=True)


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent):
        print(path)
