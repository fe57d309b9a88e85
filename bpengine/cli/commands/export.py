"""`bpengine export`: a model file converted to a file that other programs run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

import bpengine as bp
from bpengine.cli.output import key_value_table, print_json, require_writable, say, show
from bpengine.cli.table_options.column_runs import in_runs
from bpengine.errors import ConfigError
from bpengine.i18n.language import localized
from bpengine.onnx import described, write_onnx
from bpengine.onnx.onnx_file import ArrayLine

HELP = """\
Export a saved model as ONNX, which servers, browsers and phones run without bpengine.

The file holds the network as it predicts (no dropout, running statistics), the link function of its loss, and its Features:
a column of the table is an input by its name. The inputs and outputs are printed. It needs the extra onnx: bpengine
doctor says how it is installed.

\b
Examples:
  bpengine export adult.safetensors --onnx adult.onnx
  bpengine export adult.safetensors --onnx adult.onnx --force --json
"""


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that train --out or Model.save wrote.")],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="The ONNX file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file given by --onnx.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the inputs and outputs as JSON.")] = False,
) -> None:
    """Write the file, and print its inputs and outputs."""
    require_writable(onnx, force=force, option="--onnx")
    if onnx.exists() and model.exists() and onnx.samefile(model):
        raise ConfigError(f"--onnx requires another file than the model itself, got {str(onnx)!r}.")
    lines = described(write_onnx(onnx, bp.load(model)))
    if as_json:
        heads = ("name", "role", "type", "shape", "holds")
        print_json({"file": str(onnx), "arrays": [dict(zip(heads, line, strict=True)) for line in lines]})
        return
    say(f"written: {onnx}")
    show(key_value_table(_array_lines(lines), names=(1,)))


def _array_lines(lines: Sequence[ArrayLine]) -> Iterator[tuple[str, ...]]:
    """Yield lines about the arrays; runs of similar columns share a line."""
    for role, group in groupby(lines, lambda line: line.role):
        for name, kind, holds in in_runs((line.name, f"{line.kind} {line.axes}", line.holds) for line in group):
            yield f"{localized(role)}:", name, kind, holds
