"""How a run ends: a mistake or an interruption is one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TextIO

import typer

from bpengine.errors import BpError, nearest

MISTAKE: Final = 2
INTERRUPTED: Final = 130
ClickException: Any = typer.BadParameter.__mro__[2]  # the base of all usage errors, wherever this typer keeps click


class Interrupted(Exception):
    """A run that was interrupted after it had done something worth telling."""


def exit_code(command: Callable[[], Any]) -> int:
    """Run a command and return its exit code; a BpError, a bad option or a file that fails becomes one line.

    Anything else is a bug and keeps its traceback.
    """
    try:
        code = command() or 0
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stopped:
        return _end(INTERRUPTED, str(stopped) or "interrupted.")
    except ClickException as mistake:
        return _end(MISTAKE, f"error: {_usage(mistake)}")
    except (BpError, OSError) as mistake:
        return _end(MISTAKE, f"error: {mistake}")
    return _end(INTERRUPTED, "interrupted.") if code == INTERRUPTED else int(code)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line, without the line of code that Python adds."""
    _end(0, f"warning: {message}")


def _end(code: int, text: str) -> int:
    typer.echo(f"bpengine: {' '.join(text.split())}", err=True)
    return code


def _usage(mistake: Any) -> str:
    """Return what is wrong with the arguments, with the nearest option for one that does not exist."""
    command = mistake.ctx.command_path if getattr(mistake, "ctx", None) else "bpengine"
    if hasattr(mistake, "possibilities") and mistake.ctx:
        known = ["--help", *(name for option in mistake.ctx.command.params for name in option.opts if name[:2] == "--")]
        longer = [
            name for name in known if name.startswith(mistake.option_name) or mistake.option_name.startswith(name)
        ]
        return f"no option {mistake.option_name!r}. {nearest(mistake.option_name, longer or known)}"
    text = mistake.format_message().rstrip()
    return f"{text[:1].lower()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'} See {command} --help."
