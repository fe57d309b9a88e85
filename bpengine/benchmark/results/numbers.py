"""Numbers in tables: three significant figures, and sizes as text."""

from __future__ import annotations


def figures(value: float) -> str:
    """Return a number with three significant figures, never in powers of ten."""
    text = f"{value:.3g}"
    return f"{float(text):,.0f}" if abs(value) >= 100 else text if "e" not in text else f"{value:.7f}".rstrip("0")


def mib(size: int) -> str:
    """Return a number of bytes as text."""
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"
