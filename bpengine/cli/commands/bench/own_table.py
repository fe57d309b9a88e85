"""`bpengine bench FILE`: the workload made from a user's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from bpengine.benchmark import CONTENDERS, FitWorkload, Workload
from bpengine.benchmark.fits.fit_files import OwnFit
from bpengine.benchmark.fits.fit_workloads import OWN_FIT
from bpengine.benchmark.inputs import OwnRows
from bpengine.benchmark.results.report import OWN
from bpengine.cli import data_options, network_options
from bpengine.errors import ConfigError

OWN_RATE = 1e-3  # Adam's usual one: the score should be one that a user knows
# What bounds a measurement: a turn takes whole epochs, and a contender's whole fit should take seconds, not minutes.
MOST_ROWS = 2**17  # of a whole fit; as many as decide about an accuracy to three digits
EPOCH_STEPS = 64
FIT_STEPS = 2**13  # about 4 s at half a millisecond, what a small step takes the libraries that run it call by call
FIT_OPERATIONS = 4e11  # about 4 s at 100 GFLOP/s
TURN_OPERATIONS = 1e11


def own_workload(
    source: str, target: str | None, layers: str, batch_size: int, options: Mapping[str, Any]
) -> tuple[Workload, OwnRows]:
    """Return a network for a table of classes, and its standardised rows.

    Of a large table rows are drawn at random, five fourths of MOST_ROWS.
    Raises ConfigError for targets that are values, which not all contenders have a loss for.
    """
    dataset = data_options.load(source, target, None, raw=True, options=options)
    if dataset.task != "classification":
        raise ConfigError(
            f"bench requires targets that are classes, got values in {source!r}: its contenders are compared on "
            "softmax cross-entropy. --target names another column."
        )
    x, y = data_options.draw_rows(dataset.x, dataset.y, max(MOST_ROWS * 5 // 4, 2 * batch_size), 0)
    drawn = replace(dataset, x=x, y=y)
    x = np.asarray(data_options.numbers(drawn).x, np.float32)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
    batch = min(batch_size, len(x))
    sizes = (x.shape[1], *network_options.units(layers), max(2, dataset.outputs))
    affordable = max(2, int(TURN_OPERATIONS / operations(sizes, batch)))
    work = Workload(OWN, sizes, batch, epoch_steps=max(1, min(EPOCH_STEPS, affordable, len(x) // batch)))
    return work, OwnRows(x, np.asarray(y, np.int64), dataset.rows)


def operations(sizes: Sequence[int], rows: int) -> int:
    """Return about how many operations a training step takes: three products a layer, each of two per weight and row."""
    return 6 * rows * sum(inputs * outputs for inputs, outputs in pairwise(sizes))


def own_fit(work: Workload, own: OwnRows, epochs: int) -> tuple[FitWorkload, OwnFit]:
    """Return the whole fit of the same network on four fifths of the rows; every fifth row judges it.

    Fewer rows, drawn at random, are taken where the fit would last much longer than seconds; the title says how many.
    """
    held_out = np.arange(len(own.x)) % 5 == 4
    most = max(work.batch, int(min(MOST_ROWS, _affordable_rows(work, epochs))))
    drawn, y = data_options.draw_rows(own.x[~held_out], own.y[~held_out], most, 1)
    x = np.asarray(drawn)
    if len(x) + np.count_nonzero(held_out) == own.table_rows:
        title = f"a process that fits {len(x):,} rows of your own for {epochs} epochs"
    else:
        title = f"a process that fits {len(x):,} rows, drawn from your {own.table_rows:,}, for {epochs} epochs"
    batch = min(work.batch, len(x))
    of_rows: dict[str, Any] = {"rows": len(x), "source": "own", "learning_rate": OWN_RATE}
    fit = FitWorkload(OWN_FIT, title, (work.sizes,), batch, epochs=epochs, **of_rows)
    return fit, OwnFit(x, y, own.x[held_out], own.y[held_out])


def _affordable_rows(work: Workload, epochs: int) -> float:
    """Return how many rows a whole fit of so many epochs may have."""
    return min(FIT_STEPS * work.batch, FIT_OPERATIONS / operations(work.sizes, 1)) / epochs


def elsewhere(names: list[str] | None, device: str) -> tuple[list[str] | None, dict[str, str]]:
    """Return the contenders of a device, and why the others of these names do not run on it."""
    if names is None:
        return None, {}
    other = {n: CONTENDERS[n].devices for n in names if n in CONTENDERS and device not in CONTENDERS[n].devices}
    reasons = {n: f"it runs on the {kinds[0].upper()} alone (--device {kinds[0]})" for n, kinds in other.items()}
    return [name for name in names if name not in other], reasons
