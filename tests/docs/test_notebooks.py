"""The notebooks are what the guides say, and run: every cell shows the text that the guide shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_notebooks", NOTEBOOKS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = generator()
RESULT = re.compile(r"bp\.(explain|explain\.paths|explain\.forward|sweep|sensitivity)\(.*\)$")
PAGES: list[str] = GENERATE.PAGES
each = pytest.mark.parametrize("page", PAGES)


@each
def test_a_notebook_is_what_its_guide_says(page: str) -> None:
    path, text = GENERATE.written(page)
    assert path.read_text(encoding="utf-8") == text
    nbformat.validate(nbformat.reads(text, as_version=4))


def test_every_notebook_has_its_guide() -> None:
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == {GENERATE.written(page)[0].name for page in PAGES}


@each
def test_nothing_of_a_guide_is_lost(page: str) -> None:
    cells = GENERATE.notebook(page)["cells"]
    guide = (GENERATE.GUIDES / page).read_text(encoding="utf-8")
    assert sum(line.startswith(">>> ") for line in guide.splitlines()) == sum(
        len(GENERATE.ast.parse("".join(c["source"])).body) for c in cells if c["cell_type"] == "code"
    )
    words = re.sub(GENERATE.SESSION, "", guide).split()
    said = " ".join("".join(c["source"]) for c in cells[1:] if c["cell_type"] == "markdown").split()
    assert len(words) == len(said)


@each
def test_links_lead_somewhere(page: str) -> None:
    text = "\n".join("".join(c["source"]) for c in GENERATE.notebook(page)["cells"] if c["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (NOTEBOOKS / link).exists()] == []


def test_changed_guide_is_detected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    module = generator()
    for page in PAGES:
        (tmp_path / page).write_text((GENERATE.GUIDES / page).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(module, "GUIDES", tmp_path)
    assert module.main(check=True) == 0
    changed = (tmp_path / "gradient.md").read_text(encoding="utf-8").replace("seed=3", "seed=4")
    (tmp_path / "gradient.md").write_text(changed, encoding="utf-8")
    assert module.main(check=True) == 1
    assert "gradient.ipynb is not what its guide says" in capsys.readouterr().out


def test_a_printed_result_is_shown_itself() -> None:
    assert GENERATE.shown("x = 1\nprint(bp.explain(m, x, y))") == "x = 1\nbp.explain(m, x, y)"
    for kept in ("print(f(x))", "print(bp.a(x), 1)", "print(bp.a(x).text('pt'))", "print(f'{x}')", "x = print"):
        assert GENERATE.shown(kept) == kept


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
@pytest.mark.thorough(keep=1)
@each
def test_a_notebook_runs_and_shows_what_the_guide_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # else busy cores are worth a warning
    ran = executed(page, tmp_path)
    expected = nbformat.reads(GENERATE.written(page)[1], as_version=4)
    for cell, guide in zip(ran.cells, expected.cells, strict=True):
        if guide.cell_type == "code":
            assert text_of(cell.outputs) == text_of(guide.outputs)
            if RESULT.match(guide.source.splitlines()[-1]):
                assert "text/html" in cell.outputs[0].data


def executed(page: str, folder: Path) -> Any:
    from nbclient import NotebookClient

    notebook = nbformat.reads(GENERATE.written(page)[1], as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def text_of(outputs: list[Any]) -> list[str]:
    """Return what is shown as text, line by line."""
    texts = [output.text if output.output_type == "stream" else output.data["text/plain"] for output in outputs]
    return [line.rstrip() for line in "".join(texts).strip("\n").splitlines()]
