"""Where a benchmark was run, and the files it leaves: the record, the same as a page, and the figure."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

import bpengine as bp
from bpengine.benchmark import figure, record, report
from bpengine.cli import _blas, _forced, _machine
from bpengine.cli._output import claim


def circumstances(*, quick: bool) -> dict[str, Any]:
    """Return what a record says of the machine, of the variables that would have forced BLAS, and of the command."""
    cost, blas, cpu = _forced.cost(), _blas.library(), _machine.cpu()
    kernel = cost.own_kernel if cost else blas["kernel"]
    limits = _machine.thread_limits()
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "bpengine": bp.__version__,
        "command": shlex.join(["bpengine", *sys.argv[1:]]),
        "quick": quick,
        "machine": {
            "CPU": cpu["model"],
            "cores": f"{cpu['cores']}, {cpu['usable']} usable",
            "memory": _machine.gib(_machine.memory()["total"]),
            "system": platform.platform(),
            "Python": platform.python_version(),
            "BLAS of NumPy": f"{blas['name']} {blas['version']}, kernel {kernel}, {blas['threads']} threads",
            "thread limits": ", ".join(f"{name}={value}" for name, value in limits.items()) or "none",
            "kept from the contenders": cost.warning() if cost else "nothing",
            "load average at the start": " ".join(f"{value:.2f}" for value in load) or "unknown",
        },
    }


class Files:
    """The results of a run: DATE-PROCESSOR-DEVICE with the endings .json, .md and .svg, in one folder.

    Raises ConfigError when the folder cannot be made, or one of the files is there already and `force` is not given.
    """

    def __init__(self, folder: Path, processor: str, device: str, *, quick: bool, force: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        words = [datetime.now(UTC).date().isoformat(), processor, device, *(["quick"] if quick else [])]
        stem = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
        self.json, self.page, self.figure = (folder / f"{stem}{ending}" for ending in (".json", ".md", ".svg"))
        for path in (self.json, self.page, self.figure):
            claim(path, force=force)

    def write(self, made: dict[str, Any]) -> None:
        """Write what can be written, and say where it is."""
        record.write(made, self.json)
        text, reason = report.document(made), figure.available()
        if reason is None:
            figure.draw(made, self.figure)
            text += f"\n![Throughput and shares of the roofline]({self.figure.name})\n"
        self.page.write_text(text, encoding="utf-8")
        drawn = f"no figure: {reason}" if reason else str(self.figure)
        typer.echo(f"written: {self.json}, {self.page}, {drawn}", err=True)
