"""The shape of the code in numbers: packages, files, functions, names, comments, and the ways through the files.

    python -m tests.shape

Files opened and moves between files are those of four routes that a reader follows call by call: fit, explain, check, and
train from a file; a move is a call from one file of the project into another that goes on in it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import statistics
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
SOURCES = [p for part in ("bpengine", "backends") for p in sorted((ROOT / part).rglob("*.py"))]
BESIDE = [p for part in ("tests", "bench", "docs") for p in sorted((ROOT / part).rglob("*.py"))]
SIBLINGS = ("figures", "examples", "peers", "benchmark", "training")  # files of one kind: up to 16 of them
OWN = (str(ROOT / "bpengine"), str(ROOT / "backends"))
MANY, FEW = 16, 12
POSITIONAL = 7
FIELDS = 5
EMPTY_NAMES = {"found", "given", "told", "made"}  # which say how a value came about, and not what it is


def trees(paths: list[Path] = SOURCES) -> dict[Path, ast.Module]:
    """Return each source file as a tree."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def class_names(files: dict[Path, ast.Module]) -> Counter[str]:
    """Return how often each class name stands in the sources."""
    return Counter(n.name for tree in files.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef))


def file_names() -> Counter[str]:
    """Return how often each file name stands in the sources."""
    return Counter(path.name for path in SOURCES if path.name != "__init__.py")


def files_in_packages() -> dict[str, int]:
    """Return how many files each package holds beside its own packages."""
    packages = {path.parent for path in SOURCES}
    return {str(f.relative_to(ROOT)): sum(p.parent == f and p.name != "__init__.py" for p in SOURCES) for f in packages}


def crowded() -> dict[str, int]:
    """Return the packages with more files than the limit; kernels apart, where one file is one kernel."""
    limits = {name: MANY if name.rsplit("/", 1)[-1] in SIBLINGS else FEW for name in files_in_packages()}
    return {name: n for name, n in files_in_packages().items() if n > limits[name] and not name.endswith("kernels")}


def module_name(path: Path) -> str:
    """Return the name by which a source file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts[parts[0] == "backends" :] if part != "__init__")


def imported_modules(tree: ast.Module, known: Collection[str]) -> set[str]:
    """Return those of the known modules that a file imports anywhere, also inside of functions and for type checkers."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {part if part in known else node.module for part in parts}
    return names & set(known)


def import_circles(files: dict[Path, ast.Module]) -> set[str]:
    """Return the files that import each other in a circle, and those between two circles.

    Without `bpengine/__init__.py`, which states the names of all packages for type checkers and imports none of them.
    """
    known = {module_name(path) for path in files} - {"bpengine"}
    imports = {module_name(path): imported_modules(tree, known) for path, tree in files.items()}
    left = known
    while lowest := {name for name in left if not imports[name] & left}:
        left = left - lowest
    while highest := left - {other for name in left for other in imports[name]}:
        left = left - highest
    return left


def functions(files: dict[Path, ast.Module]) -> list[tuple[int, str]]:
    """Return the length of every function, and where it stands."""
    return [
        ((n.end_lineno or n.lineno) - n.lineno + 1, f"{path.relative_to(ROOT)}:{n.name}")
        for path, tree in files.items()
        for n in ast.walk(tree)
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def positional_calls(files: dict[Path, ast.Module]) -> list[str]:
    """Return the calls that pass more than `POSITIONAL` values by position."""
    return [
        f"{path.relative_to(ROOT)}:{n.lineno}"
        for path, tree in files.items()
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and sum(not isinstance(a, ast.Starred) for a in n.args) > POSITIONAL
    ]


def wide_constructors(files: dict[Path, ast.Module]) -> list[str]:
    """Return the dataclasses whose constructors take more than `FIELDS` values without naming them.

    Named tuples have no keyword-only fields: see `wide_tuples`.
    """
    return [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path, tree in files.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(_makes_a_dataclass(decorator) for decorator in node.decorator_list)
        and len(_positional_fields(node)) > FIELDS
    ]


def wide_tuples(files: dict[Path, ast.Module]) -> set[str]:
    """Return the named tuples of more than `FIELDS` fields."""
    return {
        node.name
        for tree in files.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith("NamedTuple") for base in node.bases)
        and sum(isinstance(b, ast.AnnAssign) for b in node.body) > FIELDS
    }


def _makes_a_dataclass(decorator: ast.expr) -> bool:
    """Say whether a decorator gives a class a constructor that takes its fields by position."""
    keywords = {k.arg: ast.unparse(k.value) for k in getattr(decorator, "keywords", [])}
    name = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return name == "dataclass" and keywords.get("kw_only") != "True" and keywords.get("init") != "False"


def _positional_fields(node: ast.ClassDef) -> list[str]:
    """Return the annotated names of a class, up to a `_: KW_ONLY`."""
    named = [(ast.unparse(b.target), ast.unparse(b.annotation)) for b in node.body if isinstance(b, ast.AnnAssign)]
    fields = [name for name, annotation in named if "ClassVar" not in annotation]
    return fields[: fields.index("_")] if ("_", "KW_ONLY") in named else fields


