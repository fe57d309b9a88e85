"""What reading from a disk costs: epochs over 10,000,000 rows of 64 features, in memory and through a memory map.

    python bench/read_ahead.py [--rows 10000000] [--features 64] [--hidden 64-64] [--backend numpy] [--rounds 3]

Writes the synthetic files into a temporary folder (2.5 GiB by default) and removes them, or uses and keeps those in
--folder. A round trains two epochs in memory and two through the map, the second of these with a cold page cache: the
pages of the files are dropped first, and the bytes that the disk then delivers are counted (Linux). Prints milliseconds
per step and, over the rounds, the median of each round's ratio to the same epoch in memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import bpengine as bp

NAME, BATCH = "teacher_classification", 1024


def drop_cache(files: list[Path]) -> None:
    """Make the system forget the files' pages."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def delivered() -> int:
    """Return the bytes that disks have delivered to this process."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def files_for(args: argparse.Namespace, folder: str) -> list[Path]:
    """Return the two files of the synthetic set, written if they are not there."""
    prefix = Path(args.folder or folder) / f"{NAME}-{args.rows}x{args.features}"
    files = [Path(f"{prefix}_{part}.npy") for part in "xy"]
    if not all(map(Path.exists, files)):
        began = time.perf_counter()
        bp.data.write(NAME, args.rows, prefix, features=args.features)
        print(f"{args.rows:,} rows written in {time.perf_counter() - began:.0f} s")
    return files


class Contest:
    """One network trained on the same rows in memory and on disk."""

    def __init__(self, args: argparse.Namespace, files: list[Path]) -> None:
        self.files = files
        self.mapped = [np.load(file, mmap_mode="r") for file in files]
        self.loaded = [np.array(array) for array in self.mapped]
        layers = [bp.Dense(int(units), "relu") for units in args.hidden.split("-")]
        classes = int(self.loaded[1].max()) + 1
        network = bp.Network(args.features, [*layers, bp.Dense(classes)], "softmax_cross_entropy")
        self.model = bp.Model(network, args.backend)
        self.model.fit(*[a[: 256 * BATCH] for a in self.loaded], batch_size=BATCH, epochs=8)  # compiled from here on
        self.steps = -(-args.rows // BATCH)
        self.initial = self.model.parameters

    def epochs(self, arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> list[float]:
        """Train two epochs, the page cache dropped between them; return the milliseconds per step of each."""
        self.read = 0

        def between(model: bp.Model, epoch: bp.training.Epoch) -> None:
            if epoch.number == 1:
                drop_cache(self.files)
                self.read = delivered()

        self.model.parameters = self.initial  # so that everyone computes with the same numbers
        history = self.model.fit(*arrays, batch_size=BATCH, epochs=2, callbacks=between)
        self.read = delivered() - self.read
        return [epoch.seconds / self.steps * 1e3 for epoch in history.epochs]


def main() -> None:
    """Write, train in turns, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--hidden", default="64-64", help="units of the hidden layers")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the files are, or are to stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bpengine-bench-") as folder:
        contest = Contest(args, files_for(args, folder))
        print(f"{contest.model}\nms per step   in memory    warm    cold   times in memory: warm  cold   from the disk")
        warm_ratios, cold_ratios = [], []
        for number in range(1, args.rounds + 1):
            memory = contest.epochs(contest.loaded)
            warm, cold = contest.epochs(contest.mapped)
            ratios = warm / memory[0], cold / memory[1]  # each epoch against the one that had learned as much
            warm_ratios.append(ratios[0])
            cold_ratios.append(ratios[1])
            print(
                f"round {number:<8}{statistics.mean(memory):9.3f}{warm:8.3f}{cold:8.3f}{ratios[0]:24.3f}{ratios[1]:6.3f}"
                f"{contest.read / 2**30:12.2f} GiB at {contest.read / 2**20 / (cold * contest.steps / 1e3):.0f} MiB/s",
                flush=True,
            )
        print(f"median{statistics.median(warm_ratios):50.3f}{statistics.median(cold_ratios):6.3f}")


if __name__ == "__main__":
    main()
