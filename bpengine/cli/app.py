"""The application: the commands by name, and `--version`. A command's module is imported when it is called."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final, TypeAlias

import typer
from typer.core import TyperGroup

import bpengine as bp
from bpengine.cli.exit_codes import show_warning
from bpengine.cli.language import help_pages
from bpengine.cli.language.help_pages import Command, HelpFormatter
from bpengine.cli.output import logged_lines, put
from bpengine.errors import unknown

HELP = """\
Train, run and check neural networks whose backward pass is written by hand.

\b
Examples:
  bpengine demo
  bpengine train iris --epochs 100 --out iris.safetensors
  bpengine checkpoint run --model iris.safetensors
  bpengine predict iris.safetensors iris --evaluate
  bpengine export iris.safetensors --onnx iris.onnx
  bpengine convert big.csv big/
  bpengine check iris
  bpengine compare iris --backends numpy,jax
  bpengine explain 2-3-1 --data xor --layer 0 --unit 2
  bpengine examples mazur_222
  bpengine bench --quick
  bpengine launch -n 4 train x.npy --target y.npy
  bpengine doctor

Every command has its own --help. Exit codes: 0 done, 1 something does not hold, 2 a mistake in what was asked
(one line says which), 3 a fault of bpengine (the line names a file to report), 75 ended with a checkpoint (start
again with --resume), 130 interrupted.
"""


Context: TypeAlias = Any  # click's, of which typer has a copy without type annotations
USAGE_ERROR: Final[Any] = typer.BadParameter.__base__
SHORT = {  # the commands in the order of the help page, each with its line of help
    "demo": "One network on every backend, checked against autodiff.",
    "train": "Train on a data set or a file, score, save.",
    "checkpoint": "The checkpoints of a run, and a model file out of them.",
    "predict": "Predict with a saved model.",
    "export": "A saved model as ONNX, which other programs run.",
    "convert": "Convert a large table into memory-mapped columns.",
    "check": "Check the gradients of a network or a model file with independent oracles.",
    "compare": "Compare one network on several backends.",
    "explain": "Where a gradient comes from, term by term; sweeps, graphs, receipts.",
    "examples": "Worked examples of the literature, beside their published numbers.",
    "bench": "The engine and its peers side by side: speed, limits of the machine, memory.",
    "doctor": "What works on this machine, what does not, and the cure.",
    "launch": "A command on several processes of this machine, started again after a crash.",
}
ELSEWHERE = {"launch": "bpengine.cli.processes.launch"}  # modules that are not in commands/
# help shown for the command that it runs
PASSED_ON = {"launch": {"ignore_unknown_options": True, "allow_interspersed_args": False}}


class LoadedCommands(Mapping[str, Command]):
    """Commands by name, each created on first use: its module may import packages that other commands do not need."""

    def __init__(self) -> None:
        self.prepare: Callable[[Command], None] = lambda command: None  # called with each created command
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            command = _command(name)
            self.prepare(command)
            self._made[name] = command
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SHORT)

    def __len__(self) -> int:
        return len(SHORT)

    def __contains__(self, name: object) -> bool:
        return name in SHORT


def _command(name: str) -> Command:
    """Import a command's module, and create the command from its function and help."""
    if name not in SHORT:
        raise KeyError(name)
    module = import_module(ELSEWHERE.get(name, f"bpengine.cli.commands.{name}"))
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, help=module.HELP, short_help=SHORT[name], context_settings=PASSED_ON.get(name))(
        getattr(module, name)
    )
    return typer.main.get_command(alone)


class Commands(TyperGroup):
    """A group that loads a command when it is called, and names the nearest one when it does not exist."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = LoadedCommands()

    def get_command(self, ctx: Context, cmd_name: str) -> Command:
        """Return the command; raise ConfigError with the nearest names when there is none."""
        if cmd_name not in self.commands and not cmd_name.startswith("-"):
            raise unknown("command", cmd_name, self.commands)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands' lines of the help page, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SHORT.items()))

    def invoke(self, ctx: Context) -> object:
        """Run the command; a usage error names it, also where the library does not."""
        try:
            return super().invoke(ctx)
        except USAGE_ERROR as mistake:
            if mistake.ctx is None and ctx.invoked_subcommand in self.commands:
                name = ctx.invoked_subcommand
                mistake.ctx = self.commands[name].context_class(self.commands[name], info_name=name, parent=ctx)
            raise


app = typer.Typer(
    cls=Commands,
    help=HELP,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        put(f"bpengine {bp.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    lang: help_pages.Lang = None,
) -> None:
    if context.invoked_subcommand is None:
        put(context.get_help())


@cache
def _commands() -> Command:
    """Return the group of the commands, created once: a process may run many commands."""
    commands = typer.main.get_command(app)
    help_pages.prepare(commands)
    return commands


def run(args: Sequence[str]) -> int:
    """Run the application and return the exit code; warnings become one line each."""
    with logged_lines(), warnings.catch_warnings():
        warnings.showwarning = show_warning
        code: int | None = _commands()(args=list(args), prog_name="bpengine", standalone_mode=False)
    return code or 0
