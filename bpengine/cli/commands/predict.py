"""`bpengine predict`: predictions of a model file for data, as CSV, Parquet or .npy."""

from __future__ import annotations

import csv
import io as text_io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.cli import class_names, data_options
from bpengine.cli.exit_codes import tell
from bpengine.cli.output import put, require_writable
from bpengine.cli.score_options import Metrics, scores_text, split_metrics
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.data import Features, Table
from bpengine.data.files.table_files import target_columns
from bpengine.data.validation.class_names import ClassName, name_text
from bpengine.data.validation.options import optional
from bpengine.data.validation.reading import existing, is_array_file
from bpengine.errors import ConfigError, DataError
from bpengine.i18n.counted_nouns import count_of
from bpengine.output.writing import write_whole
from bpengine.training.rows import classes_of

HELP = """\
Predict with a saved model.

Prints CSV: for classes the row (from 0), the predicted class and every class's probability, otherwise the row and the
predicted values. --out writes them to a file instead: .csv the same, .parquet with the same names, .npy the probabilities or
values alone. Classes that had names when the model was trained are printed by name; characters of a name that cannot be seen
are printed as escapes, --out writes them as they are. --evaluate prints the scores on stderr, --metrics further ones.

A model that was trained on a table takes its columns by name, in any order, and does with them what it did in training; it
does not look at others, such as the target, which may be empty or missing.

\b
Examples:
  bpengine predict iris.safetensors iris --limit 5
  bpengine predict model.safetensors people.csv --evaluate --out predictions.parquet
  bpengine predict model.safetensors people.csv --metrics f1,roc_auc --out predictions.csv
  bpengine predict model.safetensors - --no-probabilities < new-people.csv > predictions.csv
"""
ENDINGS = (".csv", ".parquet", ".npy")


@grouped
def predict(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that train --out or Model.save wrote.")],
    source: data_options.Source,
    written: TextFormat,
    target: data_options.Target = None,
    no_target: Annotated[
        bool, typer.Option("--no-target", help="The table has no target: every column is an input.")
    ] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Compare with the targets and print scores.")] = False,
    metrics: Metrics = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities/--no-probabilities", help="Write every class's probability as well.")
    ] = True,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N rows.  [default: all]")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(bp.backend_names())}.")] = "numpy",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this .csv, .parquet or .npy file.  [default: CSV on stdout]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file given by --out.")] = False,
) -> None:
    """Print or write predictions."""
    asked = _Evaluation(asked=evaluate or metrics is not None, metrics=split_metrics(metrics))
    _check(out, force=force, clash=no_target and (asked.asked or target is not None))
    loaded = bp.load(model, backend)
    options = written.options_for(source)
    if loaded.features is None:
        predicted, scores, rows = _by_position(loaded, source, target, options, no_target, asked, limit)
    else:
        predicted, scores, rows = _by_name(loaded, loaded.features, source, target, options, asked, limit)
    names = loaded.class_names if len(loaded.class_names or ()) == classes_of(loaded.network) else None
    _write(out, predicted, _lines(loaded, predicted, names, probabilities=probabilities))
    if len(predicted) < rows:
        what = "predicted" if scores is None else "predicted and scored"
        tell(f"{what}: the first {len(predicted):,} of {rows:,} rows (--limit)")
    if scores is not None:
        put(scores_text(scores, loaded.network), err=True)


def _check(out: Path | None, *, force: bool, clash: bool) -> None:
    if clash:
        raise ConfigError("--no-target says that there are no targets; drop it, or --target, --evaluate and --metrics.")
    if out is None:
        return
    if out.suffix not in ENDINGS:
        raise ConfigError(f"--out requires a file that ends in .csv or .npy or .parquet, got {str(out)!r}.")
    require_writable(out, force=force)
    if out.suffix == ".parquet":
        optional("pyarrow", f"writing {out}", "tables")


class _Predicted(NamedTuple):
    """Predictions, their scores if requested, and the number of all rows, including those beyond a limit."""

    predictions: HostArray
    scores: dict[str, Any] | None
    rows: int


class _Evaluation(NamedTuple):
    """Whether predictions are compared with the targets, and by which further scores."""

    asked: bool
    metrics: list[str]


def _by_position(
    model: bp.Model,
    source: str,
    target: str | None,
    options: dict[str, Any],
    no_target: bool,
    evaluation: _Evaluation,
    limit: int | None,
) -> _Predicted:
    """Return predictions, and scores if requested, of a model that takes numbers by their position."""
    if evaluation.asked:
        data = data_options.load(source, target, model.network.loss, options=options)
        names = model.class_names if len(model.class_names or ()) == classes_of(model.network) else None
        _require_width(model, data.x.shape[1], source, "The last column is the target, or that of --target.")
        x, y = data.x[:limit], class_names.renumbered(data, names)[:limit]
        return _Predicted(model.predict(x), model.evaluate(x, y, metrics=evaluation.metrics), len(data.x))
    x = data_options.inputs(source, target, no_target=no_target, options=options)
    last = "The last column was taken as the target; --no-target reads it as an input."
    usual = "Give data like those it was trained on."
    one_less = x.shape[1] == model.network.inputs - 1 and target is None
    _require_width(model, x.shape[1], source, last if one_less else usual)
    return _Predicted(model.predict(x[:limit]), None, len(x))


