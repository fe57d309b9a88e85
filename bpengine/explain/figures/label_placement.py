"""Label placement: where on its line each weight is written, so that labels overlap neither each other nor other lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.figures.network_layout import Line, Weighted

RADIUS = 0.4  # radius of a circle, in inches
CLEAR, LONG, ENOUGH = 0.72, 0.4, 0.36  # space around a circle's middle, half a text's length, sufficient distance
ROUNDS, CHOICES = 5, 41
WORSE = 3.0  # cost of covering a text, relative to covering a line
STRUCK = 0.13  # half the height of a text above or below its line: a line nearer than that strikes it through


def places(lines: Sequence[Line]) -> list[tuple[Weighted, tuple[float, float]]]:
    """Return the lines that have a weight, each with the middle of its text, (x, y) in inches.

    In a few rounds, each label moves along its line to the point that is farthest from other labels and lines.
    """
    written = [line for line in lines if isinstance(line, Weighted)]
    spots = [_choices(line) for line in written]
    clear = [_clearance(line, points, lines) for line, points in zip(written, spots, strict=True)]
    chosen, middle = [CHOICES // 2] * len(written), np.abs(np.arange(CHOICES) - CHOICES // 2)
    for _ in range(ROUNDS):
        for i, (line, points) in enumerate(zip(written, spots, strict=True)):
            # Only texts between the same two columns can collide.
            near = [j for j, other in enumerate(written) if j != i and other.start.x == line.start.x]
            taken = [_extent(written[j], spots[j][chosen[j]]) for j in near]
            clearance = WORSE * _distance(line, points, taken) + clear[i] + WORSE * np.minimum(clear[i], STRUCK)
            # Among equally free places, the one nearest the middle of the line is taken.
            chosen[i] = int(np.argmax(clearance - 1e-6 * middle))
    middles = [points[k] for points, k in zip(spots, chosen, strict=True)]
    return [(line, (float(x), float(y))) for line, (x, y) in zip(written, middles, strict=True)]


def _choices(line: Line) -> HostArray:
    """Return points (n, 2) along a line at which a text keeps clear of the circles."""
    start, end = np.array([line.start.x, line.start.y]), np.array([line.end.x, line.end.y])
    edge = min(0.45, (CLEAR + LONG * np.cos(line.angle)) / (end - start)[0])
    return np.asarray(start + np.linspace(edge, 1 - edge, CHOICES)[:, None] * (end - start))


def _extent(line: Line, point: HostArray) -> HostArray:
    """Return five points (5, 2) along a text whose middle is at a point."""
    along = np.array([np.cos(line.angle), np.sin(line.angle)])
    return np.asarray(point + np.linspace(-LONG, LONG, 5)[:, None] * along)


def _distance(line: Line, points: HostArray, taken: list[HostArray]) -> HostArray:
    """Return the distance of a text at each of some points (n, 2) from the placed texts."""
    if not taken:
        return np.full(len(points), ENOUGH)
    own, others = np.array([_extent(line, p) for p in points]), np.concatenate(taken)
    away = np.linalg.norm(own[:, :, None] - others, axis=3).min(axis=(1, 2))
    return np.asarray(np.minimum(away, ENOUGH))


def _clearance(line: Line, points: HostArray, lines: Sequence[Line]) -> HostArray:
    """Return the distance of a text at each point from the other lines between the same columns."""
    own = np.array([_extent(line, p) for p in points])
    clearance = np.full(len(points), ENOUGH)
    for other in lines:
        if other is not line and other.start.x == line.start.x:
            across = (own[..., 1] - other.start.y) * np.cos(other.angle) - (own[..., 0] - other.start.x) * np.sin(
                other.angle
            )
            clearance = np.minimum(clearance, np.abs(across).min(axis=1))
    return np.asarray(clearance)
