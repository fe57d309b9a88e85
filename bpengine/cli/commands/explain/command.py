"""`bpengine explain`: where a gradient comes from, term by term; sweeps, sensitivity, graphs, receipts."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

import bpengine as bp
from bpengine.cli import class_names, data_options, network_options
from bpengine.cli.commands.check import FAILED
from bpengine.cli.commands.explain import figure as drawn_figure
from bpengine.cli.commands.explain import html_page
from bpengine.cli.commands.explain.subject import Subject, fresh, swept
from bpengine.cli.output import print_json, require_writable, say, show
from bpengine.cli.whole_numbers import number_or_name
from bpengine.errors import ConfigError, unknown
from bpengine.explain import forward, graph, paths, sensitivity, sweep, verify, write_receipt
from bpengine.explain.unit import explain_trace
from bpengine.explain.verified import Verified
from bpengine.explain.words import words
from bpengine.visible import visible, visible_json
from bpengine.writing import write_whole

HELP = """\
Take a training step apart: every gradient as a sum of terms, with the engine's own numbers.

The network is that of a model file, one given by its sizes (2-3-1), or a fresh one for the data. With --layer and --unit:
one unit's sum, its gradient, its weights and their step. With --weight: the chain rule of one weight, path by path. With
neither: the forward pass in words. --sweep, --sensitivity, --graph and --receipt show or write other things instead;
--figure draws, with matplotlib; --html writes a page to step through a short training run.
--verify FILE derives a receipt again, with plain NumPy. Exit codes: 0 done, 1 a receipt does not follow, 2 a mistake.

\b
Examples:
  bpengine explain 2-3-1 --data xor --activation sigmoid --loss half_sum_squares --layer 0 --unit 2 --sample 1
  bpengine explain iris.safetensors iris --weight "0.weight[2,1]" --lang pt
  bpengine explain 2-2-1 --data xor --sweep "1.bias=-3:3:13" --json
  bpengine explain 2-2-1 --data xor --receipt step.jsonl
  bpengine explain --verify step.jsonl
  bpengine explain 2-2-1 --data xor --graph svg --out step.svg
  bpengine explain 2-3-1 --data xor --activation sigmoid --loss sigmoid_cross_entropy --learning-rate 5 --html xor.html
  bpengine explain 2-2-1 --data xor --figure network --layer 0 --unit 1 --out unit.png
  bpengine explain 2-2-1 --data xor --figure sweep --sweep "1.bias=-3:3:101" --out sweep.svg
"""
GRAPHS = ("dot", "mermaid", "svg")


def explain(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NET|MODEL] FILE_OR_NAME",
            help="A network's sizes such as 2-3-1 or a model file, if there is one, then the rows.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="FILE_OR_NAME", help="The rows, if not given above.")] = None,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    activation: network_options.Activation = "relu",
    loss: network_options.LossName = None,
    backend: network_options.BackendName = "numpy",
    dtype: network_options.Dtype = "float64",
    optimizer: network_options.OptimizerName = "sgd",
    learning_rate: network_options.LearningRate = 0.1,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the batch: the first so many.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Draws the initial weights.")] = 0,
    layer: Annotated[
        str | None, typer.Option(metavar="PLACE", help='Explain a unit of this layer: 0, or "1.0".')
    ] = None,
    unit: Annotated[int | None, typer.Option(metavar="N", help="The unit's number, from 0.")] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="ROW", help="Tell about this row of the batch only.  [default: all]")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="NAME", help='The chain rule of one weight, such as "0.weight[2,1]".')
    ] = None,
    sweep_: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep", metavar="NAME=VALUES", help="The loss as NAME moves: 0,1,2 or FROM:TO:COUNT; twice for two."
        ),
    ] = None,
    sensitive: Annotated[bool, typer.Option("--sensitivity", help="Every parameter's partial, ranked.")] = False,
    drawn: Annotated[
        str | None, typer.Option("--graph", metavar="KIND", help=f"The computational graph: {', '.join(GRAPHS)}.")
    ] = None,
    figure: drawn_figure.Kind = None,
    html: html_page.Html = None,
    steps: html_page.Steps = 200,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the step as JSON lines, to be verified.")
    ] = None,
    verify_: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="Derive a receipt again; needs no data.")
    ] = None,
    terms: Annotated[int, typer.Option(min=1, help="Terms of a sum that are shown; the rest is one term.")] = 12,
    lang: Annotated[str, typer.Option(metavar="NAME", help="en, or pt for Brazilian Portuguese.")] = "en",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file.  [default: stdout]")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file given by --out, --receipt or --html.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Explain and print."""
    words(lang)  # a language that is not spoken is refused before any work
    if verify_ is not None:
        _verified(verify(verify_), lang, as_json=as_json)
        return
    wanted = _one_wish(layer, unit, weight, sweep_, sensitive, drawn, receipt, html)
    picture = None if figure is None else drawn_figure.check(figure, wanted, out)
    for path, option in ((receipt, "--receipt"), (out, "--out"), (html, "--html")):
        if path is not None:
            require_writable(path, force=force, option=option)
    subject = _subject(sources or [], data, target, layers, activation, loss, backend, dtype, rows, seed)
    model, x, y, _ = subject
    told: Any
    if figure is not None and picture is not None:
        drawn_figure.save(figure, subject, picture, moved=sweep_, layer=layer, unit=unit, sample=sample, lang=lang)
        return
    if html is not None:
        html_page.save(
            subject, html, optimizer=network_options.optimizer(optimizer, learning_rate), steps=steps, lang=lang
        )
        return
    if wanted == "receipt":
        assert receipt is not None
        write_receipt(model.trace(x, y, optimizer=network_options.optimizer(optimizer, learning_rate)), receipt)
        show(f"written: {receipt}")
        return
    if wanted == "graph":
        made = graph(model, x, y, lang=lang)
        _put({"dot": made.dot, "mermaid": made.mermaid, "svg": made.svg}[str(drawn)](), out)
        return
    if wanted == "unit":
        traced = model.trace(x, y, optimizer=network_options.optimizer(optimizer, learning_rate))
        told = explain_trace(traced, number_or_name(str(layer), "--layer"), int(unit or 0), sample)
    elif wanted == "weight":
        told = paths(model, x, y, str(weight), sample=sample, largest=terms)
    elif wanted == "sweep":
        told = sweep(model, x, y, *swept(sweep_ or []))
    elif wanted == "sensitivity":
        told = sensitivity(model, x, y)
    else:
        told = forward(model, x, y, sample=sample)
    _tell(told, lang, terms, out, as_json=as_json)


