"""The command line: one file per command, no mathematics. Typer and rich are loaded here and nowhere else."""

from __future__ import annotations

TYPE_CHECKING = False  # nothing is imported before `main` runs: only from there on an interruption can be caught
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run `bpengine` with the given arguments (default: those of the process) and return the exit code.

    Without arguments the process is taken to be the program's own: Ctrl-C ends it with one line and code 130, also while
    Python still imports, and after the command is done.
    """
    try:
        from bpengine.cli.start import start

        return start(args)
    except KeyboardInterrupt:  # a second one, or one before `start` could look after it
        import os

        os.write(2, b"bpengine: interrupted.\n")
        return 130


__all__ = ["main"]
