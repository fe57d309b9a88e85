"""`bpengine examples`: worked examples of the literature, recomputed, beside the published numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import typer

import bpengine as bp
from bpengine import examples as worked_examples
from bpengine.cli.exit_codes import FAILED
from bpengine.cli.output import columns, key_value_table, print_json, show
from bpengine.examples import Result, Row
from bpengine.i18n.language import localized
from bpengine.output.json_values import json_object
from bpengine.output.visible import visible

HELP = """\
Recompute worked examples of the literature and compare with the numbers they print.

Without NAME a table of all of them, which takes half a minute. With NAME the network, each published number beside
ours, the difference, and the errata: where the printed number is not the right one, and why. Everything is computed
in float64. The exit code is 1 when a number is neither reproduced nor explained.

\b
Examples:
  bpengine examples
  bpengine examples mazur_222
  bpengine examples trask_xor_3_layer --backend jax
  bpengine examples --json > examples.json
"""
HEADS = ("example", "verdict", "published", "reproduced", "explained")
NUMBER_HEADS = ("quantity", "reproduced", "published", "ours", "difference")
LISTED = 4  # numbers of an array that get a line each; for a larger array the worst number is shown


def examples(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One example.  [default: all]")] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(bp.backend_names())}.")] = "numpy",
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Run the examples and print the results."""
    results = list(_run((name,) if name is not None else worked_examples.names(), backend))
    if as_json:
        entries = [{**asdict(result), **_counts([result])} for result in results]
        print_json(json_object({**_counts(results), "backend": backend, "examples": entries}))
    elif name is not None:
        _print_one(results[0])
    else:
        _print_all(results)
    if any(result.failures for result in results):
        raise typer.Exit(FAILED)


def _run(names: tuple[str, ...], backend: str) -> Iterator[Result]:
    for number, name in enumerate(names, start=1):
        with _status(f"{number} of {len(names)}: {name}"):
            result = worked_examples.run(name, backend)
        yield result


def _status(text: str) -> AbstractContextManager[Any]:
    """Show the current example, on a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console(stderr=True).status(Text(visible(localized(text))))


def _counts(results: list[Result]) -> dict[str, int]:
    counts = {
        kind: sum(getattr(result, kind) for result in results) for kind in ("published", "reproduced", "explained")
    }
    return {**counts, "neither": counts["published"] - counts["reproduced"] - counts["explained"]}


def _print_all(results: list[Result]) -> None:
    counts = [_counts([result]) for result in results]
    rows = [(r.name, _verdict(r), *_cells(numbers)) for r, numbers in zip(results, counts, strict=True)]
    notes = [(result.name, result.reason) for result in results if result.reason]
    failures = [(r.name, f"{row.quantity}: {row.note or 'differs'}") for r in results for row in r.failures]
    total = _counts(results)
    show(columns(HEADS, [*rows, ("all", "differs" if failures else "", *_cells(total))]), "", key_value_table(notes))
    if failures:
        show("", "Neither reproduced nor explained:", key_value_table([(f"  {name}", text) for name, text in failures]))


def _cells(counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(str(counts[head]) for head in HEADS[2:])


def _verdict(result: Result) -> str:
    if result.failures:
        return "differs"
    if result.reason:
        return "not reproducible"
    return "explained" if result.explained else "reproduced"


def _print_one(result: Result) -> None:
    facts = [("example", result.name), ("source", result.source), ("network", result.network)]
    shown = [row for row in result.rows if row.published is not None or row.reproduced == "no"]
    notes = [(row.quantity, row.note) for row in result.rows if row.note]
    agreeing = sum(row.published is None and row.reproduced == "yes" for row in result.rows)
    show(key_value_table([*facts, ("backend", f"{result.backend}, float64")]), "")
    if shown:
        show(columns(NUMBER_HEADS, [line for row in shown for line in _lines(row)]), "")
    if agreeing:
        show(f"{agreeing} quantities that were not published agree with an independent float64 computation.", "")
    for title, rows in (("Notes", notes), ("Errata", [("-", text) for text in result.errata])):
        if rows:
            show(title, key_value_table([(f"  {head}", text) for head, text in rows]), "")
    if result.reason:
        show(f"Not reproducible: {result.reason}")


def _lines(row: Row) -> Iterator[tuple[str, ...]]:
    """Yield a line per number, or for a large array the number with the largest difference."""
    target = row.published if row.published is not None else row.reference
    printed = np.asarray(target, dtype=float)
    ours = np.full(printed.shape, np.nan) if row.ours is None else np.asarray(row.ours, dtype=float)
    if ours.shape != printed.shape:
        ours = np.full(printed.shape, np.nan)
    places = list(np.ndindex(printed.shape))
    if len(places) > LISTED:
        places = [np.unravel_index(np.argmax(np.abs(ours - printed)), printed.shape)]
    for place in places:
        spot = f"[{', '.join(str(int(i)) for i in place)}]" if place else ""
        worst = f" (worst of {printed.size})" if printed.size > LISTED else ""
        published = f"{printed[place]:.12g}" if row.published is not None else "-"
        off = abs(ours[place] - printed[place])
        cells = (f"{ours[place]:.12g}", f"{off:.1e}") if math.isfinite(off) else ("-", "-")
        yield f"{row.quantity}{spot}{worst}", row.reproduced, published, *cells
