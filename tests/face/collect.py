"""What users see, as texts that can be compared line by line."""

from __future__ import annotations

import inspect
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np
import typer

import bpengine as bp
from bpengine.cli import main
from bpengine.cli.app import app
from bpengine.explain import forward, graph, paths, receipt
from bpengine.explain.page import page
from tests.explain.networks import dosage, xor

MODULES = (
    "bpengine",
    "bpengine.backend",
    "bpengine.benchmark",
    "bpengine.callbacks",
    "bpengine.check",
    "bpengine.data",
    "bpengine.derivatives",
    "bpengine.errors",
    "bpengine.examples",
    "bpengine.explain",
    "bpengine.explain.figures",
    "bpengine.explain.page",
    "bpengine.kernels",
    "bpengine.layers",
    "bpengine.layers.initializers",
    "bpengine.losses",
    "bpengine.ops",
    "bpengine.penalties",
    "bpengine.training",
)
LANGUAGES = ("en", "pt")
CHECKED = ("xor", "softmax")
NUMBER = re.compile(r"[+\-\u2212]?\d[\d.,]*(?:e[+\-\u2212]?\d+)?")
COMMANDS = (
    "explain 2-3-1 --data xor --activation sigmoid --loss half_sum_squares --layer 0 --unit 2 --sample 1",
    "explain 2-2-1 --data xor --weight 0.weight[1,1] --lang pt",
    "explain 2-2-1 --data xor --sweep 1.bias=-3:3:5",
    "explain 2-2-1 --data xor --sensitivity",
    "explain 2-2-1 --data xor --graph dot",
    "explain 2-2-1 --data xor --lang pt",
    "explain 2-2-1 --data xor --lang fr",
    "explain 2-2-1 --data xor --layer 9 --unit 0",
    "explain 2-2-1 --data xor --receipt step.jsonl",
    "explain --verify step.jsonl",
    "explain --verify step.jsonl --lang pt",
    "examples mazur_222",
    "train xor --layers 3 --epochs 5 --out xor.safetensors",
    "predict xor.safetensors xor",
    "predict xor.safetensors xor --evaluate",
    "trian xor",
)


def names() -> Iterator[str]:
    """Yield each public name of each module: what it is, its signature, and the methods and fields of a class."""
    for path in MODULES:
        module = import_module(path)
        own = [k for k, v in vars(module).items() if not k.startswith("_") and getattr(v, "__module__", None) == path]
        for name in sorted(getattr(module, "__all__", own)):
            value = getattr(module, name)
            yield f"{path}.{name}{_signature(value)}"
            if inspect.isclass(value):
                yield from (f"{path}.{name}.{line}" for line in _members(value))


def _members(kind: type) -> Iterator[str]:
    for name, value in sorted(inspect.getmembers(kind)):
        if name.startswith("_") or any(name in vars(base) for base in (object, BaseException, tuple, dict, list)):
            continue
        yield f"{name}{_signature(value)}" if callable(value) else name
    if is_dataclass(kind):
        yield "fields: " + ", ".join(f.name for f in fields(kind))


def _signature(value: Any) -> str:
    if not callable(value):
        return ""
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(value)))
    except ValueError:
        return "(...)"


def commands() -> Iterator[str]:
    """Yield each command's options: names, default, help."""
    group: Any = typer.main.get_command(app)
    for name, command in sorted(group.commands.items()):
        yield f"{name}: {command.help}"
        for option in command.params:
            opts = " ".join([*option.opts, *option.secondary_opts])
            yield f"{name} {opts} {option.metavar or ''}: {option.default!r}: {getattr(option, 'help', '')}"


def networks() -> dict[str, tuple[bp.Model, Any, Any]]:
    """Return models whose texts are compared."""
    rng = np.random.default_rng(0)
    x, classes = rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
    inner = [bp.Dense(3, "tanh"), bp.BatchNorm()]
    layers = [bp.Dense(4, "relu"), bp.LayerNorm(), bp.Dropout(0.4), bp.Dense(3, "gelu"), bp.Residual(inner)]
    many = bp.Network(3, [*layers, bp.Dense(3)], "softmax_cross_entropy", [bp.L1(0.01), bp.L2(0.1)])
    softmax = bp.Network(3, [bp.Dense(4, "sigmoid"), bp.Dense(3, "softmax")], "categorical_cross_entropy")
    dead = bp.Network(3, [bp.Dense(2, "relu", bias_init=[-99.0, 0.0]), bp.Dense(1, "tanh", bias_init=[5.0])], "huber")
    sick = bp.Model(bp.Network(3, [bp.Dense(2, bias=False), bp.Dense(1)], "half_sum_squares"), dtype="float64")
    sick.parameters = {"0.weight": np.full((3, 2), 1e200), "1.weight": np.full((2, 1), 1e200)}
    return {
        "xor": xor(),
        "dosage": dosage(),
        "many kinds": (bp.Model(many, dtype="float64"), x, classes),
        "softmax": (bp.Model(softmax, dtype="float64"), x, classes),
        "dead": (bp.Model(dead, dtype="float64"), x, x[:, :1]),
        "overflow": (sick, x, x[:, :1]),
    }


