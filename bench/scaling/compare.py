"""What was measured beside what the model says, from a record of `bench.scaling.measure`."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.scaling.model import Node, engine, products, roots, step

RECORD = Path(__file__).parents[1] / "results" / "2026-11-28-intel-xeon-exchange.json"
MEMORY = 10e9  # bytes a second, assumed: additions are a hundredth of these exchanges
PARAMETERS = 784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10  # of the network whose steps are timed
BANDWIDTH = 2**20  # bytes from which on an exchange says the bandwidth: shorter ones pass a link at once after a pause


@dataclass(frozen=True)
class Row:
    """One measurement: seconds, and predicted. size: bytes of an exchange, or rows of a step.

    whole: see `bench.scaling.measure.Plan`.
    """

    network: str
    processes: int
    shards: int
    size: int
    whole: bool
    seconds: tuple[float, ...]
    predicted: float

    @property
    def measured(self) -> float:
        """The median; of a link that is not shaped the fastest, as in microseconds a busy machine measures itself."""
        return (min if self.network == "unshaped" else statistics.median)(self.seconds)

    @property
    def deviation(self) -> float:
        """Measured / predicted - 1."""
        return self.measured / self.predicted - 1


def read(path: Path = RECORD) -> dict[str, Any]:
    """Return a record."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def node(record: dict[str, Any], job: dict[str, Any]) -> Node:
    """Return the node of a job, without its flops. On the loopback all processes share one link: each has its part of it.

    The bandwidth is the one that was set; of a link that is not shaped, that of a message of 1 MB. The latency is half
    of the fastest round trip of 1 KB: what else runs on the cores only adds to it.
    """
    latency = job["trips"]["1024"]["fastest"]
    if job["network"] == "unshaped":
        return Node(1.0, latency, 2**20 / (job["trips"][str(2**20)]["fastest"] - latency), MEMORY)
    share = 1 / job["processes"] if job["network"] == "loopback" else 1
    rate = record["rate_bytes_per_second"] * record["payload"][job["network"]]
    return Node(1.0, latency, rate * share, MEMORY)


def exchanges(record: dict[str, Any]) -> list[Row]:
    """Return a row for each network, number of processes and size."""
    rows = []
    for job in _jobs(record, "exchange"):
        count, shards, link = job["processes"], job["shards"], node(record, job)
        counts = roots(shards, count)
        for size, seconds in job["seconds"].items():
            predicted = engine(int(size), count, link, counts).total
            rows.append(Row(job["network"], count, shards, int(size), job["whole"], tuple(seconds), predicted))
    return rows


def one_thread(record: dict[str, Any]) -> Node:
    """Return the flops and half of one process of one thread, by a line through the fewest and the most rows of its steps."""
    times = _alone(record)
    (few, first), *_, (many, last) = sorted(times.items())
    slope = (last - first) / (many - few)
    return Node(6 * PARAMETERS / slope, 0.0, 1.0, MEMORY, half=first / slope - few)


def products_alone(record: dict[str, Any]) -> list[tuple[int, float, float]]:
    """Return (rows, seconds measured, predicted) of steps of one process, in seconds of its processor."""
    process = one_thread(record)
    return [(rows, seconds, products(PARAMETERS, rows, process)) for rows, seconds in _alone(record).items()]


def _alone(record: dict[str, Any]) -> dict[int, float]:
    (job,) = _jobs(record, "products")
    return {int(rows): statistics.median(seconds) for rows, seconds in job["seconds"].items()}


def steps(record: dict[str, Any]) -> list[Row]:
    """Return a row for each number of processes: products as each does them by itself, and an exchange on the shared link.

    The operations a second are those of the same job: two cores are shared by its processes, and by whatever else there is.
    """
    links = {
        job["processes"]: node(record, job)
        for job in _jobs(record, "exchange")
        if job["network"] == "loopback" and job["whole"]
    }
    rows = []
    for job in _jobs(record, "steps"):
        count = job["processes"]
        for batch, seconds in job["seconds"].items():
            own = int(batch) // count
            flops = 6 * PARAMETERS * own / statistics.median(job["apart"][batch])
            predicted = step(PARAMETERS, own * count, count, replace(links[count], flops=flops))
            rows.append(Row(job["network"], count, count, int(batch), True, tuple(seconds), predicted))
    return rows


def _jobs(record: dict[str, Any], work: str) -> list[dict[str, Any]]:
    return [job for job in record["jobs"] if job["work"] == work]
