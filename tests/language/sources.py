"""Sentences in the sources, as templates: what stands in braces is put in when the program runs.

A template is written as the f-string in the source: `{count:,} of {rows:,} rows`, `unknown {kind} {name!r}. {nearest}`. An
expression that is no name is called by the last name in it; two branches of a choice make two templates.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("bpengine", "backends")
# phrases in two languages by key; texts of programs, not for people
LEFT_OUT = (
    "bpengine/i18n/",
    "backends/bpengine_cupy/cuda_target/codegen/",
    "backends/bpengine_cupy/cuda_target/single_numbers.py",
    "backends/bpengine_numpy/llvm_target/expressions.py",
    "backends/bpengine_numpy/llvm_target/loop_text.py",
    "backends/bpengine_numpy/llvm_target/products/narrow_product.py",
    "backends/bpengine_numpy/llvm_target/products/product_orders.py",
    "backends/bpengine_numpy/llvm_target/rows/row_forms.py",
    "backends/bpengine_numpy/llvm_target/rows/row_text.py",
    "backends/bpengine_numpy/llvm_target/whole_step/exponential.py",
    "backends/bpengine_numpy/llvm_target/whole_step/step_text.py",
)
EXAMPLES = "bpengine/examples/known_examples.json"
SLOT = re.compile(r"\{[a-z_]\w*(?:![rs])?(?::[^{}]*)?\}")
TRANSLATES = ("localized",)  # the function that translates a text
CHOICES = 16  # templates of one f-string


def sentences() -> dict[str, list[str]]:
    """Return every template that reads like words, with the files that it stands in."""
    places: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(LEFT_OUT):
                for template in _of_file(path):
                    if name not in places.setdefault(template, []):
                        places[template].append(name)
    for text in _of_examples():
        places.setdefault(text, []).append(EXAMPLES)
    return places


def _of_examples() -> Iterator[str]:
    """Yield what the table of worked examples says in words; titles of sources that are nothing but names are among them."""
    for example in json.loads((ROOT / EXAMPLES).read_text("utf-8"))["examples"].values():
        rows = example["expected"].values()
        yield from dict.fromkeys(
            text
            for text in (
                *(example.get(key) for key in ("source", "summary", "reason")),
                *example["errata"],
                *(row.get(key) for row in rows for key in ("explained", "note")),
            )
            if text
        )


def constants() -> set[str]:
    """Return every text in the sources, for entries that are single words."""
    texts = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            texts |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return texts


def _of_file(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    skipped = _skipped(tree)
    for node in ast.walk(tree):
        if id(node) not in skipped and _is_text(node):
            for text in _templates(node):
                yield from (part for part in parts(text) if reads_like_words(part))
        elif isinstance(node, ast.Call) and node.args and _name(node.func) in TRANSLATES:
            yield from single_words(node.args[0])


def single_words(node: ast.AST) -> Iterator[str]:
    """Yield what is passed to a translation as a text of its own, also where it is one word."""
    if isinstance(node, ast.IfExp):
        yield from (*single_words(node.body), *single_words(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[A-Za-z]{2,}", node.value):
        yield node.value.strip()


def _is_text(node: ast.AST) -> bool:
    """Return whether a node is a text, or a sum in which one stands."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _skipped(tree: ast.AST) -> set[int]:
    """Return the nodes that are docstrings, or parts of a text that is taken as a whole."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and _is_text(node)):
            skipped |= _inner(node)
    return skipped


def _is_chosen(node: ast.AST) -> bool:
    """Return whether a value is a text chosen here: one of two, with an ending or without, or put together."""
    if isinstance(node, ast.BinOp):
        return (isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)) or _is_text(node)
    return isinstance(node, (ast.IfExp, ast.JoinedStr))


def _inner(node: ast.AST) -> set[int]:
    """Return the parts that `_pieces` takes into the template."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return {id(node.left)}
    if isinstance(node, ast.BinOp):
        return {id(side) for side in (node.left, node.right)} | _inner(node.left) | _inner(node.right)
    if isinstance(node, ast.IfExp) and all(map(_is_text, (node.body, node.orelse))):
        return {id(side) for side in (node.body, node.orelse)} | _inner(node.body) | _inner(node.orelse)
    if isinstance(node, ast.JoinedStr):
        inner = {id(value) for value in node.values}
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                inner |= _inner(value.value) if _is_chosen(value.value) else set()
                inner |= {id(value.format_spec)} | {id(n) for n in getattr(value.format_spec, "values", [])}
        return inner
    return set()