def _names_bound(node: ast.AST) -> set[str]:
    """Return the names that a node gives: a parameter, a target of an assignment, a loop or an import, a function."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return {name}
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return {name}
        case ast.alias(asname=str(name)):
            return {name}
        case ast.FunctionDef(name=name):
            return {name}
    return set()


def empty_names(files: dict[Path, ast.Module]) -> list[str]:
    """Return the parameters, locals, loop variables and functions with a filler name."""
    return [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {name}"
        for path, tree in files.items()
        for node in ast.walk(tree)
        for name in _names_bound(node) & EMPTY_NAMES
    ]


def comment_lines() -> tuple[int, int]:
    """Return how many lines hold nothing but a comment, and how many lines there are."""
    comments = lines = 0
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(t.type == tokenize.COMMENT and not t.line[: t.start[1]].strip() for t in tokens)
    return comments, lines


class Route(NamedTuple):
    """What a call goes through: the files it opens, how many moves it makes from one to another, and the calls in order.

    A move counts once, however often it is made: a reader follows it once. calls: the files of the functions that are called,
    without repetitions of the same file.
    """

    opened: set[str]
    moves: int
    calls: list[str]


def route(run: Callable[[], Any]) -> Route:
    """Return the files of the project that a call goes through."""
    calls: list[str] = []
    moves: set[tuple[str, str]] = set()

    def look(frame: Any, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(OWN):
            return
        if not calls or calls[-1] != name:
            calls.append(name)
        before = frame.f_back.f_code.co_filename if frame.f_back else name
        if before != name and before.startswith(OWN):
            moves.add((before, name))

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    names = {name: str(Path(name).relative_to(ROOT)) for name in set(calls)}
    return Route(set(names.values()), len(moves), [names[name] for name in calls])


@contextlib.contextmanager
def steps_as_written() -> Iterator[None]:
    """Have NumPy run steps as they are written: when a step is compiled depends on how busy the machine is."""
    from bpengine.backend import backend_class

    numpy = backend_class("numpy")
    patience = numpy.patience
    numpy.patience = math.inf
    try:
        yield
    finally:
        numpy.patience = patience


def routes() -> Iterator[tuple[str, Route]]:
    """Yield the four routes."""
    with steps_as_written():
        yield from _routes()


def _routes() -> Iterator[tuple[str, Route]]:
    import bpengine as bp
    from bpengine.cli import main

    xor = bp.data.load("xor")

    def model() -> bp.Model:
        return bp.Model(bp.Network(2, [bp.Dense(2, "sigmoid"), bp.Dense(1)], "half_sum_squares"), dtype="float64")

    warm = model()  # imports are no calls
    warm.fit(xor.x, xor.y, steps=1)
    bp.explain(warm, xor.x, xor.y, layer=0, unit=0).text()
    warm.check(xor.x, xor.y)
    yield "fit", route(lambda: model().fit(xor.x, xor.y, steps=2))
    yield "explain", route(lambda: bp.explain(warm, xor.x, xor.y, layer=0, unit=0).text())
    yield "check", route(lambda: str(warm.check(xor.x, xor.y)))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        rows = Path(folder) / "rows.csv"
        rows.write_text("a,b,label\n" + "".join(f"{i},{i % 3},{'xy'[i % 2]}\n" for i in range(20)), encoding="utf-8")
        line = [
            "train",
            str(rows),
            "--epochs",
            "2",
            "--layers",
            "3",
            "--out",
            str(Path(folder) / "m.safetensors"),
            "--force",
        ]
        main(line)
        yield "train from a file", route(lambda: main(line))


def report() -> Iterator[str]:
    """Yield the numbers, a line each."""
    files = trees()
    sizes = [p.read_text(encoding="utf-8").count("\n") for p in SOURCES]
    lengths = functions(files)
    packages = sorted(files_in_packages().items(), key=lambda item: -item[1])
    comments, lines = comment_lines()
    yield f"files {len(SOURCES)}, lines {lines}; median file {statistics.median(sizes):.0f}, longest {max(sizes)}"
    fullest = ", ".join(f"{name} {n}" for name, n in packages[:8])
    yield f"files in the fullest packages: {fullest}; too many: {crowded() or 'none'}"
    yield f"functions {len(lengths)}, median {statistics.median(n for n, _ in lengths):.0f} lines, longest {max(lengths)}"
    yield f"files in import circles: {sorted(import_circles(files)) or 'none'}"
    yield f"class names that stand twice: {sorted(n for n, k in class_names(files).items() if k > 1) or 'none'}"
    yield f"file names that stand twice: {sorted(n for n, k in file_names().items() if k > 1) or 'none'}"
    yield f"lines that are a comment alone: {comments} ({comments / lines:.2%})"
    yield f"calls with more than {POSITIONAL} values by position: {len(positional_calls(files))}"
    for name, way in routes():
        yield f"route of {name}: {len(way.opened)} files, {way.moves} moves between files"


if __name__ == "__main__":
    print("\n".join(report()))
