"""Hostile command lines: real options of real commands, found in the program itself, with values that nobody should give.

`python -m tests.attacks.command_lines --seconds 600 --seed 1` runs them in this process, and some as processes of their own.
It fails on a traceback, an exit code that is not documented, a character on stdout or stderr that cannot be seen, a command
that takes longer than 20 s, and memory beyond a bound. What it finds is made as short as it can be, printed, and kept in
`kept_command_lines.json` for the tests.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import typer

from bpengine.cli import main, start
from bpengine.cli.app import app
from bpengine.data import load, names
from bpengine.kernels import KERNELS
from bpengine.layers.activation import ACTIVATIONS
from bpengine.losses import LOSSES
from bpengine.output.visible import HIDDEN
from bpengine.training import OPTIMIZERS
from tests.attacks import hostile_files
from tests.attacks.running import read_kept, write_kept

PATIENCE = 2.0  # seconds until a command is interrupted, as with Ctrl-C
HANG = 20.0  # seconds that none may take
FRESH = 400  # lines that share a folder
CODES = {0, 1, 2, 130, 141}
COMMANDS = {  # how often each is drawn: those that take seconds seldom
    "train": 40, "explain": 30, "predict": 25, "bench": 4, "examples": 0.3, "compare": 0.3, "check": 0.1, "doctor": 0.05,
    "demo": 0.03, "checkpoint": 5, "convert": 5, "export": 5, "launch": 0.03,
}  # fmt: skip
LAST = {  # what a command is given at the end, where the last value counts, to keep it short
    "bench": ["--workloads", "none"],
    "launch": ["-n", "1", "examples"],
    "demo": ["--epochs", "1", "--backends", "numpy"],
    "check": ["--rows", "2", "--layers", "2"],
    "compare": ["--rows", "2", "--layers", "2", "--backends", "numpy,numpy"],
}
SHORT = {
    "train": ["--epochs", "1"],
    "explain": ["--steps", "2", "--rows", "3"],
    "compare": ["--steps", "1"],
    "export": ["--onnx", "new.onnx"],
}
WHOLE = (
    "0",
    "1",
    "2",
    "-1",
    "--5",
    "9" * 18,
    "9" * 19,
    "9" * 400,
    "9" * 5000,
    "1e9",
    "1_0",
    "\u0663",
    "\u00b2",
    "0x10",
    "1000000000",
)
REAL = ("0", "0.1", "1", "-1", "nan", "inf", "-inf", "1e400", "1e308", "1e-320", "-0.0", "0.5", "9" * 5000)
TEXT = (
    *(
        "",
        " ",
        "-",
        "--",
        "=",
        ",",
        ":",
        "\n",
        "\t",
        "1,2",
        "3",
        "1,",
        "1000000000",
        "99999,99999",
        "1," * 300 + "1",
        "~",
        "~nouser",
    ),
    *("~nouser/x.csv", "/", ".", "..", "a" * 300, "a/" * 3000, "@x", "x.csv", "x.npy", "x.safetensors", "new/o.csv"),
    *(
        "2-3-1",
        "4-3-3",
        "2-" + "9" * 5000,
        "2-1000000000-1",
        "0.weight",
        "0.weight[0,0]",
        "0.weight[" + "9" * 5000 + "]",
    ),
    *(
        "0.weight[-1]",
        "0.bias",
        "1.bias=0:1:3",
        "1.bias=0,1",
        "1.bias=0:1:1000000000",
        "1.bias=nan:1:2",
        "1.bias=0:1e400:2",
    ),
    *(
        "1.bias=0:1:" + "9" * 5000,
        "=0:1:2",
        "1.bias=::",
        "0:1:2",
        "numpy",
        "cupy",
        "pt",
        "en",
        "float64",
        "float16",
        "svg",
        "dot",
    ),
    *(
        "mermaid",
        "network",
        "sweep",
        "plane",
        "loss",
        "gradients",
        "boundary",
        "fit",
        "o.png",
        "o.svg",
        "o.html",
        "o.csv",
        "o.npy",
    ),
    *("/dev/null", "/dev/full", "/dev/stdin", "/dev/stdout", "/dev/zero", "pipe", "pipe.csv", "folder.csv", "link.csv"),
    *("o.safetensors", "o.jsonl", "\x1b.svg", "\u202e.html", "o\x9b.csv", "--layers", "--help", "--json", "--force"),
)
HIDDEN_FROM_IT = ("COLUMNS", "LINES", "FORCE_COLOR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
KEPT = Path(__file__).with_name("kept_command_lines.json")  # what was found once, and is tried again by the tests
PROGRAM = (sys.executable, "-m", "bpengine")


class Line(NamedTuple):
    """A command line, and the encoding of its output."""

    args: tuple[str, ...]
    encoding: str = "utf-8"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Result:
    """What a run of the attack found."""

    seed: int
    lines: int = 0
    processes: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, Line]] = field(default_factory=list)
    slowest: float = 0.0
    memory: int = 0

    def __str__(self) -> str:
        counted = ", ".join(f"{code}: {count}" for code, count in sorted(self.codes.items()))
        head = f"seed {self.seed}: {self.lines} lines in this process, {self.processes} as processes; exit codes {counted}; "
        head += (
            f"slowest {self.slowest:.1f} s; peak memory {self.memory / 2**20:.0f} MiB; {len(self.failures)} failures"
        )
        return "\n".join([head, *(f"{what}: {line.args!r} in {line.encoding}" for what, line in self.failures)])


class Generator:
    """Draws command lines from the commands' own parameters."""

    def __init__(self, seed: int, files: list[str]) -> None:
        self.random, self.files = random.Random(seed), files
        group: Any = typer.main.get_command(app)
        self.commands = {name: command.params for name, command in group.commands.items()}
        assert set(self.commands) == set(COMMANDS), "a command is not attacked: give it a weight in COMMANDS"
        self.known = (*names(), *LOSSES, *OPTIMIZERS, *ACTIVATIONS, *KERNELS)

    def line(self) -> Line:
        """Return the next command line."""
        draw = self.random
        encoding = draw.choices(("utf-8", "ascii", "latin-1"), (8, 2, 1))[0]
        if draw.random() < 0.02:
            return Line(tuple(self.text() for _ in range(draw.randrange(4))), encoding)
        name = draw.choices(list(COMMANDS), list(COMMANDS.values()))[0]
        params = self.commands[name]
        args = [name, *self.positions(name)]
        options = [param for param in params if param.param_type_name == "option"]
        for param in draw.sample(options, min(len(options), draw.choice((0, 1, 1, 2, 2, 3, 4, 6)))):
            args += self.option(param)
        if draw.random() < 0.995:
            args += SHORT.get(name, [])
        return Line((*args, *LAST.get(name, [])), encoding)

    def positions(self, name: str) -> list[str]:
        """Return values for a command's positions: mostly such as it can take."""
        draw = self.random
        table, model = self.file(".csv"), self.file(".safetensors")
        rows = draw.choice((table, table, table, "iris", "xor", "good.npz", "x.npy"))
        likely = {
            "predict": [model, table],
            "export": [model],
            "explain": draw.choice(([model, table], ["2-3-1", "xor"], [rows])),
            "examples": [draw.choice(("mazur_222", "trask_xor_3_layer", "xor"))],
            "check": draw.choice((["xor"], [model, "t1.csv"])),
        }
        usual = likely.get(name, [rows] if name in ("train", "compare") else [])
        changed = [self.text() if draw.random() < 0.1 else value for value in usual]
        return changed + [self.text()] * (draw.random() < 0.03) if name != "examples" else changed

    def option(self, param: Any) -> list[str]:
        """Return an option with a value of its kind, or, now and then, of none."""
        draw, name = self.random, self.random.choice([*param.opts, *param.secondary_opts])
        if param.is_flag:
            return [name] if draw.random() < 0.97 else [f"{name}={self.text()}"]
        kind = str(param.type_descriptor.annotation if hasattr(param, "type_descriptor") else param.type).lower()
        pool: Callable[[], str] = self.text
        if draw.random() < 0.9:
            pool = self.whole if "int" in kind else self.real if "float" in kind else self.text
        return [f"{name}={pool()}"] if draw.random() < 0.6 else [name, pool()]

    def whole(self) -> str:
        """Return a whole number, or nearly one."""
        return self.random.choice((str(self.random.randrange(5)), self.random.choice(WHOLE)))

    def real(self) -> str:
        """Return a number, or nearly one."""
        return self.random.choice(REAL)

    def file(self, ending: str) -> str:
        """Return the name of a file."""
        return self.random.choice([name for name in self.files if name.endswith(ending)])

    def text(self) -> str:
        """Return any text."""
        draw = self.random
        pool: tuple[str, ...] = draw.choices((TEXT, self.known, tuple(self.files), hostile_files.NAMES), (6, 3, 3, 2))[
            0
        ]
        chosen = draw.choice(pool)
        if draw.random() < 0.03:
            at = draw.randrange(len(chosen) + 1)
            strange = (*hostile_files.NAMES[:9], *hostile_files.HALVES, "\0", draw.choice(WHOLE))
            chosen = chosen[:at] + draw.choice(strange) + chosen[at:]
        return chosen


