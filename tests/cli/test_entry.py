"""The program as a user meets it: exit codes, one line for a mistake, help, no colour codes in a pipe."""

import os
import signal
import subprocess
import sys

import pytest

import bpengine as bp
from tests.cli.conftest import PROGRAM, process

COMMANDS = ("demo", "train", "predict", "doctor")
TELLING = """
import sys
import bpengine as bp
from bpengine.cli import main

fit = bp.Model.fit
bp.Model.fit = lambda *args, **settings: fit(*args, **{**settings, "callbacks": tell})

def tell(model, epoch):
    if epoch.number == 1:
        print("training", file=sys.stderr, flush=True)

sys.exit(main())
"""


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("command", [PROGRAM, (sys.executable, "-m", "bpengine")], ids=["entry", "module"])
def test_script_and_module_print_the_version(command):
    assert process("--version", command=command) == (0, f"bpengine {bp.__version__}\n", "")


def test_the_console_script_is_declared():
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="bpengine")
    assert script.value == "bpengine.cli:main"


def test_a_mistake_is_one_line_and_code_2():
    ended = process("train", "irs")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [ended.err.strip()]
    assert "unknown data set 'irs'. Did you mean 'iris'" in ended.err
    assert "\x1b" not in ended.err


def test_output_to_a_pipe_has_no_colours():
    ended = process("train", "xor", "--test-fraction", "0", "--epochs", "2")
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    assert all(line == line.rstrip() for line in ended.out.splitlines())


def test_the_engine_alone_loads_neither_typer_nor_rich():
    code = "import bpengine, sys; sys.exit(bool({'typer', 'rich', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
def test_interrupted_is_one_line_and_code_130(tmp_path):
    saved = tmp_path / "m.safetensors"
    program = [sys.executable, "-c", TELLING, "train", "blobs", "--epochs", "100000000", "--test-fraction", "0"]
    program += ["--out", str(saved)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr.readline() == "training\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.startswith("bpengine: interrupted after ")
    assert err.count("\n") == 1
    assert saved.exists()


@pytest.mark.parametrize("how", [KeyboardInterrupt, "typer"])
def test_an_interruption_anywhere_is_code_130(cli, monkeypatch, how):
    def stop(*_, **__):
        if how == "typer":
            import typer

            raise typer.Abort
        raise KeyboardInterrupt

    monkeypatch.setattr("bpengine.data.load", stop)
    assert cli("train", "iris") == (130, "", "bpengine: interrupted.\n")


def test_a_closed_pipe_is_no_traceback(tmp_path):
    model = tmp_path / "m.safetensors"
    assert process("train", "blobs", "--epochs", "1", "--out", str(model)).code == 0
    program = [*PROGRAM, "predict", str(model), "blobs"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


def test_no_command_prints_the_help(cli):
    ended = cli()
    assert (ended.code, ended.err) == (0, "")
    assert all(command in ended.out for command in COMMANDS)
    assert cli("--help").out == cli("-h").out == ended.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does_with_an_example_and_every_option(cli, command):
    ended = cli(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"  bpengine {command}" in ended.out.partition("Examples:")[2]
    listed = ended.out.partition("Options:")[2]
    assert all(len(line.split()) > 1 for line in listed.splitlines() if line.strip().startswith("--"))
    assert max(map(len, ended.out.splitlines())) <= 100


def test_the_help_of_train_gives_every_default(cli):
    listed = cli("train", "--help").out.partition("Options:")[2]
    flags = {"--force", "--json", "--resume"}
    options = {line.split()[0] for line in listed.splitlines() if line.startswith("  --")}
    assert listed.count("[default:") == len(options - flags)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["trian"], "unknown command 'trian'. Did you mean 'train'?"),
        (["train", "iris", "--epoch", "3"], "no option '--epoch'. Did you mean '--epochs'?"),
        (["--verison"], "no option '--verison'. Did you mean '--version'?"),
        (["train"], "missing argument 'FILE_OR_NAME'. See bpengine train --help."),
        (["train", "iris", "--epochs", "x"], "'--epochs'"),
        (["train", "iris", "--epochs", "0"], "'--epochs'"),
        (["train", "iris", "--seed"], "'--seed' requires an argument"),
        (["train", "iris", "wine"], "unexpected extra argument"),
        (["doctor", "now"], "unexpected extra argument"),
    ],
)
def test_usage_mistakes_are_named(mistake, args, text):
    assert text in mistake(*args)


def test_a_warning_is_one_line(cli, monkeypatch):
    import warnings

    real = bp.data.load

    def load(*args, **options):
        warnings.warn("the floor is wet", stacklevel=1)
        return real(*args, **options)

    monkeypatch.setattr("bpengine.data.load", load)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        ended = cli("train", "xor", "--test-fraction", "0", "--epochs", "1")
    assert (ended.code, ended.err) == (0, "bpengine: warning: the floor is wet\n")


def test_a_command_is_imported_when_it_is_called():
    code = (
        "import sys; from bpengine.cli import main; code = main({args!r});"
        "names = [name.split('.')[3] for name in sys.modules if name.startswith('bpengine.cli.commands.')];"
        "print(code, sorted(set(names)))"
    )
    loaded = {}
    for args in (["--help"], ["examples", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(args=args)], capture_output=True, text=True, check=True
        )
        loaded[args[0]] = done.stdout.splitlines()[-1]
    assert loaded == {"--help": "0 []", "examples": "0 ['examples']"}


@pytest.mark.parametrize("args", [["train", "--help"], ["train", "xor", "--epochs", "1", "--test-fraction", "0"]])
def test_training_without_a_figure_loads_no_explanations(args):
    code = (
        "import sys; from bpengine.cli import main; code = main({args!r});"
        "print(code, [name for name in sys.modules if name.startswith('bpengine.explain')])"
    )
    done = subprocess.run([sys.executable, "-c", code.format(args=args)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
