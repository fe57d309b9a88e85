"""The command line: commands/ holds the commands, no mathematics. Typer and rich are loaded here and nowhere else.

start: the start of the program, up to its exit code. app: the commands by name. exit_codes, visible_streams, output: exit
codes and printing. *_options: options that commands share.
"""

from __future__ import annotations

TYPE_CHECKING = False  # nothing is imported before `main` runs, which catches interruptions
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run `bpengine` with the given arguments (default: those of the process) and return the exit code.

    Without arguments the program controls the whole process: Ctrl-C ends it with one line and exit code 130, also during
    imports and after the command has finished.
    """
    try:
        from bpengine.cli.start import start

        return start(args)
    except KeyboardInterrupt:  # a second Ctrl-C, or one before `start` could handle it
        import os

        os.write(2, b"bpengine: interrupted.\n")
        return 130


__all__ = ["main"]
