"""The application: the commands by name, and `--version`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import bpengine as bp
from bpengine.cli.commands import (
    bench,
    check,
    checkpoint,
    compare,
    convert,
    demo,
    doctor,
    examples,
    explain,
    export,
    predict,
    train,
)
from bpengine.cli.exit_codes import show_warning
from bpengine.cli.language import help_pages
from bpengine.cli.output import logged_lines, put
from bpengine.cli.processes import launch
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


USAGE_ERROR: Final[Any] = typer.BadParameter.__base__  # wherever this typer keeps click


class Commands(TyperGroup):
    """A group that names the nearest command when one does not exist."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command; raise ConfigError with the nearest names when there is none."""
        if cmd_name not in self.commands and not cmd_name.startswith("-"):
            raise unknown("command", cmd_name, self.commands)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a mistake in its options names it, also where the library does not say which one it was."""
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


for _command, _help, _short in (
    (demo.demo, demo.HELP, "One network on every backend, checked against autodiff."),
    (train.train, train.HELP, "Train on a data set or a file, score, save."),
    (checkpoint.checkpoint, checkpoint.HELP, "The checkpoints of a run, and a model file out of them."),
    (predict.predict, predict.HELP, "Predict with a saved model."),
    (export.export, export.HELP, "A saved model as ONNX, which other programs run."),
    (convert.convert, convert.HELP, "A large table once into memory-mapped columns."),
    (check.check, check.HELP, "The gradients of a network or a model file, before independent oracles."),
    (compare.compare, compare.HELP, "One network on several backends, side by side."),
    (explain.explain, explain.HELP, "Where a gradient comes from, term by term; sweeps, graphs, receipts."),
    (examples.examples, examples.HELP, "Worked examples of the literature, beside their published numbers."),
    (bench.bench, bench.HELP, "The engine and its peers side by side: speed, limits of the machine, memory."),
    (doctor.doctor, doctor.HELP, "What works on this machine, what does not, and the cure."),
):
    app.command(help=_help, short_help=_short)(_command)
app.command(  # what follows the command that it runs is that command's
    help=launch.HELP,
    short_help="A command on several processes of this machine, started again after a crash.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)(launch.launch)


@cache
def _commands() -> Any:
    """Return the commands with their options, made once: a process may run many."""
    commands = typer.main.get_command(app)
    help_pages.prepare(commands)
    return commands


def run(args: Sequence[str]) -> int:
    """Run the application and return the exit code; warnings become one line each."""
    with logged_lines(), warnings.catch_warnings():
        warnings.showwarning = show_warning
        code: int | None = _commands()(args=list(args), prog_name="bpengine", standalone_mode=False)
    return code or 0
