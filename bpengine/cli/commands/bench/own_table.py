"""`bpengine bench FILE`: the workload made from a user's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bpengine.benchmark import CONTENDERS, FitWorkload, Workload
from bpengine.benchmark.fits.fit_files import OwnFit
from bpengine.benchmark.fits.fit_workloads import OWN_FIT
from bpengine.benchmark.inputs import OwnRows
from bpengine.benchmark.results.report import OWN
from bpengine.cli import data_options, network_options
from bpengine.errors import ConfigError

OWN_RATE = 1e-3  # Adam's default: the score should be one that a user knows
MOST_ROWS = 2**17  # epochs of a whole fit
EPOCH_STEPS = 64  # at most: a turn takes whole epochs, and should not last for minutes


def own_workload(
    source: str, target: str | None, layers: str, batch_size: int, options: Mapping[str, Any]
) -> tuple[Workload, OwnRows]:
    """Return a network for a table of classes, and its standardised rows.

    Raises ConfigError for targets that are values, since not all contenders have a loss for them.
    """
    dataset = data_options.load(source, target, None, options=options)
    if dataset.task != "classification":
        raise ConfigError(
            f"bench requires targets that are classes, got values in {source!r}: its contenders are compared on "
            "softmax cross-entropy. --target names another column."
        )
    x = np.asarray(dataset.x, np.float32)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
    batch = min(batch_size, len(x))
    sizes = (x.shape[1], *network_options.units(layers), max(2, dataset.outputs))
    work = Workload(OWN, sizes, batch, epoch_steps=max(1, min(EPOCH_STEPS, len(x) // batch)))
    return work, OwnRows(x, np.asarray(dataset.y, np.int64))


def own_fit(work: Workload, own: OwnRows, epochs: int) -> tuple[FitWorkload, OwnFit]:
    """Return the whole fit of the same network on four fifths of the rows, 2^17 at most; every fifth row is for testing."""
    held_out = np.arange(len(own.x)) % 5 == 4
    x, y = own.x[~held_out][:MOST_ROWS], own.y[~held_out][:MOST_ROWS]
    title = f"a process that fits {len(x):,} rows of your own for {epochs} epochs"
    batch = min(work.batch, len(x))
    of_rows: dict[str, Any] = {"rows": len(x), "source": "own", "learning_rate": OWN_RATE}
    fit = FitWorkload(OWN_FIT, title, (work.sizes,), batch, epochs=epochs, **of_rows)
    return fit, OwnFit(x, y, own.x[held_out], own.y[held_out])


def elsewhere(names: list[str] | None, device: str) -> tuple[list[str] | None, dict[str, str]]:
    """Return the contenders of a device, and why the others of these names do not run on it."""
    if names is None:
        return None, {}
    other = {n: CONTENDERS[n].devices for n in names if n in CONTENDERS and device not in CONTENDERS[n].devices}
    reasons = {n: f"it runs on the {kinds[0].upper()} alone (--device {kinds[0]})" for n, kinds in other.items()}
    return [name for name in names if name not in other], reasons