def run_here(line: Line) -> Ended:
    """Run a command line in this process, interrupted after a while."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=line.encoding) for _ in range(2))
    streams, began = (sys.stdout, sys.stderr), time.perf_counter()
    sys.stdout, sys.stderr = out, err
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        code = main(line.args)
    except KeyboardInterrupt:
        code = 130
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout, sys.stderr = streams
    return Ended(code, _written(out), _written(err), time.perf_counter() - began)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer: Any = stream.buffer
    return str(buffer.getvalue().decode(stream.encoding))


def run_as_process(line: Line, draw: random.Random) -> Ended:
    """Run a command line as a process of its own: with strange sizes of the terminal, closed streams, an interruption."""
    own = {
        "PYTHONIOENCODING": line.encoding,
        "COLUMNS": draw.choice(("0", "1", "80", "-3", "9" * 5000, "\u00b2", "1000000000")),
        "LINES": draw.choice(("0", "24", "9" * 5000)),
    }
    args = [arg.encode("utf-8", "surrogateescape") for arg in line.args if "\ud800" not in arg and "\0" not in arg]
    full, interrupted = draw.random() < 0.1, draw.uniform(0.3, 2.0) if draw.random() < 0.3 else PATIENCE
    began = time.perf_counter()
    with Path("/dev/full").open("wb") as nowhere:
        running = subprocess.Popen(
            [*PROGRAM, *args],
            env={**os.environ, **own},
            stdout=nowhere if full else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    out, err = _ended(running, interrupted)
    texts = (text.decode(line.encoding) for text in (out or b"", err))
    return Ended(running.returncode, *texts, time.perf_counter() - began)


def _ended(running: subprocess.Popen[bytes], interrupted: float) -> tuple[bytes, bytes]:
    """Return what a process wrote; send it Ctrl-C after some seconds, and end it where it does not end itself."""
    with suppress(subprocess.TimeoutExpired):
        return running.communicate(timeout=interrupted)  # Python itself, which takes 0.1 s, is there by then
    running.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        return running.communicate(timeout=HANG)
    running.kill()
    return running.communicate()


def problem(line: Line, ended: Ended) -> str | None:
    """Return what is wrong with how a command ended, None where nothing is."""
    if (
        ended.code not in CODES and ended.code != -signal.SIGINT
    ):  # in its last moments Python leaves SIGINT to the system
        return f"exit code {ended.code}: {ended.err[-600:].strip()}"
    if "Traceback" in ended.out + ended.err:
        return f"a traceback: {ended.err[-600:]}"
    if ended.seconds > HANG:
        return f"it took {ended.seconds:.0f} s"
    hidden = {c for c in ended.out + ended.err if c not in "\n\t" and unicodedata.category(c) in HIDDEN}
    if hidden:
        return f"raw characters {sorted(map(ascii, hidden))}"
    if ended.code == 2 and not ended.err.splitlines()[-1].startswith(("bpengine: error: ", "bpengine: erro: ")):
        return f"exit code 2 without a reason: {ended.err[-300:]!r}"
    if ended.code == 0 and "--json" in line.args[1:] and ended.out.startswith(("{", "[")):
        try:
            json.loads(ended.out)
        except ValueError as error:
            return f"no JSON: {error}"
    return None


def shortened(line: Line, wrong: Callable[[Line], bool]) -> Line:
    """Return a line with fewer arguments that is wrong as well, the shortest that dropping them one by one finds."""
    args = list(line.args)
    for at in reversed(range(len(args))):
        fewer = Line(tuple(args[:at] + args[at + 1 :]), line.encoding)
        if wrong(fewer):
            args = list(fewer.args)
    return Line(tuple(args), line.encoding)


@contextmanager
def prepared() -> Iterator[None]:
    """Run in a new folder, with commands interrupted by an alarm as by Ctrl-C, and warnings as a user has them."""
    here, sizes = Path.cwd(), {name: os.environ.pop(name) for name in HIDDEN_FROM_IT if name in os.environ}
    heard = signal.signal(signal.SIGALRM, start.interrupt)
    unraisable, sys.unraisablehook = sys.unraisablehook, start.not_lost(sys.unraisablehook)
    folder = Path(tempfile.mkdtemp(prefix="bpengine-lines-"))
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            load("iris")  # scikit-learn is imported, which takes its time, before anything is interrupted
            yield
    finally:
        os.chdir(here)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGALRM, heard)
        sys.unraisablehook = unraisable
        os.environ.update(sizes)


def attack(
    seed: int, seconds: float, *, lines: int = sys.maxsize, processes: float = 0.01, megabytes: int = 3000
) -> Result:
    """Run command lines for some seconds, or so many, and return what they did; `processes` is the share of real ones."""
    result, ends, before = Result(seed), time.perf_counter() + seconds, devices()
    draw = random.Random(seed + 1)
    with prepared():
        files = hostile_files.make(Path.cwd())
        generator = Generator(seed, files)
        while time.perf_counter() < ends and result.lines + result.processes < lines:
            line = generator.line()
            if (result.lines + 1) % FRESH == 0:
                _fresh()
            if draw.random() < processes:
                ended = run_as_process(line, draw)
                result.processes += 1
                _judge(result, line, ended, None)
            else:
                faulthandler.dump_traceback_later(3 * HANG, exit=True, file=sys.__stderr__)
                ended = run_here(line)
                faulthandler.cancel_dump_traceback_later()
                result.lines += 1
                _judge(result, line, ended, run_here)
            result.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if result.memory > megabytes << 20:
                result.failures.append((f"memory beyond {megabytes} MiB", line))
                break
            if devices() != before:
                result.failures.append((f"the devices are now {devices()}, and were {before}", line))
                break
    return result


def _fresh() -> None:
    """Bring the folder back to what it was."""
    for path in Path.cwd().iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    hostile_files.make(Path.cwd())


def devices() -> dict[str, tuple[int, int]]:
    """Return the devices that command lines name, with what they are: the same after the attack as before."""
    named = [Path(text) for text in TEXT if text.startswith("/dev/")]
    states = {path: path.stat() for path in named if path.exists() and path.name not in ("stdin", "stdout")}
    return {str(path): (stat.S_IFMT(there.st_mode), there.st_rdev) for path, there in states.items()}


def _judge(result: Result, line: Line, ended: Ended, again: Callable[[Line], Ended] | None) -> None:
    result.codes[str(ended.code)] += 1
    result.slowest = max(result.slowest, ended.seconds)
    wrong = problem(line, ended)
    if wrong is None:
        return
    if again is not None:
        kind = wrong[:12]
        line = shortened(line, lambda fewer: (problem(fewer, again(fewer)) or "")[:12] == kind)
    result.failures.append((wrong, line))


def kept() -> list[Line]:
    """Return the lines that were found to be wrong once."""
    return [Line(tuple(args), encoding) for args, encoding in read_kept(KEPT)]


def keep(lines: list[Line]) -> None:
    """Add lines to those that are kept."""
    write_kept(KEPT, [*kept(), *lines])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.attacks.command_lines")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=int, default=sys.maxsize, help="stop after so many")
    parser.add_argument("--processes", type=float, default=0.01, help="share of lines that are processes of their own")
    parser.add_argument("--megabytes", type=int, default=3000, help="bound on the memory of this process")
    return parser.parse_args()


if __name__ == "__main__":
    options = _arguments()
    report = attack(
        options.seed, options.seconds, lines=options.lines, processes=options.processes, megabytes=options.megabytes
    )
    print(report)
    if report.failures:
        keep([line for _, line in report.failures])
    sys.exit(bool(report.failures))
