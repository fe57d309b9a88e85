"""The engine's exchange between 2 to 4 processes over TCP on shaped links, beside the model.

    sudo .venv/bin/python -m bench.scaling.measure [--out bench/results/DATE-exchange.json]

Needs root, Linux, iproute2 and MPICH. Two networks, made in a namespace and gone with it: "loopback", one link that all
processes share, and "nodes", where each process has a namespace and a link of its own into a bridge. Both are shaped by `tc tbf`.
Two cores are not enough for 3 or 4 processes: links are so slow that the processes wait for bytes nearly all the time.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.scaling.model import Node, engine
from bpengine.distributed import world
from bpengine.system import hardware, mpi_library
from bpengine.system.launcher import mpiexec

ROOT = Path(__file__).parents[2]
RATE = 500e6 / 8  # bytes a second of each link
BURST = 128 * 1024  # bytes that a link lets through at once after a pause; less than one of the loopback's frames drops all
NETWORKS = ("loopback", "nodes")
PAYLOAD = {"loopback": 1.0, "nodes": 1448 / 1514}  # of a full frame: the rest is Ethernet, IP and TCP
SMALL, LARGE = (64, 1024, 4096), (2**18, 2**20, 2**22, 2**24)
LIMIT = 30  # seconds of a job, which is killed then
MEMORY = 10e9  # bytes a second, assumed: additions are a hundredth of these exchanges
INSIDE = ["unshare", "--net"]


def command(line: str) -> None:
    """Run a command."""
    subprocess.run(shlex.split(line), check=True)


def shaped(device: str, prefix: str = "") -> None:
    """Limit what a device sends."""
    command(f"{prefix} tc qdisc add dev {device} root tbf rate {RATE * 8:.0f}bit burst {BURST}b latency 400ms")


def loopback(count: int, folder: Path) -> list[str]:
    """Make one link for all processes; return mpiexec's options."""
    command("ip link set lo up")
    shaped("lo")
    return ["-iface", "lo"]


def nodes(count: int, folder: Path) -> list[str]:
    """Make a namespace and a link for each process; return mpiexec's options."""
    for line in ("set lo up", "add br0 type bridge", "set br0 up"):
        command(f"ip link {line}")
    command("ip addr add 10.9.0.254/24 dev br0")
    hosts = [f"10.9.0.{i + 1}" for i in range(count)]
    for i, host in enumerate(hosts):
        holder = subprocess.Popen(["unshare", "--net", "sleep", str(LIMIT)], stdout=subprocess.DEVNULL)
        (folder / host).write_text(str(holder.pid))
        time.sleep(0.2)  # until it is in its namespace
        enter = f"nsenter --target {holder.pid} --net"
        command(f"ip link add v{i} type veth peer name e0 netns {holder.pid}")
        command(f"ip link set v{i} master br0 up")
        for line in ("link set lo up", f"addr add {host}/24 dev e0", "link set e0 up"):
            command(f"{enter} ip {line}")
        shaped("e0", enter)
        shaped(f"v{i}")
    launcher = folder / "launcher"  # in place of ssh: [options] host command
    launcher.write_text(
        '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nhost=$1; shift\n'
        f'exec nsenter --target $(cat {folder}/$host) --net sh -c "$*"\n'
    )
    launcher.chmod(0o700)
    return ["-iface", "br0", "-launcher", "ssh", "-launcher-exec", str(launcher), "-hosts", ",".join(hosts), "-ppn", "1"]


def inside(network: str, count: int, tiny: bool) -> None:
    """Make the network in this namespace, and start the processes on it."""
    sizes = [*(SMALL if count == 2 else ()), *(LARGE[:1] if tiny else LARGE)]
    with tempfile.TemporaryDirectory() as folder:
        options = {"loopback": loopback, "nodes": nodes}[network](count, Path(folder))
        worker = [sys.executable, "-m", "bench.scaling.measure", "--worker", *map(str, sizes)]
        code = subprocess.run([str(mpiexec()), *options, "-n", str(count), *worker]).returncode
    sys.exit(code)


