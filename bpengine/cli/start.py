"""The start of the program: guards the streams, handles Ctrl-C, loads the commands, runs one, returns the exit code.

Nothing slow is imported at the top of this file.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, TypeAlias

from bpengine.cli import exit_codes
from bpengine.cli.language import spoken_language
from bpengine.cli.visible_streams import guarded
from bpengine.errors import ConfigError
from bpengine.system.launcher import launched

UnraisableHook: TypeAlias = "Callable[[sys.UnraisableHookArgs], object]"
LINE: Final = b"bpengine: interrupted.\n"
SOON: Final = 0.02  # seconds until an interruption during an import is raised again


def start(args: Sequence[str] | None) -> int:
    """Load the commands, run one and return the exit code.

    args: None for those of the process; its handling of Ctrl-C is then changed as well.
    """
    ours = args is None and _handles_interrupts()
    arguments = sys.argv[1:] if args is None else list(args)
    if not ours:
        return _guarded(arguments, ours=False)
    hook = sys.unraisablehook
    # At its end Python leaves Ctrl-C to the system, which ends the process without a line. By then all work is done: what is
    # registered first is called last, after the threads have ended.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _leave)
    sys.unraisablehook = not_lost(hook)
    try:
        return _guarded(arguments, ours=True)
    finally:
        signal.signal(signal.SIGINT, _leave)  # the command is done
        _later(0)
        sys.unraisablehook = hook
        if exit_codes.heard.is_set():
            _cancel_timers()
            _forget_interruption()


def _guarded(args: list[str], *, ours: bool) -> int:
    with guarded(), spoken_language.spoken(args):
        return exit_codes.exit_code(lambda: _run(args, ours=ours), _ending(spoken_language.without_option(args)))


def _ending(args: list[str]) -> Callable[[int, str], int]:
    """Return the function that reports the end of a command; for a command on several processes once for all of them."""
    if args[:1] != ["train"] or launched()[1] == 1:
        return exit_codes.end
    from bpengine.cli.processes.shards import end

    return end


def _run(args: list[str], *, ours: bool) -> int:
    """Import the commands and run one."""
    if any("\0" in arg for arg in args):
        raise ConfigError("bpengine requires arguments of text, got one with the character NUL in it.")
    spoken_language.asked_for(args)  # refuses an unknown language
    from bpengine.cli.app import run

    if ours:
        signal.signal(signal.SIGINT, interrupt)
    return run(spoken_language.without_option(args))


def _handles_interrupts() -> bool:
    """Return whether Python handles Ctrl-C here: not where it is ignored (nohup), and not outside the main thread."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _cancel_timers() -> None:
    """Cancel timers that an interruption has left to themselves: the process waits for them at its end.

    JAX sets one of 60 seconds while it looks for a TPU, and cancels it unless Ctrl-C comes while it is started.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def _forget_interruption() -> None:
    """Let the process end with the exit code of the command.

    Python notes that an interruption came out of code that was compiled from a string, such as that of a named tuple, and
    `python -m` ends with SIGINT then, even if the exception was handled. Other such code makes it forget this.
    """
    namedtuple("Nothing", ())


def _leave(number: int, frame: FrameType | None) -> None:
    """End the process at once: no work has begun, or all work is done.

    An exception would be lost: an import in C may turn it into another one, and a failed import may not be repeated.
    """
    os.write(2, LINE)
    os._exit(exit_codes.INTERRUPTED)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and record it: a library may turn it into another exception.

    An import in C would lose it, so during an import it is raised afterwards, or when Ctrl-C is pressed a second time.
    """
    again = number == signal.SIGINT and exit_codes.heard.is_set()
    exit_codes.heard.set()
    if not again and _in_an_import(frame) and _later(SOON):
        return
    signal.default_int_handler(number, frame)


def _later(seconds: float) -> bool:
    """Set an alarm that raises the interruption, 0 for none; return False where the system has no such alarm."""
    if not hasattr(signal, "setitimer"):
        return False
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return True


def _in_an_import(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def not_lost(hook: UnraisableHook) -> UnraisableHook:
    """Return a hook for exceptions that Python cannot raise: an interruption is raised later, others go to `hook`."""

    def report(unraisable: sys.UnraisableHookArgs) -> None:
        if not (isinstance(unraisable.exc_value, KeyboardInterrupt) and _later(SOON)):
            hook(unraisable)

    return report
