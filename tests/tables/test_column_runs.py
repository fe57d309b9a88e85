"""Columns that are numbered and used alike share a line; no other columns do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bpengine.cli.table_options.column_runs import in_runs
from tests.cli.conftest import cli

__all__ = ["cli"]


def number(name: str, mean: float = 1.5, gap: str = "") -> tuple[str, str, str]:
    return name, "number", f"standardised: mean {mean:g}, deviation 2e-05{gap}"


def test_consecutive_columns_of_one_kind_share_a_line() -> None:
    gap = "; missing: {:g}, and an input that says so"
    lines = [*(number(f"p_{i}", i) for i in range(70)), *(number(f"p_{i}", i, gap.format(i)) for i in range(70, 75))]
    assert in_runs(lines) == [
        ("p_0 .. p_69", "70 numbers", "standardised"),
        ("p_70 .. p_74", "5 numbers", "standardised; missing: filled with its own, and an input that says so"),
    ]
    category = ("category", "3 values, an input for each")
    assert in_runs([(f"k{i}", *category) for i in range(4)]) == [("k0 .. k3", "4 categories", category[1])]
    assert in_runs([(f"d{i}", "left out", "as you said") for i in range(4)])[0][1] == "4 left out"


def test_other_columns_have_a_line_each() -> None:
    few = [number(f"x{i}") for i in range(3)]
    unlike = [number(name) for name in ("age", "size", "height", "weight", "x1", "y1", "z1", "w1")]
    mixed = [(f"c{i}", "category" if i % 2 else "number", "as it is") for i in range(8)]
    for lines in (few, unlike, mixed):
        assert in_runs(lines) == lines


def test_columns_of_digits_are_summarised_in_one_line(cli: Any, tmp_path: Path) -> None:
    saved = tmp_path / "m.safetensors"
    ended = cli("train", "digits", "--epochs", "1", "--layers", "4", "--out", saved)
    lines = [line for line in ended.out.splitlines() if "pixel" in line]
    assert [" ".join(line.split()) for line in lines] == ["pixel_0_0 .. pixel_7_7 64 numbers standardised"]
    exported = cli("export", saved, "--onnx", tmp_path / "m.onnx").out
    (line,) = [line for line in exported.splitlines() if "pixel" in line]
    assert line.split()[:4] == ["input:", "pixel_0_0", "..", "pixel_7_7"]
    frame = pd.DataFrame({f"name{chr(97 + i // 26)}{chr(97 + i % 26)}": np.arange(30) * 0.5 for i in range(50)})
    frame.assign(y=frame.iloc[:, 0] % 2 > 0.5).to_csv(tmp_path / "wide.csv", index=False)
    assert "11 more\n" in cli("train", tmp_path / "wide.csv", "--epochs", "1", "--layers", "4").out
