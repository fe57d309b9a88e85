"""Environment variables that override OpenBLAS's choice of kernel for this processor, and what that costs here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

VARIABLES: Final = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
ROUNDS: Final = 3
NOTICEABLE: Final = 1.1  # a smaller difference is within the variation of two runs with the same settings


@dataclass(frozen=True, kw_only=True)
class OverrideCost:
    """Times of a matrix product with the forced settings and with OpenBLAS's own choice; `failure` if the former crashed."""

    forced: dict[str, str]
    kernel: str | None
    own_kernel: str | None
    seconds: float | None
    own_seconds: float | None
    failure: str | None = None

    @property
    def ratio(self) -> float | None:
        """Time with the forced settings over time without; None if one is not known."""
        return self.seconds / self.own_seconds if self.seconds and self.own_seconds else None

    @property
    def harmless(self) -> bool:
        """True when the forced kernel is the one that OpenBLAS would choose, and nothing else is forced."""
        return "OPENBLAS_L2_SIZE" not in self.forced and not self.failure and self.kernel == self.own_kernel

    def warning(self) -> str:
        """Return a message with the forced settings, their cost and the cure."""
        settings = " ".join(f"{name}={value}" for name, value in self.forced.items())
        cure = f"Cure: unset {' '.join(self.forced)}"
        if self.failure:
            return f"{settings} makes matrix products fail: {self.failure}. {cure}"
        choice = (
            f" (kernel {self.kernel}; this CPU's own is {self.own_kernel})" if self.kernel != self.own_kernel else ""
        )
        return f"{settings}{choice}: {self._measured()} {cure}"

    def _measured(self) -> str:
        if self.ratio is None or self.seconds is None or self.own_seconds is None:
            return "its cost could not be measured."
        times = f"({self.seconds * 1e3:.2f} ms, {self.own_seconds * 1e3:.2f} ms without)"
        if self.ratio < NOTICEABLE:
            return f"a float32 matrix product takes {self.ratio:.2f} times as long here, no noticeable cost {times}."
        return f"a float32 matrix product takes {self.ratio:.2f} times as long {times}."


def cost() -> OverrideCost | None:
    """Time a matrix product with and without the forced settings, in new processes each time; None if none is set."""
    forced = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if not forced:
        return None
    own_environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    runs = [
        (_run(dict(os.environ)), _run(own_environment)) for _ in range(ROUNDS)
    ]  # alternating, so that both meet the same load
    with_them, without = zip(*runs, strict=True)
    failure = next((run["failure"] for run in with_them if "failure" in run), None)
    return OverrideCost(
        forced=forced, kernel=_kernel(with_them), own_kernel=_kernel(without), seconds=_shortest(with_them),
        own_seconds=_shortest(without), failure=failure,
    )  # fmt: skip


def _run(environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(  # nosec B603 # this Python, a module of ours
        [sys.executable, "-m", "bpengine.system.matmul_probe"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    if done.returncode < 0:
        return {"failure": f"the process is ended by {signal.Signals(-done.returncode).name}"}
    return {"failure": (done.stderr.strip().splitlines() or ["no message"])[-1]}


def _kernel(runs: Sequence[dict[str, Any]]) -> str | None:
    return next((run["kernel"] for run in runs if run.get("kernel")), None)


def _shortest(runs: Sequence[dict[str, Any]]) -> float | None:
    return min((run["seconds"] for run in runs if "seconds" in run), default=None)
