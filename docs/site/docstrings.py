"""Docstrings of this project, which are plain text, as reStructuredText: what Sphinx reads.

Their form: paragraphs; lines "name: what it is" for arguments, indented where they go on; `code` between single backticks;
examples that begin with >>>; lists of lines that begin with "- "; and blocks of indented code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

_FIELD = re.compile(
    r"^([a-z_]\w*(?:, [a-z_]\w*)*|Parameters|Shapes?|Raises|Source|Inputs|Outputs|Options)(: | [A-Z]\w+Error)"
)
_CODE = re.compile(r"`([^`]+)`")
_SPECIAL = re.compile(r"([\\*|_<>])")
"""What reStructuredText would take for markup in running text."""

DATA = {
    "bpengine.KERNELS": "Every kernel by name: formulas, shapes, cost, kinks, source: :py:class:`bpengine.kernels.Kernel`.",
    "bpengine.training.OPTIMIZERS": "The update rules by name, as the command line knows them.",
    "bpengine.layers.LAYERS": "The engine's layers by the name that model files have for them.",
    "bpengine.examples.EXAMPLES": "The worked examples of the literature by name, as ``bpengine examples`` lists them.",
    "bpengine.data.ClassName": "What a class may be called: text, a whole number, a number or a truth value.",
    "bpengine.explain.figures.KINDS": "The kinds of figures that :py:func:`bpengine.explain.figures.draw` knows.",
    "bpengine.benchmark.CONTENDERS": "Everyone who can take part in a benchmark, by name.",
    "bpengine.benchmark.DEFAULT": "The groups of workloads that are run when none is named, by device.",
    "bpengine.benchmark.FITS": "The workloads of whole fits, by name.",
    "bpengine.benchmark.GROUPS": "The workloads in groups, by the name of the group.",
    "bpengine.benchmark.MAIN": "The main workloads, which a quick run has as well.",
    "bpengine.benchmark.PRECISIONS": "How matrices may be multiplied on a GPU: the values of ``--precisions``.",
    "bpengine.benchmark.SUITES": "The groups, and lists of them, that ``--workloads`` knows by name.",
    "bpengine.benchmark.WORKLOADS": "Each workload by name: a network, its data, its batch and its rule.",
}
"""One sentence for each public value that has no docstring."""


def restructured(docstring: str, names: dict[str, str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText; `names` leads from what a user writes to what is documented."""
    lines: list[str] = []
    for block in _blocks(inspect.cleandoc(docstring).split("\n")):
        if block[0].startswith(">>>"):
            lines += block
        elif block[0].startswith(" "):
            lines += ["::", "", *(f"   {line}" for line in block)]
        else:
            lines += _paragraph(block, names)
        lines.append("")
    return lines


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Yield paragraphs; an example begins a new one."""
    block: list[str] = []
    for line in lines:
        if block and (not line or (line.startswith(">>>") and not block[0].startswith(">>>"))):
            yield block
            block = []
        if line:
            block.append(line)
    if block:
        yield block


def _paragraph(block: list[str], names: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a paragraph, each field of it and each item of a list as an item."""
    items: list[list[str]] = [[]]
    for line in block:
        if line.startswith("- ") or _FIELD.match(line):
            items.append([])
        items[-1].append(line.strip())
    for item in filter(None, items):
        text = " ".join(item)
        field = _FIELD.match(text)
        if text.startswith("- "):
            yield f"- {running_text(text[2:], names)}"
        elif field and field[2] == ": ":
            yield f"- **{_escaped(field[1])}**: {running_text(text[field.end() :], names)}"
        elif len(items) > 2:
            yield from ("", running_text(text, names), "")
        else:
            yield running_text(text, names)


def running_text(text: str, names: dict[str, str]) -> str:
    """Return a sentence with its code as literals, or as links where they are public names; nothing else is markup."""
    parts = _CODE.split(text)
    return "".join(_code(part, names) if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _code(code: str, names: dict[str, str]) -> str:
    name = code.removeprefix("bp.").removeprefix("bpengine.")
    return rf"\ :py:obj:`{code} <{names[name]}>`\ " if name in names else rf"\ ``{code}``\ "


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def first_sentence(public: Any) -> str:
    """Return the first line of a public name's docstring, or what is said of a value without one."""
    if public.kind == "data":
        return DATA[public.name]
    docstring = inspect.getdoc(inspect.unwrap(public.value)) or ""
    return running_text(docstring.split("\n\n")[0].replace("\n", " "), {})


def reference_to(name: str) -> str:
    """Return a link to a public name, as a user writes it."""
    return f":py:obj:`bp.{name.removeprefix('bpengine.')} <{name}>`"


@cache
def known_names() -> dict[str, str]:
    """Return the documented name of each name that a docstring may use: "Dense", "Model.fit", "data.load"."""
    from docs.site.reference import public_names

    known: dict[str, str] = {}
    for name, public in public_names().items():
        known[name.removeprefix("bpengine.")] = name
        known.setdefault(name.rpartition(".")[2], name)
        if inspect.isclass(public.value):
            methods = (
                m
                for m, v in vars(public.value).items()
                if not m.startswith("_") and inspect.isfunction(v) and v.__doc__
            )
            known.update({f"{name.rpartition('.')[2]}.{method}": f"{name}.{method}" for method in methods})
    return known
