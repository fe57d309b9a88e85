"""The views of `bpengine explain`: a table of all views, the option that selects each, and the function that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpengine.cli.commands.explain.options import GRAPHS
from bpengine.cli.commands.explain.subject import Subject, swept
from bpengine.cli.exit_codes import tell
from bpengine.cli.output import print_json, put, show
from bpengine.cli.whole_numbers import number_or_name
from bpengine.data.validation.class_names import name_text
from bpengine.errors import ConfigError, unknown
from bpengine.explain import forward, graph, paths, sensitivity, sweep, write_receipt
from bpengine.explain.page import Page, page
from bpengine.explain.page.program.recorded_step import LARGEST as HELD
from bpengine.explain.result import ExplainResult
from bpengine.explain.units.explain import explain_trace, with_input_names
from bpengine.network import last_activation
from bpengine.output.visible import visible, visible_json
from bpengine.output.writing import write_whole
from bpengine.trained import input_names
from bpengine.training import Optimizer


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options that choose a view and its form; None, False or [] for an option that was not given."""

    layer: str | None
    unit: int | None
    weight: str | None
    sweep: list[str] | None
    sensitivity: bool
    graph: str | None
    receipt: Path | None
    html: Path | None
    sample: int | None
    update: Optimizer
    steps: int
    terms: int
    lang: str
    out: Path | None
    as_json: bool


class View(NamedTuple):
    """A view: its name, the field of a Request that selects it, and the function that shows it."""

    name: str
    option: str
    run: Callable[[Request, Subject], None]


def choose(request: Request) -> View:
    """Return the requested view, the forward pass without a request.

    Raises ConfigError for two views at once, a unit without its layer, or an unknown kind of graph.
    """
    if (request.layer is None) != (request.unit is None):
        raise ConfigError("--layer and --unit go together: name the layer and the unit in it.")
    if request.graph is not None and request.graph not in GRAPHS:
        raise unknown("kind of graph", request.graph, GRAPHS)
    asked = [view for view in VIEWS if getattr(request, view.option) not in (None, False, [])]
    if len(asked) > 1:
        names = ", ".join(view.name for view in asked)
        raise ConfigError(f"explain shows one thing at a time, got {names}. Drop all but one.")
    return asked[0] if asked else FORWARD


def _unit(request: Request, subject: Subject) -> None:
    trace = subject.model.trace(subject.x, subject.y, optimizer=request.update)
    place = number_or_name(str(request.layer), "--layer")
    explained = explain_trace(trace, place, int(request.unit or 0), request.sample)
    _print(with_input_names(explained, subject.model), request)


def _weight(request: Request, subject: Subject) -> None:
    name = str(request.weight)
    _print(paths(subject.model, subject.x, subject.y, name, sample=request.sample, largest=request.terms), request)


def _sweep(request: Request, subject: Subject) -> None:
    _print(sweep(subject.model, subject.x, subject.y, *swept(request.sweep or [])), request)


def _sensitivity(request: Request, subject: Subject) -> None:
    _print(sensitivity(subject.model, subject.x, subject.y), request)


def _forward(request: Request, subject: Subject) -> None:
    _print(forward(subject.model, subject.x, subject.y, sample=request.sample), request)


def _graph(request: Request, subject: Subject) -> None:
    drawn = graph(subject.model, subject.x, subject.y, lang=request.lang)
    _put({"dot": drawn.dot, "mermaid": drawn.mermaid, "svg": drawn.svg}[str(request.graph)](), request.out)


def _receipt(request: Request, subject: Subject) -> None:
    assert request.receipt is not None
    write_receipt(subject.model.trace(subject.x, subject.y, optimizer=request.update), request.receipt)
    show(f"written: {request.receipt}")


def _html(request: Request, subject: Subject) -> None:
    """Train a copy of the model for some steps, and write them as a page for the browser."""
    assert request.html is not None
    data = subject.data
    classes = subject.model.class_names or data.class_names or ()
    document = page(
        subject.model, subject.x, subject.y, optimizer=request.update, steps=request.steps, title=data.name,
        inputs=input_names(subject.model, data.feature_names), outputs=tuple(map(name_text, classes)), lang=request.lang,
    )  # fmt: skip
    document.save(request.html)
    show(f"written: {request.html}")
    for line in _page_notes(document, subject):
        tell(f"note: {line}")


def _page_notes(document: Page, subject: Subject) -> Iterator[str]:
    """Yield notes on a written page: that its run diverges, or that an activation bounds the outputs."""
    network = subject.model.network
    last = last_activation(network.layers)
    marks = network.loss.target == "values" and bool(np.all(np.isin(subject.y, (0, 1))))
    bound = " The targets are 0 and 1: --output-activation sigmoid keeps the outputs between them."
    hint = bound if marks and last is not None and last.name == "identity" else ""
    trouble = document.content["trouble"]
    if trouble is not None and trouble[0] == "too_many":
        yield (
            f"numbers cannot be changed in this page: weights and rows would take {trouble[1]} kB of it, and it holds "
            f"{HELD // 1000}. Give fewer --rows or smaller layers."
        )
    if document.content["bad"]:
        step = document.content["bad"][0]
        yield f"the run diverges: in step {step} a number is not finite. Give a smaller --learning-rate.{hint}"
    elif hint:
        yield f"the last layer has no activation, and {network.loss.name} takes any values.{hint}"


VIEWS = (
    View("unit", "layer", _unit),
    View("weight", "weight", _weight),
    View("sweep", "sweep", _sweep),
    View("sensitivity", "sensitivity", _sensitivity),
    View("graph", "graph", _graph),
    View("receipt", "receipt", _receipt),
    View("html", "html", _html),
)
FORWARD = View("forward", "", _forward)


def _print(result: ExplainResult, request: Request) -> None:
    """Print a result as text or JSON, or write it to --out."""
    if request.as_json and request.out is None:
        print_json(result.to_dict())
    elif request.as_json:
        _put(visible_json(result.to_dict(), indent=2), request.out)
    else:
        text: Callable[..., str] = result.text
        more = (request.terms,) if "largest" in signature(text).parameters else ()
        _put(text(request.lang, *more), request.out)


def _put(text: str, out: Path | None) -> None:
    """Print text without wrapping, or write it to a file, completely or not at all; invisible characters are escaped."""
    if out is None:
        put(text.rstrip("\n"))
    else:
        write_whole(out, (visible(text).rstrip("\n") + "\n").encode())
        show(f"written: {out}")
