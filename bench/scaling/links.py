"""Shaped links between the processes of one machine, made in a namespace and gone with it; and a job that runs on them.

Two networks, of the same rate: "loopback", one link that all processes share, and "nodes", where each process has a namespace
and a link of its own into a bridge. `tc tbf` shapes both. "unshaped" is the loopback as it is. `bench.scaling.measure` runs

    unshare --net --pid --fork --kill-child --mount-proc python -m bench.scaling.links NETWORK PROCESSES WORK [SIZE ...]

This is then process 1 of its own process namespace: when it ends, for whatever reason, the system kills all that it started.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bpengine.system.launcher import mpiexec

RATE = 500e6 / 8  # bytes a second of each link
BURST = (
    256 * 1024
)  # bytes that a link lets through at once after a pause; less than one of the loopback's frames (64 KB) drops all
PAYLOAD = {"loopback": 1.0, "nodes": 1448 / 1514}  # of a full frame: the rest is Ethernet, IP and TCP
LIMIT = 90.0  # seconds of a job, which is killed then
INSIDE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
TCP = {"MPICH_NO_LOCAL": "1", "MPICH_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}  # else MPICH takes shared memory
ONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def command(line: str) -> None:
    """Run a command."""
    subprocess.run(shlex.split(line), check=True, timeout=LIMIT)


def shaped(device: str, prefix: str = "") -> None:
    """Limit what a device sends."""
    command(f"{prefix} tc qdisc add dev {device} root tbf rate {RATE * 8:.0f}bit burst {BURST}b latency 400ms")


def unshaped(count: int, folder: Path) -> list[str]:
    """Switch the loopback on; return mpiexec's options."""
    command("ip link set lo up")
    return ["-iface", "lo"]


def loopback(count: int, folder: Path) -> list[str]:
    """Make one link for all processes; return mpiexec's options."""
    options = unshaped(count, folder)
    shaped("lo")
    return options


def nodes(count: int, folder: Path) -> list[str]:
    """Make a namespace and a link for each process; return mpiexec's options."""
    for line in ("set lo up", "add br0 type bridge", "set br0 up"):
        command(f"ip link {line}")
    command("ip addr add 10.9.0.254/24 dev br0")
    hosts = [f"10.9.0.{i + 1}" for i in range(count)]
    for i, host in enumerate(hosts):
        holder = subprocess.Popen(["unshare", "--net", "sleep", str(LIMIT)], stdout=subprocess.DEVNULL)
        (folder / host).write_text(str(holder.pid))
        _wait_until_apart(holder.pid)
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
    return [
        "-iface",
        "br0",
        "-launcher",
        "ssh",
        "-launcher-exec",
        str(launcher),
        "-hosts",
        ",".join(hosts),
        "-ppn",
        "1",
    ]


def _wait_until_apart(pid: int) -> None:
    until, mine = time.monotonic() + 10, os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == mine:
        if time.monotonic() > until:
            raise SystemExit("the namespace of a process requires unshare to work within 10 s")
        time.sleep(0.01)


def main(network: str, count: str, *work: str) -> int:
    """Make the network in this namespace, and run the worker on it; return its exit code, 124 when it takes too long."""
    make = {"unshaped": unshaped, "loopback": loopback, "nodes": nodes}[network]
    with tempfile.TemporaryDirectory() as folder:
        options = make(int(count), Path(folder))
        call = [str(mpiexec()), *options, "-n", count, sys.executable, "-m", "bench.scaling.worker", *work]
        try:
            return subprocess.run(call, env={**os.environ, **TCP, **ONE}, timeout=LIMIT).returncode
        except subprocess.TimeoutExpired:
            return 124


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