def _templates(node: ast.AST) -> list[str]:
    choices = _pieces(node)
    counted = 1
    for choice in choices:
        counted *= len(choice)
    if counted > CHOICES:
        raise ValueError(f"{ast.unparse(node)} makes {counted} sentences. Write it in fewer choices.")
    return [_numbered("".join(chosen)) for chosen in product(*choices)]


def _pieces(node: ast.AST) -> list[list[str]]:
    """Return what a text is made of, each piece with the choices for it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [[node.value]]
    if isinstance(node, ast.JoinedStr):
        return [piece for value in node.values for piece in _pieces(value)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pieces(node.left) + _pieces(node.right)
    if isinstance(node, ast.IfExp) and all(map(_is_text, (node.body, node.orelse))):
        return [[*_templates(node.body), *_templates(node.orelse)]]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _is_text(node.left):
        return [["", *_templates(node.left)]]  # "s" * (count != 1)
    if isinstance(node, ast.FormattedValue):
        if node.format_spec is None and node.conversion == -1 and _is_chosen(node.value):
            return _pieces(node.value)
        return [[f"{{{_name(node.value)}{_conversion(node)}}}"]]
    return [[f"{{{_name(node)}}}"]]


def _conversion(node: ast.FormattedValue) -> str:
    letter = "" if node.conversion == -1 else f"!{chr(node.conversion)}"
    spec = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in spec)
    return f"{letter}:{text or 'd'}" if spec else letter


def _name(node: ast.AST) -> str:
    """Return what a value is called in a template: the last name in its expression."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower() or "value"
    if isinstance(node, ast.Attribute):
        return _name(node.value) if node.attr in ("__name__", "name") else node.attr.strip("_").lower()
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            return "list"
        return (
            _name(node.args[0])
            if _name(node.func) in ("str", "repr", "type", "len") and node.args
            else _name(node.func)
        )
    if isinstance(node, (ast.Subscript, ast.Starred, ast.Await)):
        return _name(node.value)
    return "value"


def _numbered(template: str) -> str:
    """Return a template in which no two slots have one name."""
    counts: dict[str, int] = {}

    def renamed(match: re.Match[str]) -> str:
        name = re.match(r"\{(\w+)", match[0])[1]  # type: ignore[index]
        counts[name] = counts.get(name, 0) + 1
        return match[0].replace(name, f"{name}{counts[name]}", 1) if counts[name] > 1 else match[0]

    return SLOT.sub(renamed, template)


def parts(text: str) -> list[str]:
    """Return the parts that are translated one by one: lines of a text, paragraphs of a help."""
    if "\n" not in text.strip("\n"):
        return [text.strip()]
    lines: list[str] = []
    for block in text.split("\n\n"):
        if block.lstrip().startswith("\b"):
            lines += block.replace("\b", "").strip("\n").split("\n")
        elif text.count("\n\n"):
            lines.append(" ".join(block.split("\n")))
        else:
            lines += block.split("\n")
    return [line.strip() for line in lines]


def reads_like_words(text: str) -> bool:
    """Return whether a template has two words, or a word beside a value."""
    bare = SLOT.sub("{}", text)
    if not re.search(r"[A-Za-z]{2,}", bare) or bare.startswith(("bpengine ", "<", "http")):
        return False
    if "{}" in bare:
        return (
            bool(re.search(r"(?:^|[ (])[A-Za-z]{2,}(?:[ ,;:.)]|$)|[A-Za-z]{3,}[.:,;] ?$", bare)) and " " in bare.strip()
        )
    return bool(re.search(r"[A-Za-z]{2,}[,;:.)]* \(?[A-Za-z]{1,}", bare))