def _require_width(model: bp.Model, columns: int, source: str, hint: str) -> None:
    """Raise DataError where a source has not as many input columns as the network."""
    if columns != model.network.inputs:
        raise DataError(
            f"the model requires {count_of(model.network.inputs, 'input column')}, got {columns} from {source}. {hint}"
        )


def _by_name(
    model: bp.Model,
    features: Features,
    source: str,
    target: str | None,
    options: dict[str, Any],
    evaluation: _Evaluation,
    limit: int | None,
) -> _Predicted:
    """Return predictions, and scores if requested, of a model that takes columns by their names."""
    if evaluation.asked:
        with data_options.naming(source):
            return _evaluated(model, features, source, target, options, evaluation, limit)
    with data_options.naming(source):
        table = data_options.rows_for_features(features, source, options)
        if target is not None:
            _check_target(features, table, source, target)
        return _Predicted(model.predict(table[:limit]), None, len(table))


def _check_target(features: Features, table: Table, source: str, target: str) -> None:
    """Raise ConfigError for a target that is not a column of a table, or that the model takes as an input."""
    if is_array_file(source):  # whose target is in another file
        existing(target)
        return
    _check_inputs(features, target_columns(table, source, data_options.column(target)))


def _check_inputs(features: Features, targets: Sequence[str]) -> None:
    """Raise ConfigError for a target column that the model takes as an input."""
    inputs = {column.name for column in features.columns if column.input_names}
    for name in targets:
        if features.named and name in inputs:
            raise ConfigError(
                f"the target would be the column {name!r}, which the model takes as an input. --target names the target's "
                "column; predictions alone need none."
            )


def _evaluated(
    model: bp.Model,
    features: Features,
    source: str,
    target: str | None,
    options: dict[str, Any],
    evaluation: _Evaluation,
    limit: int | None,
) -> _Predicted:
    columns = features.target.columns if features.target is not None else ()
    own = ",".join(columns) if columns and source not in bp.data.names() else None
    try:
        data = data_options.load_for(model, source, own if target is None else target, options, task=features.task)
    except ConfigError as error:
        if target is None and own is not None and str(error).startswith("unknown target column"):
            raise ConfigError(
                f"scores require the target, but {source} has no column {own!r}, which the model predicts. --target names "
                "another; without --evaluate and --metrics there are predictions alone."
            ) from None
        raise
    _check_inputs(features, data.target_names)
    rows = features.encoded(data.table[:limit], model.dtype)
    y = features.encode_target(data.labels[:limit])
    return _Predicted(model.predict(rows), model.evaluate(rows, y, metrics=evaluation.metrics), data.rows)


class Lines(NamedTuple):
    """The columns of the output: their names, and the cells of each."""

    heads: list[str]
    cells: list[HostArray | list[str]]


def _lines(model: bp.Model, predicted: HostArray, names: tuple[ClassName, ...] | None, *, probabilities: bool) -> Lines:
    """Return the columns of the output for predictions."""
    network, rows = model.network, np.arange(len(predicted))
    known = tuple(map(name_text, names or range(classes_of(network))))
    if network.loss.target == "classes":
        return _of_classes(rows, known, predicted.argmax(axis=1), known, predicted, probabilities)
    if network.loss.target == "binary" and network.outputs == 1:
        return _of_classes(rows, known, (predicted[:, 0] > 0.5).astype(int), known[1:], predicted, probabilities)
    own = model.features.target.columns if model.features is not None and model.features.target is not None else ()
    word = "probability" if network.loss.target == "binary" else "value"
    heads = [word] if network.outputs == 1 else [f"{word}_{i}" for i in range(network.outputs)]
    heads = list(own) if len(own) == network.outputs and word == "value" else heads
    return Lines(["row", *heads], [rows, *predicted.T])


def _of_classes(
    rows: HostArray,
    names: tuple[str, ...],
    chosen: HostArray,
    heads: tuple[str, ...],
    predicted: HostArray,
    probabilities: bool,
) -> Lines:
    said = [names[int(number)] for number in chosen]
    if not probabilities:
        return Lines(["row", "class"], [rows, said])
    return Lines(["row", "class", *(f"p({name})" for name in heads)], [rows, said, *predicted.T])


def _write(out: Path | None, predicted: HostArray, lines: Lines) -> None:
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(_texts(lines))
    elif out.suffix == ".npy":
        file = text_io.BytesIO()
        np.save(file, predicted)
        write_whole(out, file.getvalue())
    elif out.suffix == ".parquet":
        write_whole(out, _parquet(lines))
    else:
        text = text_io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(_texts(lines))
        write_whole(out, text.getvalue().encode())


def _texts(lines: Lines) -> Iterator[Sequence[object]]:
    yield lines.heads
    # the shortest digits that represent the number
    cells = [c.astype(str) if isinstance(c, np.ndarray) else c for c in lines.cells]
    yield from zip(*cells, strict=True)


def _parquet(lines: Lines) -> bytes:
    arrow, parquet = (optional(name, "--out", "tables") for name in ("pyarrow", "pyarrow.parquet"))
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table([arrow.array(c) for c in lines.cells], names=lines.heads), sink)
    return bytes(sink.getvalue())
