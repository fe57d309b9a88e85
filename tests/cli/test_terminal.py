"""Names from files reach a terminal as escapes, in every encoding and width; a stream that is closed or full is one line."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import BarColumn, TextColumn

import bpengine as bp
from bpengine.cli import main
from bpengine.cli.output import columns, key_value_table, show
from bpengine.cli.visible_streams import Guard
from bpengine.output.progress_bar import ProgressBar
from bpengine.output.visible import HIDDEN
from tests.cli.conftest import PROGRAM, process

EVIL = "\x1b[8mred\x9b2J\u2028\u202egnp"
SHOWN = "\\x1b[8mred\\x9b2J\\u2028\\u202egnp"
POSIX = pytest.mark.skipif(os.name == "nt", reason="devices and closed streams of POSIX")


def hidden(text: str) -> set[str]:
    return {ascii(c) for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Give a table whose names contain control characters."""
    path = tmp_path / "evil.csv"
    path.write_text(f"a{EVIL},b,c{EVIL}\n1,2,{EVIL}\n2,3,naïve\n3,4,{EVIL}\n2,5,naïve\n", encoding="utf-8")
    return path


@pytest.fixture
def model(table: Path, cli) -> Path:
    """Give a model whose class names contain control characters."""
    path = table.with_suffix(".safetensors")
    assert cli("train", table, "--test-fraction", "0", "--epochs", "1", "--out", path).code == 0
    return path


def test_class_names_are_shown_as_escapes(cli, table, model):
    ended = cli("predict", model, table)
    assert f"p({SHOWN})" in ended.out
    assert not hidden(ended.out + ended.err)


def test_json_keeps_names_unchanged(cli, table):
    ended = cli("train", table, "--test-fraction", "0", "--epochs", "1", "--json")
    assert not hidden(ended.out)
    assert json.loads(ended.out)["class_names"] == [EVIL, "naïve"]


def test_headers_in_a_mistake_are_escaped(mistake, table):
    said = mistake("train", table, "--target", "c")
    assert SHOWN.replace("\\u2028", " ") in said  # a line break in a name is a blank
    assert not hidden(said)


def test_names_of_files_are_escaped(cli, mistake, tmp_path):
    path = tmp_path / f"{EVIL}.csv"
    path.write_text("a,b\n1,2\n3,4\n5,7\n")
    ended = cli("train", path, "--test-fraction", "0", "--epochs", "1")
    assert ended.code == 0
    assert not hidden(ended.out)
    assert not hidden(mistake("train", path, "--target", "z"))


def test_keys_of_npz_are_escaped(mistake, tmp_path):
    np.savez(tmp_path / "evil.npz", **{"\x1b[8m\u202e": np.ones((2, 2))})
    said = mistake("train", tmp_path / "evil.npz")
    assert "\\x1b[8m\\u202e" in said
    assert not hidden(said)


def test_settings_in_a_model_file_are_escaped(mistake, tmp_path):
    bp.Model(bp.Network(2, [bp.Dense(2)], "mean_squared_error")).save(tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes().replace(b"Dense", b"\xc2\x9b2J\x7f")
    (tmp_path / "m.safetensors").write_bytes(data)
    assert not hidden(mistake("predict", tmp_path / "m.safetensors", "xor"))


def test_explain_to_a_file_is_escaped_too(cli, tmp_path, table, model):
    out = tmp_path / "told.json"
    assert cli("explain", model, table, "--json", "--out", out).code == 0
    json.loads(out.read_text(encoding="utf-8"))
    assert not hidden(out.read_text(encoding="utf-8"))


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_are_printed_in_every_encoding_of_stdout(table, model, encoding):
    how = {"PYTHONIOENCODING": encoding}
    settings = {**os.environ, **how}
    for args in (["predict", model, table], ["train", table, "--test-fraction", "0", "--epochs", "1", "--json"]):
        done = subprocess.run([*PROGRAM, *args], capture_output=True, env=settings, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, b"")
        printed = done.stdout.decode(encoding)
        assert ("naïve" if encoding != "ascii" else "na\\xefve" if "predict" in args else "na\\u00efve") in printed
        if "--json" in args:
            assert json.loads(printed)["class_names"] == [EVIL, "naïve"]


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("columns", ["0", "1", "-3", "9" * 5000, "\u00b2", "", "1000000000", "wide"])
def test_senseless_terminal_widths_are_ignored(columns):
    ended = process("train", "xor", "--test-fraction", "0", "--epochs", "1", COLUMNS=columns, LINES=columns)
    assert (ended.code, ended.err) == (0, "")
    assert "4 rows to train on" in ended.out
    assert "xor: 2 features" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_long_path_stays_in_one_piece(cli, tmp_path):
    path = tmp_path / ("a" * 120) / "step.svg"
    path.parent.mkdir()
    assert cli("explain", "2-2-1", "--data", "xor", "--graph", "svg", "--out", path).out == f"written: {path}\n"


def test_the_environment_is_left_as_it_was(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    from bpengine.cli import main

    assert main(["--version"]) == 0
    assert os.environ["COLUMNS"] == "0"


@POSIX
def test_a_full_disk_is_one_line(table, model):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "predict", model, table], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr == b"bpengine: error: [Errno 28] No space left on device: '<stdout>'\n"


@POSIX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line_where_a_library_ignores_the_error(unbuffered):
    """The help page is printed by a library that tries the stream first, which fails at once without a buffer."""
    with Path("/dev/full").open("w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run([*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, check=False, env=environment)
    assert done.stderr == b"bpengine: error: [Errno 28] No space left on device: '<stdout>'\n"
    assert done.returncode == 2


@POSIX
def test_closed_streams_are_one_line_or_none(table, model):
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "predict", str(model), str(table)]
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "bpengine: error: [Errno 9] Bad file descriptor: '<stdout>'\n")
    shell[2] = 'exec "$@" 2>&-'
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[1][:2]) == (0, "0,")


