"""How a run ends: every mistake is one line and code 2, a fault names a file, an interruption is heard wherever it comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bpengine as bp
from bpengine.system import hardware
from tests.cli.conftest import process

MANY = "9" * 5000
POSIX = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
INTERRUPTED_AT = """
import os, signal, sys

class Look:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Look())
from bpengine.cli import main
sys.exit(main())
"""
LOST = """
import os, signal, sys, time
import bpengine as bp
from bpengine.cli import main

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

def load(*args, **options):
    {body}

bp.data.load = load
sys.exit(main())
"""
IN_A_CALLBACK = "Closing()\n    time.sleep(100)"
TIMER = "import threading; threading.Timer(3.0, print, ['late']).start(); os.kill(os.getpid(), signal.SIGINT)"
TURNED = "try: Closing().__del__()\n    except KeyboardInterrupt: raise ValueError('initialization failed') from None"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["train", "iris", "--layers", "1000000000"], "requires 128,000,000,048 bytes (119.2 GiB) for its 8,000,000,003"),
        (["train", "iris", "--layers", "1000000000", "--optimizer", "sgd"], "requires 96,000,000,036 bytes"),
        (["check", "iris", "--layers", "1000000000"], "bytes (89.4 GiB) for its 8,000,000,003 parameters, got"),
        (["compare", "iris", "--layers", "1000000000"], "Give smaller --layers."),
        (["explain", "2-1000000000-1", "--data", "xor"], "a network of 2-1000000000-1 requires"),
        (["train", "iris", "--layers", MANY], "--layers requires whole numbers of at most 18 digits, got one of 5000."),
        (["train", "iris", "--layers", f"3,-{MANY}"], "--layers requires whole numbers of at most 18 digits"),
        (["explain", f"2-{MANY}-1", "xor"], "the network's sizes requires whole numbers of at most 18 digits"),
        (["explain", "2-2-1", "xor", "--layer=--5", "--unit", "0"], "requires layer to be 0 to 1, got '--5'."),
        (["explain", "2-2-1", "xor", "--layer", MANY, "--unit", "0"], "--layer requires whole numbers of at most"),
        (["explain", "2-2-1", "xor", "--sweep", "1.bias=0:1:1000000000"], "at most 1,000,000 points, got 1,000,000,000."),
        (["explain", "2-2-1", "xor", *["--sweep", "1.bias=0:1:1001"] * 2], "at most 1,000,000 points, got 1,002,001."),
        (["explain", "2-2-1", "xor", "--sweep", f"1.bias=0:1:{MANY}"], "the COUNT of --sweep requires whole numbers"),
        (["train", "~nouser/x.csv"], "begins with the home folder of a user who is not known here."),
        (["train", "a\0b"], "got one with the character NUL in it."),
        (["train", "iris", "--seed", MANY], "'--seed'"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_before_the_work(mistake, monkeypatch, args, text):
    monkeypatch.setattr(hardware, "allocatable", lambda: 20 << 30)
    assert text in mistake(*args)


LAST = """
import os, signal, sys
from bpengine.cli import main

class Freed:
    def __del__(self, kill=os.kill, number=signal.SIGINT, process=os.getpid()):
        kill(process, number)

