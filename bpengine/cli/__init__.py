"""The command line: one file per command, no mathematics. Typer and rich are loaded here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run `bpengine` with the given arguments (default: those of the process) and return the exit code."""
    from bpengine.cli.app import run

    return run(args)


__all__ = ["main"]
