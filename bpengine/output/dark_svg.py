"""Dark SVG: a drawing with a second set of colours, for readers whose screen is dark (`prefers-color-scheme`).

A browser that shows an SVG as a picture uses the system's setting, so one file serves both; other programs, which do not
support media queries, show the light colours.
"""

from __future__ import annotations

DARK = {  # light colours and their dark forms, with no less contrast to a dark background
    "#ffffff": "#14181f", "#1a1a1a": "#e6e9ef", "#000000": "#e6e9ef", "#5f6670": "#a6afbf", "#dde0e5": "#39414e",
    "#0072b2": "#5cb3ff", "#d55e00": "#ff9a52", "#007a5a": "#3fc59b", "#aa4499": "#e58fd3", "#c0392b": "#ff7b6b",
    "#8e44ad": "#cf9bff", "#d35400": "#ff9a52", "#111111": "#f2f4f8", "#777777": "#b4b9c3", "#333399": "#9aa2ff",
    "#b0b0b0": "#4a5261", "#56b4e9": "#a8e0ff", "#bbbbbb": "#7f8794", "#2a8fc7": "#a8e0ff",
    "#b5488a": "#f3a3d0", "#a04000": "#ffc08a", "#d9730d": "#f0a04b", "#008f68": "#35c598", "#b8860b": "#d8ac3c",
}  # fmt: skip
PROPERTIES = ("fill", "stroke", "stop-color")


def with_dark(svg: bytes) -> bytes:
    """Return an SVG with its colours as style properties, and a style sheet that replaces those of `DARK` on a dark screen.

    Text without a colour becomes light, and a picture in the drawing dimmer.
    """
    rules = [
        f'[style*="{name}: {light}"]{{{name}:{dark} !important}}' for light, dark in DARK.items() for name in PROPERTIES
    ]
    rules += ["text:not([style*=fill]){fill:#e6e9ef}", "image{filter:brightness(0.62)}"]
    sheet = f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>".encode()
    start = svg.index(b">", svg.index(b"<svg")) + 1
    return svg[:start] + sheet + svg[start:]
