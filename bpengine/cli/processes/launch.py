"""`bpengine launch`: a command on several processes of this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bpengine.cli.exit_codes import tell
from bpengine.distributed.job import Job
from bpengine.errors import ConfigError

HELP = """\
Run a command on several processes of this machine, and start it again after a crash.

Finds mpiexec, gives each process one BLAS thread (unless OPENBLAS_NUM_THREADS says otherwise), leaves out what MPI says
about the end of a job. With --restarts a job that crashes, is stuck or is asked to end starts again; where the command
has a --checkpoint folder, from the newest checkpoint in it. A mistake (exit code 2) and Ctrl-C (130) end it. On a
cluster use the site's own launcher: srun bpengine train ...

\b
Examples:
  bpengine launch -n 4 train x.npy --target y.npy --out model.safetensors
  bpengine launch -n 4 --restarts 3 train x.npy --target y.npy --checkpoint run/
"""
RUNS = ("train",)


def launch(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command, train, and its arguments.")],
    processes: Annotated[int, typer.Option("-n", "--processes", min=1, help="How many processes train together.")] = 2,
    restarts: Annotated[int, typer.Option(min=0, help="How often it is started again, at most.")] = 0,
) -> None:
    """Run a command on several processes."""
    if command[0] not in RUNS:
        raise ConfigError(f"launch requires the command {' or '.join(RUNS)}, got {command[0]!r}.")
    run = [sys.executable, "-m", "bpengine", *command]
    code = Job(processes=processes, command=run, say=tell, restarts=restarts, again=_again(command)).run()
    if code:
        raise typer.Exit(code)


def _again(command: list[str]) -> list[str]:
    """Return the arguments of a restart, which continues from the checkpoints that the command writes."""
    checkpoints = any(argument.partition("=")[0] == "--checkpoint" for argument in command)
    return ["--resume"] if checkpoints and "--resume" not in command else []
