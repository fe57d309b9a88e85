"""The JAX backend computes under settings of its own, whatever the process is set to, and leaves the process as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.backends.test_jax_backend import run_python

OTHERS = {  # a setting of JAX that would get in the way, and the value that does
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_default_matmul_precision": "bfloat16",
}

# where JAX keeps the programs of tests; the last test runs without it, as users do
CACHED = {name: value for name, value in os.environ.items() if name.startswith("JAX_") and "_CACHE_" in name}

START = """
import jax, numpy as np
from jax import numpy as jnp
for name, value in {settings!r}.items():
    jax.config.update(name, value)

def process():
    mine = jnp.zeros(2) * 0.5
    names = ["jax_enable_x64", *{others!r}]
    return str(mine.dtype), str(jnp.asarray(1.0).dtype), *(getattr(jax.config, name) for name in names)

before = process()
import bpengine as bp
rng = np.random.default_rng(0)
x, y = rng.normal(size=(48, 3)), rng.integers(0, 3, 48)

class Doubled(bp.Layer):
    # operators and functions of the namespace outside of every kernel
    def forward(self, ops, params, running, x, run):
        return ops.xp.tanh(2.0 * x), x, {{}}

    def backward(self, ops, residual, dy, *, need_dx=True):
        return 2.0 * dy * (1.0 - ops.xp.tanh(2.0 * residual) ** 2), {{}}

    def outputs(self, inputs):
        return inputs

layers = [bp.Dense(5, "gelu"), bp.BatchNorm(), bp.Dropout(0.2), Doubled(), bp.Dense(3)]
net = bp.Network(3, layers, "softmax_cross_entropy", bp.L2(1e-3))

def close(a, b, dtype):
    assert a.dtype == b.dtype == dtype, (a.dtype, b.dtype)
    assert np.abs(a - b).max() < 2000 * np.finfo(dtype).eps * max(1.0, np.abs(b).max())
"""

TRAINING = """
for dtype in {dtypes!r}:
    ours, reference = (bp.Model(net, backend, dtype, seed=1) for backend in ("jax", "numpy"))
    for model in (ours, reference):
        model.fit(x, y, batch_size=16, epochs=2, validation=(x, y), weights=np.full(48, 0.5), clip_norm=1.0,
                  callbacks=[lambda model, epoch: process() != before])
        assert model.fits == 1
    for name, value in reference.parameters.items():
        close(ours.parameters[name], value, dtype)
    close(ours.predict(x), reference.predict(x), dtype)
    assert abs(ours.evaluate(x, y)["loss"] - reference.evaluate(x, y)["loss"]) < 2000 * np.finfo(dtype).eps
    found, wanted = (model.loss_and_gradients(x, y)[1] for model in (ours, reference))
    for name in wanted:
        close(found[name], wanted[name], dtype)
    assert process() == before
"""

EVERYTHING_ELSE = """
x, y = x[:6], y[:6]
net = bp.Network(3, [bp.Dense(2, "tanh"), Doubled(), bp.Dense(3)], "softmax_cross_entropy")
ours = bp.Model(net, "jax", dtype, seed=1)
found = wanted = ours.loss_and_gradients(x, y)[1]
assert ours.check(x, y, oracles="autodiff").passed
assert ours.trace(x, y).gradients["0.weight"].dtype == dtype
bp.explain(ours, x, y, layer=0, unit=1)
bp.sweep(ours, x, y, "0.bias[0]", [-1.0, 1.0])
ours.save({path!r})
again = bp.load({path!r}, backend="jax", layers={{"Doubled": Doubled}})
close(again.predict(x), ours.to("numpy").to("jax").predict(x), dtype)
backend = ours.backend
params = {{name: backend.asarray(value, dtype) for name, value in ours.parameters.items()}}
running = {{name: backend.asarray(value, dtype) for name, value in ours.running.items()}}
run = bp.layers.Run(True, backend.asarray(np.array([1, 0], np.uint32)))
rows = backend.asarray(x, dtype), backend.asarray(y)
loss, by_hand, _ = net.loss_and_gradients(backend.ops(), params, running, *rows, None, run)
assert loss.dtype == dtype
for name in wanted:
    close(backend.to_numpy(by_hand[name]), found[name], np.dtype(dtype))
close(backend.to_numpy(backend.take(rows[0], np.array([2, 0]))), x[[2, 0]].astype(dtype), np.dtype(dtype))
assert process() == before
plain = bp.Network(3, [bp.Dense(3)], "softmax_cross_entropy")
assert bp.compare_backends(plain, x, y, ["jax", "numpy"], dtype=dtype, steps=2).passed
assert process() == before
"""


def test_float64_backend_works_where_x64_is_disabled(tmp_path: Path, jax: Any) -> None:
    code = START.format(settings={"jax_enable_x64": False}, others=list(OTHERS))
    code += TRAINING.format(dtypes=["float32", "float64"])
    code += EVERYTHING_ELSE.format(path=str(tmp_path / "m.safetensors"))
    assert run_python(code + "print(dtype, before[0])", **CACHED) == "float64 float32"


@pytest.mark.thorough
def test_float32_backend_works_where_x64_is_enabled(jax: Any) -> None:
    code = START.format(settings={"jax_enable_x64": True}, others=list(OTHERS)) + TRAINING.format(dtypes=["float32"])
    assert run_python(code + "print(before[0])", **CACHED) == "float64"


@pytest.mark.thorough
def test_other_settings_of_the_process_change_nothing(jax: Any) -> None:
    code = START.format(settings=OTHERS, others=list(OTHERS)) + TRAINING.format(dtypes=["float32"])
    code += (
        "net = bp.Network(1, [bp.Dense(1)], 'mean_squared_error')\n"
        "try: bp.Model(net, 'jax').fit([[1.0], [2.0]], [3.0, -5.0], optimizer=bp.SGD(1e30), epochs=9)\n"
        "except bp.NonFiniteError: print('told')\n"
    )
    assert run_python(code, **CACHED) == "told"


def test_the_command_line_computes_in_float64_by_itself(tmp_path: Path, jax: Any) -> None:
    arguments = ["train", "iris", "--epochs", "2", "--backend", "jax", "--dtype", "float64", "--out"]
    code = (
        "from bpengine.cli import main\n"
        f"print('exit', main([*{arguments!r}, {str(tmp_path / 'm.safetensors')!r}]))\n"
        "import jax; print(jax.config.jax_enable_x64)\n"
    )
    assert run_python(code).splitlines()[-2:] == ["exit 0", "False"]