@POSIX
def test_closed_pipe_is_no_error(model, tmp_path):
    rows = tmp_path / "many.csv"
    rows.write_text(f"a{EVIL},b,c\n" + "1,2,naïve\n2,3,x\n" * 20_000, encoding="utf-8")
    with subprocess.Popen(
        [*PROGRAM, "predict", model, rows], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout.readline().startswith(b"row,class")
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


@pytest.mark.parametrize("terminal", [True, False])
def test_the_colours_of_tables_go_through_and_those_of_cells_do_not(monkeypatch, terminal):
    class Terminal(io.StringIO):
        def isatty(self):
            return terminal

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    beneath = Terminal()
    monkeypatch.setattr(sys, "stdout", Guard(beneath, "stdout"))
    show(columns([f"head{EVIL}"], [[f"cell{EVIL}"]]), key_value_table([(f"name{EVIL}", "x")]), f"text{EVIL}")
    printed = beneath.getvalue()
    assert ("\x1b[1m" in printed) is terminal
    assert printed.count(SHOWN) == 4
    assert "\x1b[8m" not in printed
    assert hidden(printed) <= {ascii("\x1b")}


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """Give a terminal of many colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Screen()


def test_the_bar_of_a_command_reaches_the_terminal_in_its_colours(monkeypatch, screen):
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["train", "digits", "--epochs", "3", "--layers", "16"]) == 0
    assert "training \x1b[" in screen.getvalue()
    assert r"\x1b" not in screen.getvalue()
    assert "3 epochs" in sys.stdout.getvalue()


def test_text_above_a_bar_is_escaped_and_a_file_gets_what_it_should(monkeypatch, screen):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Guard(file, "stdout"))
    monkeypatch.setattr(sys, "stderr", guard := Guard(screen, "stderr"))
    bar = ProgressBar(BarColumn(), TextColumn("{task.description}", markup=False))
    bar.start()
    print(f"warning{EVIL}", file=sys.stderr)
    print("a row")
    bar.update(1.0, 2.0, f"reading{EVIL}")
    bar.stop()
    assert sys.stderr is guard
    assert file.getvalue() == "a row\n"
    printed = screen.getvalue()
    assert f"warning{SHOWN}" in printed
    assert f"reading{SHOWN}" in printed
    assert "\x1b[8m" not in printed
    assert "\x1b[2K" in printed


def test_a_bar_where_nothing_is_escaped_leaves_text_alone(monkeypatch, screen):
    """In Python a program may write its own colours."""
    monkeypatch.setattr(sys, "stderr", screen)
    bar = ProgressBar(BarColumn())
    bar.start()
    print("\x1b[31mred\x1b[0m", file=sys.stderr)
    bar.stop()
    assert "\x1b[31mred" in screen.getvalue()
    assert sys.stderr is screen


def test_stream_guard_of_a_closed_stream_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    beneath = io.TextIOWrapper(io.BytesIO())
    guard = Guard(beneath, "stdout")
    beneath.close()
    del guard
    gc.collect()
    assert not unraisable


def test_stream_that_failed_fails_again_as_its_own_stream_does() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    guard = Guard(Full(), "stdout")
    with pytest.raises(OSError, match=r"28.*<stdout>"):
        guard.write("")
    for stream in (guard, guard.own):
        with pytest.raises(OSError, match=r"28.*<stdout>"):
            stream.flush()


def test_no_cell_is_cut_in_a_pipe_unless_its_width_is_named(capsys, monkeypatch):
    heads, row = [f"head {i}" for i in range(9)], [f"contender-number-{i}" for i in range(9)]
    monkeypatch.delenv("COLUMNS", raising=False)
    show(columns(heads, [row]))
    _, _, line = capsys.readouterr().out.splitlines()
    assert line.split() == row
    monkeypatch.setenv("COLUMNS", "60")
    show(columns(heads, [row]))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