def worker(sizes: list[int]) -> None:
    """Time exchanges on all processes; rank 0 prints the seconds of each as JSON."""
    comm = world()
    found: dict[str, Any] = {"latency": _latency(), "seconds": {}}
    for size in sizes:
        roots, result = np.ones((1, size // 4), np.float32), np.empty(size // 4, np.float32)
        times = []
        for _ in range(200 if size in SMALL else 7):
            comm.lead(0)
            comm.any(False)  # nobody is ahead
            began = time.perf_counter()
            comm.add_up(roots, result, comm.size)
            times.append(time.perf_counter() - began)
        if not np.all(result == comm.size):
            raise SystemExit("the sum is wrong")
        found["seconds"][size] = times[1:]  # the first makes its plan
    if comm.rank == 0:
        print(json.dumps(found), flush=True)


def _latency() -> float:
    """Return half of the median round trip of 64 bytes between ranks 0 and 1, in seconds."""
    from mpi4py import MPI

    comm, box, trips = MPI.COMM_WORLD, np.zeros(64, np.uint8), []
    for _ in range(500 if comm.rank < 2 else 0):
        began = time.perf_counter()
        for sender in (0, 1):
            (comm.Send if comm.rank == sender else comm.Recv)(box, 1 - comm.rank)
        trips.append(time.perf_counter() - began)
    comm.Barrier()
    return statistics.median(trips) / 2 if trips else 0.0


def job(network: str, count: int, tiny: bool = False) -> dict[str, Any]:
    """Run a job in a namespace of its own; kill all of it after the limit. Return what its first process prints."""
    call = [*INSIDE, sys.executable, "-m", "bench.scaling.measure", "--inside", network, "--count", str(count)]
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backends'}", "OPENBLAS_NUM_THREADS": "1",
        "MPICH_NO_LOCAL": "1", "MPICH_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp",
    }  # fmt: skip
    process = subprocess.Popen(
        [*call, *["--tiny"] * tiny], env=environment, cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, _ = process.communicate(timeout=LIMIT)
    finally:
        with contextlib.suppress(ProcessLookupError):  # those that keep the namespaces are still there
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise SystemExit(f"{network} with {count} processes ended with {process.returncode}: {out}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def predicted(network: str, count: int, size: int, latency: float) -> float:
    """Return the model's seconds. On the loopback all processes share one link: each has 1 / count of it."""
    share = PAYLOAD[network] / (count if network == "loopback" else 1)
    return engine(size, count, Node(1.0, latency, RATE * share, MEMORY)).total


def rows(network: str, count: int, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each size; the median is held against the model."""
    made = []
    for text, seconds in found["seconds"].items():
        size, median = int(text), statistics.median(seconds)
        model = predicted(network, count, size, found["latency"])
        made.append(
            {
                "network": network, "processes": count, "bytes": size, "measured_ms": 1e3 * median,
                "fastest_ms": 1e3 * min(seconds), "slowest_ms": 1e3 * max(seconds), "predicted_ms": 1e3 * model,
                "deviation": median / model - 1, "latency_us": 1e6 * found["latency"], "load": os.getloadavg()[0],
            }
        )  # fmt: skip
    return made


def record(tiny: bool) -> dict[str, Any]:
    """Measure everything; return the record."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    load, found = os.getloadavg(), []
    for network in NETWORKS:
        for count in (2, 3, 4):
            found += rows(network, count, job(network, count, tiny))
    return {
        "date": now, "cpu": hardware.cpu(), "system": platform.platform(), "mpi": mpi_library.facts()["library"],
        "load_before": load, "rate_bytes_per_second": RATE, "burst_bytes": BURST, "payload": PAYLOAD, "rows": found,
    }  # fmt: skip


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="the file to write; printed otherwise")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes alone: does it run?")
    parser.add_argument("--inside", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker)
    elif given.inside:
        inside(given.inside, given.count, given.tiny)
    else:
        text = json.dumps(record(given.tiny), indent=1) + "\n"
        print(text, end="") if given.out is None else given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
