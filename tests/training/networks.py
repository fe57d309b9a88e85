"""Networks and data that the training tests share."""

from __future__ import annotations

import numpy as np

import bpengine as bp

XOR_WEIGHTS = {
    "0.weight": [[0.351, -0.097, 0.457], [1.076, -0.165, -0.165], [1.116, 0.542, -0.331]],
    "1.weight": [[0.383], [-0.327], [-0.329]],
}


def xor_221(loss: str = "half_sum_squares") -> bp.Network:
    """Return the textbook's 2-2-1, coded 3-3-1: bias column in the first layer, no bias at the output."""
    hidden = bp.Dense(3, "sigmoid", bias="column", weight_init=XOR_WEIGHTS["0.weight"])
    return bp.Network(2, [hidden, bp.Dense(1, "sigmoid", bias=False, weight_init=XOR_WEIGHTS["1.weight"])], loss)


def dosage() -> bp.Network:
    """Return the dosage network with every parameter at its best but the last bias, which starts at 0."""
    hidden = bp.Dense(2, "softplus", weight_init=[[3.34, -3.53]], bias_init=[-1.43, 0.57])
    return bp.Network(1, [hidden, bp.Dense(1, weight_init=[[-1.22], [-2.30]])], "sum_squared_residuals")


def mazur() -> bp.Network:
    """Return Matt Mazur's 2-2-2 network."""
    hidden = bp.Dense(2, "sigmoid", weight_init=[[0.15, 0.25], [0.20, 0.30]], bias_init=[0.35, 0.35])
    output = bp.Dense(2, "sigmoid", weight_init=[[0.40, 0.50], [0.45, 0.55]], bias_init=[0.60, 0.60])
    return bp.Network(2, [hidden, output], "half_sum_squares")


MAZUR_X, MAZUR_Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])


def everything(classes: int = 3, units: int = 8) -> bp.Network:
    """Return a network with every kind of layer, both penalties, and every way to have a bias."""
    inner = [bp.Dense(units, "tanh", bias="column"), bp.LayerNorm(), bp.Dense(units, bias=False)]
    layers = [bp.Dense(units, "gelu"), bp.BatchNorm(), bp.Dropout(0.3), bp.Residual(inner), bp.Activation("silu")]
    last = bp.Dense(classes, bias="column-first")
    return bp.Network(5, [*layers, last], "softmax_cross_entropy", [bp.L2(0.3, per_sample=True), bp.L1(0.01)])


def labelled(
    rng: np.random.Generator, rows: int = 60, features: int = 5, classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs and labels that a network can learn."""
    x = rng.normal(size=(rows, features))
    return x, np.argmax(x[:, :classes] + 0.1 * rng.normal(size=(rows, classes)), axis=1)
