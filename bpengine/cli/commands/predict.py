"""`bpengine predict`: a model file and data in, predictions as CSV or .npy out."""

from __future__ import annotations

import csv
import io as text_io
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import bpengine as bp
from bpengine.cli import class_names, data_options
from bpengine.cli.output import require_writable, say, scores_text
from bpengine.data.validation.class_names import ClassName, name_text
from bpengine.errors import ConfigError, DataError
from bpengine.output.writing import write_whole
from bpengine.training.rows import classes_of

HELP = """\
Predict with a saved model.

Prints CSV: for classes the row (from 0), the predicted class and every class's probability, otherwise the row and the
predicted values. --out writes them to a file instead: .csv the same, .npy the probabilities or values alone. Classes
that had names when the model was trained are printed by name; characters of a name that cannot be seen are printed as
escapes, --out writes them as they are. --evaluate prints the scores on stderr.

\b
Examples:
  bpengine predict iris.safetensors iris --limit 5
  bpengine predict model.safetensors people.csv --target income --evaluate --out predictions.csv
  bpengine predict model.safetensors new-people.csv --no-target > predictions.csv
"""
Rows = Iterator[list[Any]]


def predict(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that train --out or Model.save wrote.")],
    source: data_options.Source,
    target: data_options.Target = None,
    no_target: Annotated[
        bool, typer.Option("--no-target", help="The table has no target: every column is an input.")
    ] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Compare with the targets and print scores.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.  [default: all]")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(bp.backend_names())}.")] = "numpy",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this .csv or .npy file.  [default: CSV on stdout]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file given by --out.")] = False,
) -> None:
    """Print or write predictions."""
    _check(out, force=force, clash=no_target and (evaluate or target is not None))
    loaded = bp.load(model, backend)
    names = loaded.class_names if len(loaded.class_names or ()) == classes_of(loaded.network) else None
    x, y = _read(loaded, source, target, names, no_target=no_target, evaluate=evaluate)
    x, y = x[:limit], None if y is None else y[:limit]
    predicted = loaded.predict(x)
    _write(out, loaded.network, predicted, names)
    if y is not None:
        say(scores_text(loaded.evaluate(x, y)), err=True)


def _check(out: Path | None, *, force: bool, clash: bool) -> None:
    if clash:
        raise ConfigError("--no-target says that there are no targets; drop it, or --target and --evaluate.")
    if out is not None:
        if out.suffix not in (".csv", ".npy"):
            raise ConfigError(f"--out requires a file that ends in .csv or .npy, got {str(out)!r}.")
        require_writable(out, force=force)


def _read(
    model: bp.Model,
    source: str,
    target: str | None,
    names: tuple[ClassName, ...] | None,
    *,
    no_target: bool,
    evaluate: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return inputs, and targets when they are asked for."""
    if evaluate:
        data = data_options.load(source, target, model.network.loss)
        return data.x, class_names.renumbered(data, names)
    x = data_options.inputs(source, target, no_target=no_target)
    wanted, got = model.network.inputs, x.shape[1]
    if got != wanted:
        last = "The last column was taken as the target; --no-target reads it as an input."
        hint = last if got == wanted - 1 and target is None else "Give data like those it was trained on."
        raise DataError(f"the model requires {wanted} input columns, got {got} from {source}. {hint}")
    return x, None


def _write(out: Path | None, network: bp.Network, predicted: np.ndarray, names: tuple[ClassName, ...] | None) -> None:
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(_table(network, predicted, names))
    elif out.suffix == ".npy":
        file = text_io.BytesIO()
        np.save(file, predicted)
        write_whole(out, file.getvalue())
    else:
        text = text_io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(_table(network, predicted, names))
        write_whole(out, text.getvalue().encode())


def _table(network: bp.Network, predicted: np.ndarray, names: tuple[ClassName, ...] | None) -> Rows:
    """Return the lines of the CSV, its head first."""
    shown = predicted.astype(str)  # the shortest digits that give the same number back
    known = tuple(map(name_text, names or range(classes_of(network))))
    if network.loss.target == "classes":
        return _with_class(known, predicted.argmax(axis=1), known, shown)
    if network.loss.target == "binary" and network.outputs == 1:
        return _with_class(known, predicted[:, 0] > 0.5, known[1:], shown)
    word = "probability" if network.loss.target == "binary" else "value"
    heads = [word] if network.outputs == 1 else [f"{word}_{i}" for i in range(network.outputs)]
    return chain([["row", *heads]], ([row, *values] for row, values in enumerate(shown)))


def _with_class(names: Sequence[str], chosen: np.ndarray, heads: Sequence[str], shown: np.ndarray) -> Rows:
    lines = enumerate(zip(chosen, shown, strict=True))
    rows = ([row, names[int(number)], *values] for row, (number, values) in lines)
    return chain([["row", "class", *(f"p({name})" for name in heads)]], rows)
