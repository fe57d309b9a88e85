"""The GPU's name, clocks and power, read from nvidia-smi; nothing is set."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

CARD = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.mem")
STATE = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
PATIENCE = 10.0  # seconds


def ask(fields: Sequence[str]) -> dict[str, str]:
    """Return the named fields of the first GPU; an empty dict where nvidia-smi is missing or does not answer."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)  # nosec B603 # fixed words
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in next(iter(done.stdout.splitlines()), "").split(",")]
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


def words(fields: dict[str, str]) -> str:
    """Return the fields as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in fields.items()) or "unknown"
