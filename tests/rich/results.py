"""One result of every public kind, and which classes the public functions return."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from rich.table import Table as RichTable

import bpengine as bp
from bpengine.benchmark import WORKLOADS, BenchmarkTables, Plan, RunMeasurements
from bpengine.benchmark.contender_results import ContenderResult
from bpengine.benchmark.floors.cost import Memory, StepCost
from bpengine.benchmark.measurements import Trial
from bpengine.benchmark.results.record import make
from bpengine.explain.figures.shown_figure import ShownFigure
from tests.face.collect import MODULES

# What public functions return and shows no rich form, and why.
NO_FORM = {
    "ArrayResult": "a line of a Report",
    "Arrays": "arrays",
    "Availability": "no result",
    "Backend": "no result",
    "Call": "a line of a Trace",
    "CategoryColumn": "a line of Features",
    "ClassTarget": "a line of Features",
    "Contender": "no result",
    "Cost": "two numbers",
    "Decision": "a line of a ForwardPass",
    "Difference": "a line of a Comparison",
    "DiskCache": "no result",
    "Eigenvalue": "a tuple of numbers",
    "Encoded": "arrays",
    "Forward": "arrays of a backend",
    "GraphData": "what a Graph is made of",
    "Kernel": "a row of KERNELS",
    "LeftOutColumn": "a line of Features",
    "Limits": "a part of RunMeasurements",
    "NonFiniteValue": "a sentence",
    "NumberColumn": "a line of Features",
    "OneFit": "a line of ManyFits",
    "Ops": "no result",
    "Optimizer": "no result",
    "Partial": "a line of a Sensitivity",
    "Penalty": "no result",
    "Rotation": "no result",
    "Row": "a line of an example's Result",
    "RowFile": "arrays",
    "Run": "no result",
    "Schedule": "no result",
    "ProgramListing": "the text of a program",
    "ShardAdder": "no result",
    "Shapes": "two dicts",
    "Sums": "the arrays behind an Explanation",
    "Tangent": "arrays",
    "Terms": "a sum of an Explanation",
    "Table": "rows that are read, not a result",
    "TableColumn": "arrays",
    "ValueTarget": "a line of Features",
    "Workload": "no result",
}


def returned() -> set[type]:
    """Return the classes of the engine that public functions, methods and properties say they return."""
    kinds: set[type] = set()
    for path in MODULES:
        module = import_module(path)
        for name in getattr(module, "__all__", ()):
            for function in functions(getattr(module, name)):
                kinds |= {kind for kind in classes_in(return_type(function)) if not issubclass(kind, BaseException)}
    return kinds


def functions(value: Any) -> Iterator[Any]:
    """Yield a public function, or the methods and properties of a public class."""
    if inspect.isfunction(value):
        yield value
    elif inspect.isclass(value) and value.__module__.startswith("bpengine"):
        for name, member in inspect.getmembers_static(value):
            plain = (
                getattr(member, "fget", None) or getattr(member, "__func__", None) or getattr(member, "func", member)
            )
            if not name.startswith("_") and inspect.isfunction(plain) and plain.__module__.startswith("bpengine"):
                yield plain


def return_type(function: Any) -> Any:
    """Return what a function says it returns; names that are imported for type checkers alone are looked up."""
    names = {**type_checkers_names(), **inspect.unwrap(function).__globals__}
    return typing.get_type_hints(function, globalns=names).get("return")


@cache
def type_checkers_names() -> dict[str, Any]:
    """Return classes that modules import for type checkers alone."""
    homes = {
        "Report": "bpengine.check",
        "Explanation": "bpengine.explain",
        "Trace": "bpengine.explain",
        "Eigenvalue": "bpengine.derivatives",
        "Summary": "bpengine.summary",
        "Table": "rich.table",  # where a module has no Table of its own
    }
    return {name: getattr(import_module(home), name) for name, home in homes.items()} | {
        "Figure": ShownFigure,
        "RichTable": RichTable,
    }


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes of the engine that stand in a type."""
    if isinstance(hint, type) and hint.__module__.startswith("bpengine"):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)


@cache
def results() -> dict[str, Any]:
    """Return one object of each class that has a rich form, by the name of its class."""
    xor = bp.data.load("xor")
    net = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    model = bp.Model(net, dtype="float64")
    x, y = xor.x, xor.y
    trace = model.trace(x, y)
    history = model.fit(x, y, epochs=12, batch_size=2, optimizer=bp.SGD(0.5), validation=(x, y))
    one = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    descent = one.fit([[1.0]], [[2.0]], optimizer=bp.SGD(0.1), steps=3, only="0.bias")
    swept = bp.sweep(one, [[1.0]], [[2.0]], "0.bias", [-1.0, 0.0], history=descent)
    iris = bp.data.Dataset(
        "two <flowers>", x, (y[:, 0] > 0).astype(int), feature_names=("a<b", "c&d"), class_names=("<i>", "b"),
        task="classification", source="made by hand",
    )  # fmt: skip
    every = [
        model, net, net.summary(), history, model.check(x, y), bp.compare_backends(net, x, y, ["numpy", "numpy"]),
        bp.explain(model, x, y, layer=0, unit=1), bp.explain.paths(model, x, y, "0.weight[0,0]"),
        bp.explain.forward(model, x, y), swept, swept.descent, bp.sensitivity(model, x, y), trace, trace.layers["0"],
        bp.explain.graph(model, x, y), bp.explain.page.page(model, x, y, steps=2), iris,
        bp.explain.verify(_receipt(trace)), bp.Features().fit(iris), bp.examples.run("colah_computational_graph"),
        measurements(), BenchmarkTables(record()), history.figure(), bp.fit_many(net, x, y, seeds=2, epochs=2),
    ]  # fmt: skip
    return {type(value).__name__: value for value in every}


def _receipt(trace: Any) -> str:
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "step.jsonl"
    bp.explain.write_receipt(trace, path)
    return str(path)


def measurements() -> RunMeasurements:
    """Return the measurements of a run that was not made."""
    cost = StepCost((), Memory(0, 0, 0, 0, 0))
    each = [_timed("numpy", 0.2), _timed("jax", 0.3)]
    trial = Trial(
        workload=WORKLOADS["small"], steps=10, cost=cost, results={r.name: r for r in each},
        failures={"torch": "no <memory>"}, memory={},
    )  # fmt: skip
    return RunMeasurements(about={"numpy": {}, "jax": {}}, missing={"keras": "not installed"}, trials={"small": trial})


def _timed(name: str, seconds: float) -> ContenderResult:
    return ContenderResult(
        name=name, first_seconds=1.0, steps=10, seconds=[0.1, seconds], losses=[2.0, 2.0], resident=[1, 1]
    )


def record() -> dict[str, Any]:
    """Return the record of that run."""
    outcome = measurements()
    about = {"title": "engine <one>", "versions": {}, "note": "", "start_seconds": 1.0}
    outcome.about = {"numpy": about, "jax": about}
    return make(Plan([WORKLOADS["small"]], []), outcome, {})
