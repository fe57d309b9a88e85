"""A Parquet file larger than the memory it may use: converting it against reading it, and training from it.

    python bench/tables.py [--rows 5000000] [--columns 100] [--rounds 3] [--folder DIR] [--parts reading,training]

Writes float32 columns and a target in row groups of 100,000 rows, if the file is not there; reads it with pyarrow, whole and
batch by batch; converts it with `bpengine convert`; trains one epoch with `bpengine train FILE`, which converts by itself.
Each is a process of its own, which says its seconds, those of all its threads on a core, and the most memory that was ever
resident (VmHWM); those that are compared take turns. Prints JSON. Conversion is to take at most twice as long as reading,
training less than 1.5 GiB.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bpengine.system import hardware

Runs = dict[str, list[dict[str, float]]]
GROUP = 100_000
WATCHED = """
import json, sys, time
began = time.perf_counter()
try:
    {}
finally:
    told = {{"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time()}}
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print("\\n" + json.dumps({{**told, "peak_mib": int(status["VmHWM"].split()[0]) / 1024}}))
"""
READ = {
    "read_whole": "import pyarrow.parquet as pq; pq.read_table(sys.argv[1])",
    "read_batches": "import pyarrow.parquet as pq; [0 for _ in pq.ParquetFile(sys.argv[1]).iter_batches(65536)]",
}
SHOWN = {"seconds": statistics.median, "cpu_seconds": statistics.median, "peak_mib": max}
COMMAND = "from bpengine.cli import main; main()"


def write(path: Path, rows: int, columns: int) -> None:
    """Write standard normal columns, and whether a sum of ten of them is above 0."""
    rng = np.random.default_rng(0)
    names = [*(f"x{at}" for at in range(columns)), "y"]
    writer = None
    for start in range(0, rows, GROUP):
        x = rng.standard_normal((min(GROUP, rows - start), columns), np.float32)
        table = pa.table([*x.T.copy(), (x[:, :10].sum(axis=1) > 0).astype(np.int8)], names=names)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def watched(code: str, args: Sequence[object]) -> dict[str, float]:
    """Run code in a new process; return its seconds and its peak of resident memory in MiB."""
    command = [sys.executable, "-c", WATCHED.format(code), *map(str, args)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    said: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return said


def reading(path: Path, rounds: int) -> Runs:
    """Read and convert in turns."""
    runs: Runs = {name: [] for name in (*READ, "convert")}
    for _ in range(rounds):
        for name, code in READ.items():
            runs[name].append(watched(code, [path]))
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            runs["convert"].append(watched(COMMAND, ["convert", path, Path(folder) / "kept"]))
    return runs


def training(path: Path) -> Runs:
    """Train, which converts by itself."""
    shutil.rmtree(path.with_name(path.name + ".bpengine"), ignore_errors=True)
    args = ("train", path, "--target", "y", "--epochs", 1, "--batch-size", 1024)
    return {"train": [watched(COMMAND, args)]}


def main() -> None:
    """Write, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the file is kept")
    parser.add_argument("--parts", default="reading,training")
    options = parser.parse_args()
    path = options.folder / f"normal-{options.rows}x{options.columns}.parquet"
    if not path.exists():
        write(path, options.rows, options.columns)
    runs = reading(path, options.rounds) if "reading" in options.parts else {}
    runs |= training(path) if "training" in options.parts else {}
    print(
        json.dumps(
            {
                "cpu": hardware.cpu(), "system": platform.platform(), "numpy": np.__version__, "pyarrow": version("pyarrow"),
                "rows": options.rows, "columns": options.columns, "file_mib": path.stat().st_size / 2**20,
                **{key: {name: pick(run[key] for run in each) for name, each in runs.items()} for key, pick in SHOWN.items()},
                "runs": runs,
            }, indent=1,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
