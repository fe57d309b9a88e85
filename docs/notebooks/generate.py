"""Make the notebooks of the guides: what a guide says is text, what it runs is code, what it shows is output.

    python docs/notebooks/generate.py           # write them anew, after a change of a guide
    python docs/notebooks/generate.py --check   # end with 1 where one is not what its guide says

A session's `print(bp.explain(...))` becomes `bp.explain(...)`: a notebook shows the result itself, as a table or a picture,
and its text is what the guide prints.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GUIDES = HERE.parent / "guides"
NAMES = ("gradient", "one-parameter", "forward-and-backward", "hidden-unit", "recipe")
PAGES = [f"{name}{ending}" for name in NAMES for ending in (".md", ".pt-BR.md")]
SESSION = re.compile(r"^```pycon\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([\w.-]+)\.md(?=[)#])")
ORIGIN = "<!-- made from ../guides/{page} by generate.py -->"


def notebook(page: str) -> dict[str, Any]:
    """Return the notebook of a guide, by the name of its file."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    cells = [cell(number, *part) for number, part in enumerate(parts(text, page))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def parts(text: str, page: str) -> Iterator[tuple[str, str, str]]:
    """Yield kind ("markdown" or "code"), source and expected output of each cell."""
    yield "markdown", ORIGIN.format(page=page), ""
    for number, part in enumerate(SESSION.split(text)):
        if number % 2:
            yield from (("code", *example) for example in examples(part))
        elif part.strip():
            yield "markdown", LINK.sub(lambda match: f"{target(match[1])}", part.strip("\n")), ""


def target(name: str) -> str:
    """Return where a link to a guide leads to: to its notebook, or to the guide where it has none."""
    return f"{name}.ipynb" if f"{name}.md" in PAGES else f"../guides/{name}.md"


def examples(session: str) -> Iterator[tuple[str, str]]:
    """Yield the statements of a session up to each output, and that output."""
    source: list[str] = []
    output: list[str] = []
    for line in session.splitlines():
        if line.startswith(">>> "):
            if output:
                yield shown("\n".join(source)), "\n".join(output)
                source, output = [], []
            source.append(line[4:])
        elif line.startswith("...") and not output:
            source.append(line[4:])
        else:
            output.append(line)
    if source:
        yield shown("\n".join(source)), "\n".join(output)


def shown(source: str) -> str:
    """Return code whose last statement, where it prints a result of the engine, is that result."""
    last = ast.parse(source).body[-1]
    match last:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[ast.Call(func=function) as call], keywords=[])):
            if re.fullmatch(r"bp(\.\w+)+", ast.unparse(function)):
                lines = source.splitlines()
                end = ast.get_source_segment(source, call)
                return "\n".join([*lines[: last.lineno - 1], f"{end}"])
    return source


def cell(number: int, kind: str, source: str, output: str) -> dict[str, Any]:
    """Return a cell as JSON values."""
    about: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines(source)}
    if kind == "code":
        about |= {"execution_count": None, "outputs": [text_output(source, output)] if output else []}
    return about


def text_output(source: str, output: str) -> dict[str, Any]:
    """Return the text that a cell shows: of its last expression, or what it prints."""
    last = ast.parse(source).body[-1]
    printed = not isinstance(last, ast.Expr) or ast.unparse(last).startswith("print(")
    if printed:
        return {"name": "stdout", "output_type": "stream", "text": lines(output + "\n")}
    return {
        "data": {"text/plain": lines(output)}, "execution_count": None, "metadata": {}, "output_type": "execute_result",
    }  # fmt: skip


def lines(text: str) -> list[str]:
    """Return text as notebooks hold it: a list of lines with their ends."""
    return text.splitlines(keepends=True)


def written(page: str) -> tuple[Path, str]:
    """Return the path of a guide's notebook, and what it is to hold."""
    path = HERE / f"{page.removesuffix('.md')}.ipynb"
    return path, json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


def main(check: bool) -> int:
    """Write the notebooks, or compare them; return the exit code."""
    other = [
        path for path, text in map(written, PAGES) if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if check:
        print("\n".join(f"{path.name} is not what its guide says: python docs/notebooks/generate.py" for path in other))
        return int(bool(other))
    for path, text in map(written, PAGES):
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
