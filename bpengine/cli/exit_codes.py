"""Exit codes: a mistake or an interruption becomes one line on stderr and an exit code, never a traceback.

A mistake is an error that the user can correct: an argument, a file, too little memory. Everything else is a fault of
bpengine: it becomes one line as well, which names a file with the traceback. Nothing slow is imported here, because errors
while Python imports the commands are handled here, too.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

from bpengine.cli.visible_streams import Gone
from bpengine.errors import BpError, RunInterrupted, nearest
from bpengine.i18n.language import localized
from bpengine.output.visible import visible
from bpengine.system.launcher import launched

UsageError: TypeAlias = Any  # click's, of which typer keeps a copy without types
FAILED: Final = 1
MISTAKE: Final = 2
FAULT: Final = 3
INTERRUPTED: Final = 130
REQUEUE: Final = 75  # EX_TEMPFAIL of sysexits.h: ended with a checkpoint, to be started again with --resume
NOT_READ: Final = 141  # as for a program that is ended by SIGPIPE
LONGEST: Final = 2_000  # characters of a line; a longer one is cut in the middle
heard = threading.Event()  # Ctrl-C was pressed, even if its exception was lost


class Interrupted(Exception):
    """An interruption with a message about what was done until then."""


def end(code: int, text: str) -> int:
    """Print one line on stderr, if there is a text and stderr is open, and return the code."""
    if text:
        tell(text)
    return code


def exit_code(command: Callable[[], Any], end: Callable[[int, str], int] = end) -> int:
    """Run a command and return its exit code; an exception becomes one line on stderr.

    end(code, text) prints that line, where the code is not 0, and returns the code.
    """
    heard.clear()
    try:
        code = command() or 0
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return end(*_ended(error))
    if code == INTERRUPTED:
        return end(code, "interrupted.")
    return end(int(code), "") if code else 0


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line, without the line of code that Python adds."""
    if launched()[0] == 0:  # for processes that train together, which all get the same warning
        tell(f"warning: {message}")


def _ended(error: BaseException) -> tuple[int, str]:
    """Return the exit code of a run that an exception ended, and the message."""
    if isinstance(error, Gone):
        return NOT_READ, ""
    if isinstance(error, Interrupted):
        return INTERRUPTED, str(error) or "interrupted."
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":  # typer's
        return INTERRUPTED, "interrupted."
    if isinstance(error, RunInterrupted):
        code = INTERRUPTED if error.signal == signal.SIGINT else REQUEUE
        return code, f"ended after step {error.step}; the checkpoint is in {error.folder}. --resume goes on from it."
    text = _mistake(error)
    if heard.is_set():
        return INTERRUPTED, f"interrupted; {text}" if text else "interrupted."
    if text is not None:
        return MISTAKE, f"error: {text}"
    return FAULT, _fault(error)


def _mistake(error: BaseException) -> str | None:
    """Return the message for a mistake of the user, None for any other exception."""
    if hasattr(error, "format_message"):  # a usage error, wherever this version of typer has click
        return _usage(error)
    if isinstance(error, (BpError, Warning)):
        return str(error)
    if isinstance(error, MemoryError):
        return _with("this requires more memory than there is", error, "Ask for smaller layers, fewer rows or steps.")
    if isinstance(error, RecursionError):
        return "a file that was given is nested more deeply than can be read. Give one of fewer levels."
    if isinstance(error, OverflowError) or _too_many_digits(error):
        return _with("a number that was given is too large to be computed with", error, "Give a smaller one.")
    if isinstance(error, UnicodeError):
        return _with("a text or the name of a file is not valid", error, "Give text in UTF-8.")
    if isinstance(error, OSError):
        return str(error)
    return None


def _too_many_digits(error: BaseException) -> bool:
    """Return whether Python refused to read or print a whole number because of its length."""
    return isinstance(error, ValueError) and str(error).startswith("Exceeds the limit (")


def _with(what: str, error: BaseException, hint: str) -> str:
    reason = str(error).partition("; use sys.")[0].rstrip(".")
    return f"{what}{': ' if reason else ''}{reason}. {hint}"


def _fault(error: BaseException) -> str:
    """Return that this is a fault of bpengine, with the file that the traceback was written to."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    problem = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
    path = _write_traceback("".join(traceback.format_exception(error)))
    file = f" with {path}, which holds the traceback" if path else ""
    said = f"fault: {problem}{where}. This is a fault of bpengine, not of what was asked: please report it{file}."
    return f"{said} Repository: {address}." if (address := _address()) else said


def _address() -> str | None:
    """Return where a fault can be reported; None where that is not known, or cannot be read after what happened."""
    from bpengine.extras import repository  # not at the top: needed only after a fault

    try:
        return repository()
    except (OSError, ValueError, KeyError):
        return None


def _write_traceback(text: str) -> str | None:
    """Write a traceback to a temporary file; return its path, or None where it cannot be written."""
    try:
        number, path = tempfile.mkstemp(prefix="bpengine-fault-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(visible(text))
    except OSError:
        return None
    return path


def tell(text: str) -> None:
    """Print one line on stderr, in the language that is set, if stderr is open."""
    line = " ".join(visible(localized(text)).split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    with suppress(Gone, OSError):
        print(f"bpengine: {line}", file=sys.stderr, flush=True)


def _usage(mistake: UsageError) -> str:
    """Return what is wrong with the arguments, with the nearest option for one that does not exist."""
    command = mistake.ctx.command_path if getattr(mistake, "ctx", None) else "bpengine"
    if hasattr(mistake, "possibilities") and mistake.ctx:
        known = ["--help", *(name for option in mistake.ctx.command.params for name in option.opts if name[:2] == "--")]
        longer = [
            name for name in known if name.startswith(mistake.option_name) or mistake.option_name.startswith(name)
        ]
        return (
            f"no option {mistake.option_name!r}. {nearest(mistake.option_name, longer or known)} See {command} --help."
        )
    from bpengine.cli.language.help_pages import capitals

    text = capitals(localized(mistake.format_message().rstrip()))
    return f"{text[:1].lower()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'} See {command} --help."
