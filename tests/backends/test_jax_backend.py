"""The JAX backend: why it cannot run, which precisions it takes, and what XLA is told about matrix products."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_jax import JaxBackend
from bpengine_jax.backend import MATMUL

import bpengine as bp
from bpengine.extras import install_command


def run_python(code: str, **environment: str) -> str:
    """Run code in a new process without the settings of this one, and return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("missing", ["jax", "jaxlib"])
def test_missing_jax_or_jaxlib_is_reported_as_not_installed(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    original = importlib.util.find_spec
    hidden = ("jax", "jaxlib") if missing == "jax" else ("jaxlib",)
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: None if n in hidden else original(n, *more))
    if missing == "jaxlib" and original("jax") is None:
        missing = "jax"
    with pytest.raises(bp.BackendUnavailable, match=f"'{missing}' is not installed") as caught:
        bp.get_backend("jax")
    assert "backend 'jax' cannot run here (not installed)" in str(caught.value)
    assert install_command("jax") in str(caught.value)


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError", "AttributeError"])
def test_jax_and_jaxlib_of_different_releases_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str
) -> None:
    for name, text in (("jax", f"raise {error}('jaxlib is version 0.4, but this JAX needs 0.9')"), ("jaxlib", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(bp.BackendUnavailable, match=r"jaxlib is version 0\.4") as caught:
        bp.get_backend("jax")
    assert "(version mismatch)" in str(caught.value)
    assert install_command("jax", upgrade=True) in str(caught.value)


def test_jax_without_a_device_is_reported(jax: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(*args: Any) -> Any:
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, "local_devices", devices)
    assert JaxBackend.availability().reason == "no device"
    with pytest.raises(bp.BackendUnavailable, match=r"\(no device\).*Unable to initialize.*Unset JAX_PLATFORMS"):
        bp.get_backend("jax")


def test_ready_names_version_and_platform(jax: Any) -> None:
    status = JaxBackend.availability()
    assert status.ready
    assert status.detail == f"JAX {jax.__version__} on {jax.devices()[0].platform}"


@pytest.mark.parametrize("device", ["abacus", "abacus:0", "cpu:99", "cpu:first", "cpu:-1"])
def test_an_unknown_device_is_refused_and_the_known_are_named(jax: Any, device: str) -> None:
    with pytest.raises(bp.BackendUnavailable, match=f"no device '{device}' .no device.") as caught:
        bp.get_backend("jax", device=device)
    assert f"It has: {jax.devices()[0].platform}:0" in str(caught.value)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_the_device_asked_for_is_used(jax: Any, device: str) -> None:
    backend = bp.get_backend("jax", device=device)
    assert backend.device == "cpu:0"
    assert backend.asarray([1.0]).devices() == {jax.devices("cpu")[0]}


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_reduced_products_are_refused_on_a_cpu(jax: Any, precision: str) -> None:
    with pytest.raises(bp.ConfigError, match=f"on a CPU computes in float32 or float64, got precision '{precision}'"):
        bp.get_backend("jax", precision=precision, device="cpu")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("default", ["enable_x64", "default_matmul_precision", "numpy_rank_promotion"])
def test_the_oracle_works_in_float64_whatever_the_defaults_are(default: str, jax: Any) -> None:
    others = {"enable_x64": False, "default_matmul_precision": "bfloat16", "numpy_rank_promotion": "raise"}
    code = (
        f"import jax; jax.config.update('jax_{default}', {others[default]!r})\n"
        "import bpengine as bp\n"
        "from bpengine.check import autodiff_gradients\n"
        "net = bp.Network(2, [bp.Dense(1, 'tanh')], 'mean_squared_error')\n"
        "_, gradients = autodiff_gradients(net, *net.init(0), [[0.5, 2.0]], [1.0])\n"
        "print(gradients['0.weight'].dtype)\n"
    )
    assert run_python(code) == "float64"


def exported(jax: Any, function: Any, dtype: Any = np.float32) -> str:
    """Return what a function of two matrices would hand to a GPU, which need not be here."""
    from jax import export

    argument = jax.ShapeDtypeStruct((4, 4), dtype)
    return str(export.export(jax.jit(function), platforms=["cuda"])(argument, argument).mlir_module())


def products(module: str) -> list[str]:
    return [line for line in module.splitlines() if "stablehlo.dot_general" in line]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_products_are_compiled_at_the_highest_precision(jax: Any, precision: str) -> None:
    compiled = bp.get_backend("jax", precision=precision, device="cpu").compile(lambda x, w: (x @ w) @ w.T)
    multiplications = products(exported(jax, compiled, np.dtype(precision)))
    assert len(multiplications) == 2
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in multiplications)
    left_to_the_library = products(exported(jax, lambda x, w: x @ w))
    assert "HIGHEST" not in left_to_the_library[0]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_products_of_a_single_kernel_call_have_the_highest_precision(jax: Any, precision: str) -> None:
    """Explanations and the search for the first non-finite number call kernels so."""
    ops = bp.get_backend("jax", precision=precision, device="cpu").ops()

    def there_and_back(x: Any, w: Any) -> Any:
        y, residual = ops.dense_fwd(x, w, w[0])
        return ops.backward("dense")(residual, y, need_dx=True)

    multiplications = products(exported(jax, there_and_back, np.dtype(precision)))
    assert len(multiplications) == 3
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in multiplications)


def test_every_product_of_a_network_is_at_the_highest_precision(jax: Any) -> None:
    backend = bp.get_backend("jax", device="cpu")
    net = bp.Network(4, [bp.Dense(4, "tanh"), bp.Dense(4)], "mean_squared_error")
    params, running = net.init(0)
    arrays = {name: backend.asarray(value, "float32") for name, value in params.items()}

    def gradients(x: Any, target: Any) -> Any:
        return net.loss_and_gradients(backend.ops(), arrays, running, x, target, None, bp.layers.Run(True))[:2]

    multiplications = products(exported(jax, backend.compile(gradients)))
    assert len(multiplications) == 5  # two forward, two for the weights, one for the hidden layer
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in multiplications)


@pytest.mark.parametrize(("precision", "mark"), [("tf32", "tf32"), ("bfloat16", "bf16")])
def test_reduced_products_name_their_algorithm(jax: Any, precision: str, mark: str) -> None:
    with jax.default_matmul_precision(MATMUL[precision]):
        (multiplications,) = products(exported(jax, lambda x, w: x @ w))
    assert f"lhs_precision_type = {mark}, rhs_precision_type = {mark}, accumulation_type = f32" in multiplications


def test_an_epoch_is_compiled_in_the_same_precision(jax: Any) -> None:
    traced_at = []

    def step(state: Any, rows: Any, lr: Any) -> Any:
        traced_at.append(jax.config.jax_default_matmul_precision)
        return state, {"halt": lr[0] < 0}

    backend = bp.get_backend("jax", device="cpu")
    backend.run_epoch(step, {"w": backend.asarray([1.0])}, (), None, np.ones(2, np.float32))
    assert traced_at
    assert set(traced_at) == {MATMUL["float32"]}
    assert jax.config.jax_default_matmul_precision != MATMUL["float32"]  # and the process is left as it was
