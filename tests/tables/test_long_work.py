"""What is said while a large table is read: lines in a log, a bar on a terminal; nothing of short work."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import pytest

import bpengine as bp
from bpengine.cli.output import logged_lines
from bpengine.data.tables import conversion, csv_table
from bpengine.i18n import language
from bpengine.output import long_work
from bpengine.output.long_work import LOGGER, terminal_bar, watched

ROWS = 30


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a table of thirty rows that is read in three pieces, each of them long work."""
    monkeypatch.setattr(csv_table, "CELLS", 20)
    monkeypatch.setattr(conversion, "CELLS", 20)
    monkeypatch.setattr(long_work, "FIRST", 0.0)
    monkeypatch.setattr(long_work, "EVERY", 0.0)
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(ROWS)))
    return path


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged for people, without the seconds."""
    return [r.getMessage().rpartition(" after ")[0] for r in caplog.records if r.levelno == logging.INFO]


def test_reading_says_how_many_rows_it_has(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bpengine.work"):
        bp.data.load(table)
    said = lines_of(caplog)
    assert [line.partition(": ")[0] for line in said] == [f"reading {table}"] * 4
    assert [line.rpartition(": ")[2].split(" rows")[0] for line in said] == ["10", "20", "30", "30"]
    assert said[2].endswith("30 rows, 100%")
    assert said[3].endswith("30 rows, ended")


def test_both_passes_of_a_conversion_are_said(table: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.INFO, "bpengine.work"):
        bp.data.convert(table, tmp_path / "t")
    doing = [line.partition(f" {table}")[0] for line in lines_of(caplog)]
    assert doing == ["looking through"] * 4 + ["converting"] * 4


def test_the_share_of_a_compressed_file_is_that_of_its_own_bytes(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed = table.with_name("t.csv.gz")
    packed.write_bytes(gzip.compress(table.read_bytes()))
    with caplog.at_level(logging.INFO, "bpengine.work"):
        bp.data.load(packed)
    shares = [record.__dict__["share"] for record in caplog.records]
    assert shares[-2] == 1.0
    assert shares[-1] is None


def test_short_work_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bpengine.work"):
        assert list(watched("reading few.csv", ["ab", "c"], lambda: 0.5)) == ["ab", "c"]
    assert caplog.records == []


def test_lines_are_in_the_language_that_is_set(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    language.choose("pt")
    try:
        with caplog.at_level(logging.INFO, "bpengine.work"):
            bp.data.load(table)
    finally:
        language.choose(None)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(f"lendo {table}: 10 linhas")
    assert "linhas, terminado depois de" in said[-1]


def test_a_terminal_has_a_bar_and_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    before = LOGGER.level
    with terminal_bar():
        bar: Any = LOGGER.handlers[-1]
        pieces = watched("reading t.csv", ["ab", "c"], lambda: 0.5)
        next(pieces)
        shown = bar._bar._bar.tasks[0]
        assert shown.description.startswith("reading t.csv: 2 rows, 50% after")
        assert shown.completed == 0.5
        list(pieces)
        assert bar._bar is None
    assert LOGGER.level == before
    assert bar not in LOGGER.handlers
    assert LOGGER.propagate


def test_a_pipe_has_lines(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logged_lines():
        bp.data.load(table)
    assert f"bpengine: reading {table}: 10 rows" in capsys.readouterr().err