def results(model: bp.Model, x: Any, y: Any) -> Iterator[tuple[str, Any]]:
    """Yield what can be explained of a step, by name."""
    traced = model.trace(x, y)
    for place, layer in traced.layers.items():
        yield (
            f"unit of layer {place}",
            bp.explain(model, x, y, layer=place, unit=layer.units - 1, optimizer="adam"),
        )
        yield f"unit of layer {place}, one row", bp.explain(model, x, y, layer=place, unit=0, sample=1)
    for name, value in model.parameters.items():
        yield f"paths of {name}", paths(model, x, y, f"{name}[{','.join('0' * value.ndim)}]", largest=3)
    first = next(iter(model.parameters))
    yield "forward", forward(model, x, y)
    yield "sensitivity", bp.sensitivity(model, x, y)
    yield (
        "sweep",
        bp.sweep(model, x, y, f"{first}[{','.join('0' * model.parameters[first].ndim)}]", [0.0, 1.0]),
    )


def texts(lang: str) -> Iterator[str]:
    """Yield what is printed about each network in a language, with its graph, its page's words and its receipt's heads."""
    for kind, (model, x, y) in networks().items():
        for what, result in results(model, x, y):
            yield f"== {kind}: {what}"
            yield result.text(lang)
        drawn = graph(model, x, y, update=True, lang=lang)
        yield f"== {kind}: graph"
        yield drawn.dot()
        yield drawn.mermaid()
        yield re.sub(r"<[^>]*>", "\n", re.sub(r"<style>.*?</style>", "", drawn.svg(), flags=re.DOTALL))
        content = page(model, x, y, steps=2, lang=lang).content
        yield f"== {kind}: page"
        yield "\n".join(map(str, content["labels"][lang]))


def reports() -> Iterator[str]:
    """Yield what the checks print."""
    for kind in CHECKED:
        yield f"== {kind}: check"
        yield str(_checked(kind))
    yield "== comparison"
    yield str(_compared())


@cache
def _checked(kind: str) -> bp.Report:
    model, x, y = networks()[kind]
    return model.check(x, y)


@cache
def _compared() -> bp.Comparison:
    model, x, y = xor()
    return bp.compare_backends(model.network, x, y, backends=["numpy", "jax"])


def keys() -> Iterator[str]:
    """Yield the keys of everything that becomes JSON."""
    for kind, (model, x, y) in networks().items():
        for what, result in results(model, x, y):
            yield from (f"{kind}: {what}: {key}" for key in _keys(result.to_json()))
        yield from (f"{kind}: graph: {key}" for key in _keys(graph(model, x, y).to_json()))
        yield from (f"{kind}: receipt: {key}" for line in receipt(model.trace(x, y)) for key in _keys(line))
    for kind in CHECKED:
        yield from (f"{kind}: check: {key}" for key in _keys(_checked(kind).to_dict()))
    yield from (f"comparison: {key}" for key in _keys(_compared().to_dict()))


def _keys(value: Any, before: str = "") -> list[str]:
    if isinstance(value, dict):
        inner = [key for k, v in value.items() for key in _keys(v, f"{before}.{k}")]
    elif isinstance(value, list | tuple):
        inner = [key for v in value for key in _keys(v, f"{before}[]")]
    else:
        inner = [f"{before}: {type(value).__name__}"]
    return list(dict.fromkeys(inner))


def command_lines() -> Iterator[str]:
    """Yield what command lines print, and their exit codes."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder), patch.dict(os.environ):
        os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and tables would be cut
        for line in COMMANDS:
            printed = io.StringIO()
            with redirect_stdout(printed), redirect_stderr(printed):
                code = main(line.split())
            yield f"== bpengine {line}: {code}"
            yield "\n".join(row.rstrip() for row in printed.getvalue().splitlines())


def masked(lines: Iterator[str]) -> list[str]:
    """Return lines each once, without numbers, whose last digits depend on the processor, and without columns' widths."""
    split = [line.rstrip() for text in lines for line in text.splitlines()]
    return list(dict.fromkeys(re.sub(r"  +", "  ", NUMBER.sub("#", line)) for line in split))


FACES: dict[str, Callable[[], list[str]]] = {
    "names": lambda: [line for text in names() for line in text.splitlines()],
    "commands": lambda: [line.rstrip() for text in commands() for line in text.splitlines()],
    "keys": lambda: list(dict.fromkeys(keys())),
    "reports": lambda: masked(reports()),
    "command_lines": lambda: masked(command_lines()),
    **{f"texts_{lang}": partial(lambda lang: masked(texts(lang)), lang) for lang in LANGUAGES},
}


def with_digits() -> Iterator[str]:
    """Yield everything, with its numbers."""
    os.environ["COLUMNS"] = "200"
    yield from names()
    yield from commands()
    yield from keys()
    yield from reports()
    yield from command_lines()
    for lang in LANGUAGES:
        yield from texts(lang)
