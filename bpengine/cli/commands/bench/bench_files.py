"""The files of `bpengine bench`: the record, which includes the machine, the same as a page, and the figure."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bpengine as bp
from bpengine.benchmark import nvidia_smi
from bpengine.benchmark.results import figure, record, report
from bpengine.cli.output import require_writable, say
from bpengine.output.writing import make_folder, write_whole
from bpengine.system import blas, blas_overrides, hardware


def circumstances(device: str = "cpu", *, quick: bool) -> dict[str, Any]:
    """Return the record's description of the command, the machine, its GPU, and variables that force BLAS."""
    cost, library, cpu = blas_overrides.cost(), blas.library(), hardware.cpu()
    kernel = cost.own_kernel if cost else library["kernel"]
    limits = hardware.thread_limits()
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "bpengine": bp.__version__,
        "command": shlex.join(["bpengine", *sys.argv[1:]]),
        "quick": quick,
        "machine": {
            "CPU": cpu["model"],
            "cores": f"{cpu['cores']}, {cpu['usable']} usable",
            "memory": hardware.gib(hardware.memory()["total"]),
            "system": platform.platform(),
            "Python": platform.python_version(),
            "BLAS of NumPy": f"{library['name']} {library['version']}, kernel {kernel}, {library['threads']} threads",
            "thread limits": ", ".join(f"{name}={value}" for name, value in limits.items()) or "none",
            "kept from the contenders": cost.warning() if cost else "nothing",
            "load average at the start": " ".join(f"{value:.2f}" for value in load) or "unknown",
            **(_gpu() if device == "gpu" else {}),
        },
    }


def _gpu() -> dict[str, str]:
    card = nvidia_smi.ask(nvidia_smi.CARD)
    return {
        "GPU": card.pop("name", "unknown"),
        "driver": card.pop("driver_version", "unknown"),
        "GPU, at most": nvidia_smi.words(card),
        "GPU at the start": nvidia_smi.words(nvidia_smi.ask(nvidia_smi.STATE)),
    }


class Files:
    """The files of a run: DATE-PROCESSOR-DEVICE-PART with the endings .json, .md and .svg, in one folder.

    Raises ConfigError when the folder cannot be created, or one of the files exists and `force` is not given.
    """

    def __init__(self, folder: Path, processor: str, device: str, *, quick: bool, force: bool, part: str = "") -> None:
        make_folder(folder)
        words = [datetime.now(UTC).date().isoformat(), processor, device, *(["quick"] if quick else []), part]
        stem = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
        self.json, self.page, self.figure = (folder / f"{stem}{ending}" for ending in (".json", ".md", ".svg"))
        for path in (self.json, self.page, self.figure):
            require_writable(path, force=force)

    def keep(self, results: dict[str, Any]) -> None:
        """Write the record so far, in place of the last one."""
        record.write(results, self.json)
        write_whole(self.page, report.document(results).encode())

    def write(self, results: dict[str, Any]) -> None:
        """Write record, page and, with matplotlib, figure; print where they are."""
        record.write(results, self.json)
        text, reason = report.document(results), figure.available()
        if reason is None:
            figure.draw(results, self.figure)
            text += f"\n![Throughput and shares of the roofline]({self.figure.name})\n"
        write_whole(self.page, text.encode())
        drawn = f"no figure: {reason}" if reason else str(self.figure)
        say(f"written: {self.json}, {self.page}, {drawn}", err=True)