code = main()
sys.modules["freed"] = Freed()  # freed when Python has given its handlers back to the system
sys.exit(code)
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_ctrl_c_after_the_work_leaves_the_commands_own_ending():
    program = [sys.executable, "-c", LAST, "--version"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("bpengine ")


WITHIN_A_STRING = """
import sys
import bpengine as bp
from bpengine.cli import main

def load(*args, **options):
    exec("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(100)")

bp.data.load = load
sys.exit(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_ctrl_c_in_code_from_a_string_is_code_130_of_python_m_too(tmp_path):
    (tmp_path / "within.py").write_text(WITHIN_A_STRING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    program = [sys.executable, "-m", "within", "train", "iris"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (130, "bpengine: interrupted.\n")


def test_target_with_too_many_digits_is_refused(mistake, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n5,7\n")
    assert "--target requires whole numbers of at most 18" in mistake("train", tmp_path / "t.csv", "--target", MANY)
    assert "unknown data set '~nouser'" in mistake("train", "~nouser")


@POSIX
def test_named_pipe_is_refused_as_a_data_file(mistake, tmp_path):
    os.mkfifo(tmp_path / "queue.csv")
    assert "queue.csv' is no regular file." in mistake("train", tmp_path / "queue.csv")


def test_memory_needed_by_a_network_is_compared_with_available_memory(cli, monkeypatch):
    monkeypatch.setattr(hardware, "allocatable", lambda: None)
    assert cli("train", "xor", "--test-fraction", "0", "--epochs", "1").code == 0
    monkeypatch.setattr(
        hardware, "allocatable", lambda: 17 * 16
    )  # xor with 4 units: 4 * 3 + 5 parameters, adam holds four of each
    fits = ["train", "xor", "--test-fraction", "0", "--epochs", "1", "--layers", "4", "--loss", "sigmoid_cross_entropy"]
    assert cli(*fits).code == 0
    monkeypatch.setattr(hardware, "allocatable", lambda: 17 * 16 - 1)
    assert "requires 272 bytes (0.0 GiB) for its 17 parameters" in cli(*fits).err


def test_memory_limit_is_that_of_machine_and_control_group(monkeypatch, tmp_path):
    assert hardware.allocatable() is None or hardware.allocatable() > 1 << 20
    (tmp_path / "limit").write_text("1000\n")
    monkeypatch.setattr(hardware, "GROUPS", (tmp_path / "limit", tmp_path / "none"))
    assert hardware.allocatable() == 1000
    (tmp_path / "limit").write_text("max\n")
    assert hardware.allocatable() != 1000


def recursion() -> None:
    recursion()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError("Unable to allocate 8 EiB"), "more memory than there is: Unable to allocate 8 EiB. Ask for smaller"),
        (MemoryError(), "this requires more memory than there is. Ask for smaller"),
        (RecursionError("maximum recursion depth exceeded"), "nested more deeply than can be read."),
        (OverflowError("int too large to convert to float"), "too large to be computed with: int too large to convert"),
        (ValueError("Exceeds the limit (4300 digits) for integer string conversion; use sys.x"), "conversion. Give a"),
        (UnicodeEncodeError("ascii", "\u03b1", 0, 1, "ordinal not in range(128)"), "Give text in UTF-8."),
        (PermissionError(13, "Permission denied", "x"), "[Errno 13] Permission denied: 'x'"),
        (UserWarning("as an error"), "as an error"),
        (bp.DataError("long " * 100_000), " ... "),
    ],
)  # fmt: skip
def test_errors_of_the_system_are_one_line(mistake, monkeypatch, error, text):
    def load(*args, **options):
        raise error

    monkeypatch.setattr("bpengine.data.load", load)
    said = mistake("train", "iris")
    assert text in said
    assert len(said) < 2100


def test_a_fault_of_the_program_is_one_line_and_names_a_file(cli, monkeypatch, tmp_path):
    def load(*args, **options):
        raise ZeroDivisionError("a \x1b[8mbug")

    monkeypatch.setattr("bpengine.data.load", load)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = cli("train", "iris")
    assert (code, out) == (3, "")
    said = r"bpengine: fault: ZeroDivisionError: a \\x1b\[8mbug \(test_endings.py, line \d+\)\. "
    said += (
        r"This is a fault of bpengine, not of what was asked: please report it with (.*), which holds the traceback\.\n"
    )
    (file,) = re.fullmatch(said, err).groups()
    kept = Path(file).read_text(encoding="utf-8")
    assert kept.startswith("Traceback (most recent call last):")
    assert kept.endswith("ZeroDivisionError: a \\x1b[8mbug\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert cli("train", "iris").err.endswith("please report it.\n")


def interrupted_at(name: str, *args: str) -> tuple[int, str, str]:
    return process(*args, command=(sys.executable, "-c", INTERRUPTED_AT.format(name=name)))


@POSIX
@pytest.mark.parametrize(
    "name",
    [
        "bpengine.cli.start",
        "bpengine.errors",
        "bpengine.cli.visible_streams",
        "typer",
        "rich.table",
    ],
)
def test_an_interruption_while_python_imports_is_one_line(name):
    assert interrupted_at(name, "train", "xor") == (130, "", "bpengine: interrupted.\n")


@pytest.mark.thorough(keep=2)
@POSIX
@pytest.mark.parametrize("name", ["bpengine.cli.commands.train", "numpy", "bpengine_numpy", "jax", "jaxlib"])
def test_an_interruption_while_a_command_imports_is_one_line(name, tmp_path):
    backend = "jax" if name.startswith("jax") else "numpy"
    args = [
        "train",
        "xor",
        "--test-fraction",
        "0",
        "--epochs",
        "1000",
        "--backend",
        backend,
        "--out",
        str(tmp_path / "m"),
    ]
    code, out, err = interrupted_at(name, *args)
    assert (code, out) == (130, "")
    assert re.fullmatch(r"bpengine: interrupted.*\.\n", err)


@POSIX
def test_an_interrupted_command_does_not_wait_for_the_timers_of_libraries():
    ended = process("train", "xor", command=(sys.executable, "-c", LOST.format(body=TIMER)))
    assert ended == (130, "", "bpengine: interrupted.\n")


@pytest.mark.thorough(keep=1)
@POSIX
@pytest.mark.parametrize("body", [IN_A_CALLBACK, TURNED], ids=["lost in a callback", "turned into another error"])
def test_swallowed_interruption_still_ends_the_command(body):
    ended = process("train", "xor", command=(sys.executable, "-c", LOST.format(body=body)))
    assert ended == (130, "", "bpengine: interrupted.\n")


def test_integers_too_long_to_print_are_refused_in_words():
    with pytest.raises(bp.ConfigError, match="got int of very many digits"):
        bp.Dense(-(10**5000))
    with pytest.raises(bp.ConfigError, match="Adam requires a learning rate of at least 0, got 1000"):
        bp.Adam(10**400)
