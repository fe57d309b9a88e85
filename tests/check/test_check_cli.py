"""`bpengine check` and `bpengine compare`: what they print, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import typer

import bpengine as bp
from bpengine.backend import Availability, backend_class
from bpengine.cli.commands import check, compare
from bpengine.cli.exit_codes import exit_code
from bpengine.kernels import KERNELS


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=check.HELP)(check.check)
    app.command(help=compare.HELP)(compare.compare)

    def call(*args: object) -> tuple[int, str, str]:
        code = exit_code(lambda: app(args=[str(a) for a in args], standalone_mode=False))
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from bpengine_numpy import NumpyBackend

    right = KERNELS["relu"].backward
    assert right
    wrong = {"relu_bwd": lambda y, dy: -dy * (y > 0)}
    monkeypatch.setattr(NumpyBackend, "replacements", lambda self: wrong)


def test_check_passes(run: Any) -> None:
    code, out, err = run("check", "xor", "--layers", "3", "--rows", "4")
    assert (code, err) == (0, "")
    assert out.startswith("passed: gradients of network 2-3-1, mean_squared_error")
    assert "float64 on numpy, a copy of the float32 model on numpy" in " ".join(out.split())
    assert "inner products" in out
    rows = [line.split() for line in out.splitlines()[2:]]
    assert rows[0] == ["array", "oracle", "compared", "error", "ulp", "tolerance", "order", "ok"]
    assert ["x", "autodiff", "8"] in [row[:3] for row in rows]
    at_point, perturbed = out.split("at the perturbed point:\n")
    assert at_point.count("inner products") == perturbed.split("precision")[0].count("inner products") > 0
    assert "0.bias is all 0; 1.bias is 0; row 0 of x is all 0; " in " ".join(out.split())
    assert "a missing term or factor cannot be seen there" in " ".join(out.split())
    assert "everything moved by half to twice its own size, seed 0; value " in " ".join(out.split())


def test_in_eighty_columns_nothing_is_cut(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("check", "xor", "--layers", "", "--rows", "4")
    assert code == 0
    assert "…" not in out
    assert any(line.startswith("0.weight   inner products ") for line in out.splitlines())


def test_check_of_one_kernel_passes(run: Any) -> None:
    code, out, err = run("check", "--kernel", "divide")
    assert (code, err) == (0, "")
    assert out.startswith("passed: gradients of kernel divide, value ")
    assert "complex128, step 1e-100; every element" in " ".join(out.split())


@pytest.mark.usefixtures("broken")
def test_check_fails_with_code_1(run: Any) -> None:
    code, out, _ = run("check", "iris", "--layers", "3", "--rows", "8")
    assert code == 1
    assert "FAILED" in out
    assert "faulty: relu_bwd in layer 0, dx" in out
    assert "the sign is wrong" in out


@pytest.mark.thorough
@pytest.mark.usefixtures("broken")
def test_failing_checks_are_printed_as_json(run: Any) -> None:
    code, out, _ = run("check", "iris", "--layers", "3", "--rows", "8", "--json")
    assert (code, json.loads(out)["guilty"]["function"]) == (1, "relu_bwd")
    code, out, _ = run("compare", "iris", "--layers", "3", "--steps", "1", "--json")
    assert (code, json.loads(out)["first"]["array"]) == (1, "0.bias")


def test_model_file_is_checked(run: Any, tmp_path: Any) -> None:
    rows = bp.data.load("iris")
    path = tmp_path / "m.safetensors"
    bp.Model(bp.Network(4, [bp.Dense(3)], "softmax_cross_entropy"), dtype="float64").save(path)
    assert rows.features == 4
    code, out, err = run("check", path, "iris", "--rows", "16")
    assert (code, err) == (0, "")
    assert out.startswith("passed: gradients of network 4-3,")


@pytest.mark.parametrize(
    ("network", "args", "message"),
    [
        (bp.Network(4, [bp.Activation("tanh")], "softmax_cross_entropy"), (), "at least one trainable parameter"),
        (
            bp.Network(4, [bp.Dense(3, weight_init=np.full((4, 3), 1e30))], "mean_squared_error"),
            (),
            "finite loss at the",
        ),
        (bp.Network(4, [bp.Dense(3, "step")], "mean_squared_error"), (), "kernel 'step' has no backward"),
    ],
)
def test_model_file_that_cannot_be_checked_is_refused(
    network: Any, args: Any, message: str, run: Any, tmp_path: Any
) -> None:
    path, rows = tmp_path / "m.safetensors", tmp_path / "rows.npz"
    bp.Model(network).save(path)
    target = np.zeros(5, int) if network.loss.target == "classes" else np.ones((5, 3))
    np.savez(rows, x=np.ones((5, 4)), y=target)
    code, out, err = run("check", path, rows, *args)
    assert (code, out) == (2, "")
    assert message in err


def test_without_jax_the_cure_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Availability("not installed", "the package 'jax' is not installed.", "Install it with: pip install jax.")
    monkeypatch.setattr(backend_class("jax"), "availability", classmethod(lambda cls: state))
    code, out, err = run("check", "xor", "--layers", "3", "--rows", "4")
    assert (code, err) == (0, "")
    assert "not used: the autodiff oracle needs JAX (not installed)" in " ".join(out.split())
    assert "Install it with: pip install jax." in " ".join(out.split())


def test_compare_passes(run: Any) -> None:
    code, out, err = run("compare", "iris", "--layers", "4", "--steps", "2", "--backends", "numpy,jax")
    assert (code, err) == (0, "")
    assert out.startswith("passed: numpy and jax agree in float32, network 4-4-3")
    assert "after 2 steps" in out
    assert "what rounding in float32 explains" in " ".join(out.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("check", "iriss"), "iris"),
        (("check",), "requires [MODEL] FILE_OR_NAME, got none. For example: bpengine check iris"),
        (("check", "a", "b", "c"), "requires [MODEL] FILE_OR_NAME, got 3 names"),
        (("check", "a.safetensors"), "requires rows beside the model a.safetensors: bpengine check a.safetensors FILE"),
        (("check", "iris", "--kernel", "tanh"), "--kernel checks a kernel without data, got iris as well"),
        (("check", "--kernel", "tanhh"), "unknown kernel 'tanhh'. Did you mean 'tanh'"),
        (("check", "--kernel", "step"), "kernel 'step' has no backward"),
        (("check", "iris", "--activation", "step"), "kernel 'step' has no backward"),
        (("check", "iris", "--layers", "x"), "--layers requires whole numbers"),
        (("compare", "iris", "--backends", "numpy"), "at least two backends"),
        (("compare", "iris", "--backends", "numpy,jaxx"), "unknown backend 'jaxx'"),
        (("compare", "iris", "--optimizer", "adm"), "unknown optimizer 'adm'"),
    ],
)
def test_mistakes_end_with_code_2(run: Any, args: Any, message: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err
