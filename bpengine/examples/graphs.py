"""Computational graphs of scalars and small vectors: C. Olah, CS231n's lecture 4, micrograd."""

from __future__ import annotations

from typing import Any

from bpengine.examples.known import known
from bpengine.examples.tape import Tape
from bpengine.examples.tools import Desk


def colah_computational_graph(desk: Desk) -> dict[str, Any]:
    """Compute e = (a + b)(b + 1) and its derivatives."""
    data, tape = known("colah_computational_graph").data, Tape(desk)
    a, b, one = tape.leaves(data["a"], data["b"], 1)
    c, d = tape.add(a, b), tape.add(b, one)
    e = tape.times(c, d)
    return {"c d e": tape.values(c, d, e), "de/da de/db": tape.slopes(e, a, b), "de/dc de/dd": tape.slopes(e, c, d)}


def cs231n_lecture4_circuits(desk: Desk) -> dict[str, Any]:
    """Compute the lecture's circuits."""
    return {**_sum_times(desk), **_sigmoid_neuron(desk), **_squared_norm(desk), **_staged(desk)}


def micrograd_readme(desk: Desk) -> dict[str, Any]:
    """Compute the README's expression g = f/2 + 10/f, and the slopes of f and g."""
    data, tape = known("micrograd_readme").data, Tape(desk)
    a, b, one = tape.leaves(data["a"], data["b"], 1)
    minus_a = tape.scale(a, -1)
    c = tape.add(a, b)
    d = tape.add(tape.times(a, b), tape.times(b, tape.times(b, b)))
    c = tape.add(c, tape.add(c, one))
    c = tape.add(c, tape.add(tape.add(one, c), minus_a))
    d = tape.add(d, tape.add(tape.scale(d, 2), tape.bend("relu", tape.add(b, a))))
    d = tape.add(d, tape.add(tape.scale(d, 3), tape.bend("relu", tape.add(b, minus_a))))
    e = tape.add(c, tape.scale(d, -1))
    f = tape.times(e, e)
    two, ten = tape.leaves(2, 10)
    g = tape.add(tape.over(f, two), tape.over(ten, f))
    numbers = (*tape.values(f, g), *tape.slopes(f, a, b), *tape.slopes(g, a, b))
    return dict(zip(("f", "g", "df/da", "df/db", "dg/da", "dg/db"), numbers, strict=True))


def _sum_times(desk: Desk) -> dict[str, Any]:
    tape = Tape(desk)
    x, y, z = tape.leaves(-2, 5, -4)
    f = tape.times(tape.add(x, y), z)
    return {"(x+y)z: f, df/dx, df/dy, df/dz": [*tape.values(f), *tape.slopes(f, x, y, z)]}


def _sigmoid_neuron(desk: Desk) -> dict[str, Any]:
    """Compute sigmoid(w0 x0 + w1 x1 + w2): the bias is the weight of a third input, 1."""
    ops = desk.ops
    z, linear = ops.dense_no_bias_fwd(desk.array([[-1, -2, 1]]), desk.array([[2], [-3], [-3]]))
    f, bent = ops.sigmoid_fwd(z)
    dx, dw = ops.dense_no_bias_bwd(linear, ops.sigmoid_bwd(bent, desk.array([[1]])))
    return {"sigmoid neuron f": desk.number(f), "dw0 dw1 dw2": desk.host(dw)[:, 0], "dx0 dx1": desk.host(dx)[0, :2]}


def _squared_norm(desk: Desk) -> dict[str, Any]:
    """Compute |W x|^2: with x as a row, the layer's weight is W transposed."""
    ops = desk.ops
    q, linear = ops.dense_no_bias_fwd(desk.array([[0.2, 0.4]]), desk.array([[0.1, -0.3], [0.5, 0.8]]))
    f, squares = ops.sum_squared_residuals_fwd(q, ops.xp.zeros_like(q))
    dx, dw = ops.dense_no_bias_bwd(linear, ops.sum_squared_residuals_bwd(squares, ops.xp.ones_like(f)))
    values = {"q": desk.host(q)[0], "f": desk.number(f), "dW": desk.host(dw).T, "dx": desk.host(dx)[0]}
    return {f"{name} of |Wx|^2": value for name, value in values.items()}


def _staged(desk: Desk) -> dict[str, Any]:
    """Compute (x + sigmoid(y)) / (sigmoid(x) + (x + y)^2) at (3, -4), and its numerator and denominator."""
    tape = Tape(desk)
    x, y = tape.leaves(3, -4)
    total = tape.add(x, y)
    top = tape.add(x, tape.bend("sigmoid", y))
    bottom = tape.add(tape.bend("sigmoid", x), tape.times(total, total))
    f = tape.over(top, bottom)
    return {
        "staged numerator, denominator": tape.values(top, bottom),
        "staged f(3,-4)=(x+s(y))/(s(x)+(x+y)^2)": tape.values(f)[0],
        "staged df/dx, df/dy": tape.slopes(f, x, y),
    }


EXAMPLES = {
    "cs231n_lecture4_circuits": cs231n_lecture4_circuits,
    "colah_computational_graph": colah_computational_graph,
    "micrograd_readme": micrograd_readme,
}
