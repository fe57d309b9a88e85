"""`doctor --cuda-source`: the program of a training step for reading, without a GPU; its numbers by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bpengine_cupy import CupyBackend
from bpengine_cupy.cuda_target import listing
from bpengine_cupy.cuda_target.compiler import CudaCompileError, Resources

import bpengine as bp
from bpengine.backend import backend_class
from tests.cli.conftest import Ended

PAGE = Path(__file__).parents[2] / "docs" / "cuda.md"
Command = Callable[..., Ended]
LOG = """ptxas info : Compiling entry function 'k2' for 'sm_90'
0 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads
ptxas info : Used 40 registers, 640 bytes smem
"""


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NVRTC say the same everywhere, and all products be cuBLASLt's."""
    monkeypatch.setattr(listing, "compile_cuda", lambda source, arch: (b"", LOG))
    monkeypatch.setattr(CupyBackend, "_dots", False)


def program(cli: Command, *options: object) -> dict[str, Any]:
    ended = cli("doctor", "--cuda-source", *options, "--json")
    assert (ended.code, ended.err) == (0, "")
    facts: dict[str, Any] = json.loads(ended.out)
    return facts


@pytest.mark.usefixtures("compiled")
def test_products_move_and_compute_what_they_must(cli: Command) -> None:
    inputs, hidden, outputs, batch = 20, 12, 5, 64
    facts = program(cli, f"{inputs}-{hidden}-{outputs}", "--batch-size", batch)
    sizes = {(b, i, o) for b, i, o in [(batch, inputs, hidden), (batch, hidden, outputs)]}
    products = [call for call in facts["calls"] if call["form"].startswith("product")]
    terms = [b * i * o for b, i, o in sizes]
    expected = [2 * t for t in terms] * 2 + [2 * batch * hidden * outputs]
    assert sorted(call["operations"] for call in products) == sorted(expected)
    moved = {4 * (b * i + i * o + b * o) for b, i, o in sizes}
    assert {call["bytes"] for call in products} == moved
    for call in products:
        assert call["seconds"] == max(call["bytes"] / 4.8e12, call["operations"] / 67e12)
        assert call["blocks"] is call["registers"] is None


@pytest.mark.usefixtures("compiled")
def test_a_pass_computes_a_short_product(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, hidden, batch = 20, 12, 64
    monkeypatch.setattr(CupyBackend, "_dots", True)
    calls = {call["name"]: call for call in program(cli, f"{inputs}-{hidden}-5", "--batch-size", batch)["calls"]}
    assert calls["k1"]["work"] == "over 64x12: dot, add, maximum"
    assert calls["k1"]["operations"] == 2 * batch * inputs * hidden + 2 * batch * hidden
    assert calls["k1"]["bytes"] == 4 * (batch * inputs + inputs * hidden + hidden + batch * hidden)


@pytest.mark.usefixtures("compiled")
def test_a_pass_moves_what_it_reads_and_writes(cli: Command) -> None:
    batch, hidden = 64, 12
    calls = {call["name"]: call for call in program(cli, "20-12-5", "--batch-size", batch)["calls"]}
    assert calls["k2"]["work"] == "over 64x12: add, maximum"
    assert calls["k2"]["bytes"] == 4 * (2 * batch * hidden + hidden)  # in, out, and the bias
    assert calls["k2"]["operations"] == 2 * batch * hidden
    assert (calls["k2"]["registers"], calls["k2"]["shared"], calls["k2"]["spilled"]) == (40, 640, 4)
    assert calls["k4"]["registers"] is None  # of which the compiler said nothing
    head = next(iter(calls.values()))
    assert head["form"] == "head"
    assert head["bytes"] >= 2 * (batch * 20 * 4 + batch * 8)  # rows and classes, read and written


@pytest.mark.usefixtures("compiled")
def test_double_precision_moves_twice_the_bytes(cli: Command) -> None:
    single, double = (program(cli, "20-12-5", "--dtype", dtype)["calls"] for dtype in ("float32", "float64"))
    pairs = [(a, b) for a, b in zip(single, double, strict=True) if a["form"].startswith("product")]
    assert len(pairs) == 5
    assert all(b["bytes"] == 2 * a["bytes"] for a, b in pairs)


def test_without_nvrtc_registers_are_left_out_and_it_is_said(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(source: str, arch: int) -> Any:
        raise CudaCompileError("no NVRTC\nand a long log")

    monkeypatch.setattr(listing, "compile_cuda", missing)
    ended = cli("doctor", "--cuda-source", "4-3-2")
    assert "Registers are left out: NVRTC does not compile here (no NVRTC)." in ended.out
    assert "KERNEL(k0, 256, 1)" in ended.out


@pytest.mark.usefixtures("compiled")
def test_a_model_file_is_read(cli: Command, tmp_path: Path) -> None:
    layers = [bp.Dense(6, "gelu"), bp.BatchNorm(), bp.Dropout(0.1), bp.Dense(1)]
    path = tmp_path / "m.safetensors"
    bp.Model(bp.Network(3, layers, "mean_squared_error", [bp.L2(1e-3)])).save(path)
    facts = program(cli, path, "--optimizer", "sgd")
    assert "(128 x 3) (3 x 6), nn" in [call["work"] for call in facts["calls"]]


def test_mistakes_are_one_line(mistake: Callable[..., str]) -> None:
    assert "sizes such as 784-128-10, or a model file, got '784'" in mistake("doctor", "--cuda-source", "784")
    assert "no model file" in mistake("doctor", "--cuda-source", "none.safetensors")
    assert "at least 1 row, got 0" in mistake("doctor", "--cuda-source", "4-2", "--batch-size", 0)
    assert "optimizer" in mistake("doctor", "--cuda-source", "4-2", "--optimizer", "adm")


def test_the_page_shows_what_is_printed(cli: Command) -> None:
    shown = re.search(r"\$ bpengine (doctor --cuda-source .*)\n((?:.*\n)+?)```", PAGE.read_text())
    assert shown
    printed = cli(*shown[1].split()).out

    def neutral(text: str) -> list[str]:
        """Return the lines without what depends on the compiler."""
        lines = [line for line in text.splitlines() if not line.startswith("Registers")]
        return [re.sub(r"( +[\d-]+){3}(?=  \S|$)", "", line) for line in lines]

    page = neutral(shown[2])
    assert neutral(printed)[: len(page)] == page


def test_a_backend_without_programs_says_so() -> None:
    with pytest.raises(bp.ConfigError, match="backend 'numpy' writes no program that could be shown"):
        backend_class("numpy").listing(*[()] * 5)


def test_unknown_resources_of_a_kernel_have_the_same_fields_as_known_ones() -> None:
    assert vars(listing.NOTHING).keys() == vars(Resources(1, 2, 3)).keys()