def _one_wish(
    layer: str | None, unit: int | None, weight: str | None, moved: list[str] | None, sensitive: bool,
    drawn: str | None, receipt: Path | None, html: Path | None,
) -> str:  # fmt: skip
    """Return what is asked for; refuse two things at once, and a unit without its layer."""
    if (layer is None) != (unit is None):
        raise ConfigError("--layer and --unit go together: name the layer and the unit in it.")
    if drawn is not None and drawn not in GRAPHS:
        raise unknown("kind of graph", drawn, GRAPHS)
    wishes = {
        "unit": layer is not None, "weight": weight is not None, "sweep": bool(moved), "sensitivity": sensitive,
        "graph": drawn is not None, "receipt": receipt is not None, "html": html is not None,
    }  # fmt: skip
    asked = [name for name, wanted in wishes.items() if wanted]
    if len(asked) > 1:
        raise ConfigError(f"explain shows one thing at a time, got {', '.join(asked)}. Drop all but one.")
    return asked[0] if asked else "forward"


def _subject(
    sources: list[str], rows_of: str | None, target: str | None, layers: str, activation: str, loss: str | None,
    backend: str, dtype: str, rows: int, seed: int,
) -> Subject:  # fmt: skip
    """Return the model and the rows that are explained."""
    names = [*sources, *([rows_of] if rows_of is not None else [])]
    if not 1 <= len(names) <= 2:
        raise ConfigError(
            f"explain requires [NET|MODEL] FILE_OR_NAME, got {len(names)} names{': ' if names else ''}{' '.join(names)}. "
            "For example: bpengine explain 2-3-1 --data xor."
        )
    named = bp.Loss(loss) if loss else None
    if len(names) == 2 and not _is_sizes(names[0]):
        model = bp.load(names[0], backend)
        found = data_options.load(names[1], target, model.network.loss)
        return Subject(model, found.x[:rows], class_names.renumbered(found, model.class_names)[:rows], found)
    found = data_options.load(names[-1], target, named)
    network = fresh(found, names[0] if len(names) == 2 else None, layers, activation, named)
    return Subject(network_options.model(network, backend, dtype, seed), found.x[:rows], found.y[:rows], found)


def _is_sizes(text: str) -> bool:
    return "-" in text and all(part.isdecimal() for part in text.split("-"))


def _tell(told: Any, lang: str, terms: int, out: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json(told.to_json()) if out is None else _put(visible_json(told.to_json(), indent=2), out)
        return
    takes_terms = "largest" in signature(told.text).parameters
    _put(told.text(lang, terms) if takes_terms else told.text(lang), out)


def _put(text: str, out: Path | None) -> None:
    """Print text, not wrapped, or write it to a file, whole or not at all; what cannot be seen in it is escaped."""
    if out is None:
        say(text.rstrip("\n"))
    else:
        write_whole(out, (visible(text).rstrip("\n") + "\n").encode())
        show(f"written: {out}")


def _verified(verdict: Verified, lang: str, *, as_json: bool) -> None:
    print_json(verdict.to_json()) if as_json else show(verdict.text(lang))
    if not verdict.ok:
        raise typer.Exit(FAILED)
