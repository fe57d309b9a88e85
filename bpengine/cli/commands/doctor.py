"""`bpengine doctor`: what works on this machine, what does not, and the cure."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.text import Text

from bpengine.backend import Availability, backend_class
from bpengine.cli import backend_status, network_options
from bpengine.cli.commands import installed_packages
from bpengine.cli.commands.cuda_source import print_cuda_source
from bpengine.cli.exit_codes import FAILED
from bpengine.cli.output import key_value_table, print_json, show
from bpengine.extras import install_command
from bpengine.i18n.counted_nouns import count_of
from bpengine.system import blas, blas_overrides, busy, hardware, mpi_library
from bpengine.training import reuse

HELP = """\
Report what works on this machine, what does not, and the cure.

Every backend with the reason why it cannot run; the packages by the extra that brings them, each with its version or
the command that installs it; the processor, its memory, the BLAS library behind NumPy with the kernel it chose, and the
libraries that can be chosen in its place; the MPI for several processes. Warns of variables that force BLAS to another
kernel than it would choose (OPENBLAS_CORETYPE, OPENBLAS_L2_SIZE), with their cost measured here in a second or two, and
of thread limits.
Shows what is kept on disk of compiled training steps, and removes it with --clear-cache: it is compiled again when it
is needed. BPENGINE_XLA_CACHE=0 in the environment keeps nothing of what JAX compiles. Says how much a process keeps for
all its models. The exit code is 0 when the NumPy backend works.

--cuda-source prints what the CuPy backend makes of a network's training step: each call with the bytes it moves, its
operations and the least time they take, registers where NVRTC is installed, and the CUDA C itself. It needs no GPU.
NET is sizes such as 784-128-10 (relu, softmax cross-entropy); MODEL is a file.

\b
Examples:
  bpengine doctor
  bpengine doctor --json > machine.json
  bpengine doctor --clear-cache
  bpengine doctor --cuda-source 784-128-10 --batch-size 1024
"""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    clear_cache: Annotated[bool, typer.Option("--clear-cache", help="Remove compiled training steps first.")] = False,
    cuda_source: Annotated[
        str | None,
        typer.Option(metavar="NET|MODEL", help="Print the CUDA program of a network's training step instead."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="With --cuda-source: rows of a batch.")] = 128,
    optimizer: network_options.OptimizerName = "adam",
    dtype: network_options.Dtype = "float32",
) -> None:
    """Print the report, or a program."""
    if cuda_source is not None:
        print_cuda_source(cuda_source, batch_size, optimizer, dtype, as_json=as_json)
        return
    cleared = _clear() if clear_cache else []
    facts = report()
    if clear_cache:
        facts["cleared"] = cleared
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    if not facts["backends"]["numpy"]["ready"] or any(one["trouble"] for one in cleared):
        raise typer.Exit(FAILED)


def _clear() -> list[dict[str, Any]]:
    """Empty every cache, and return what was removed from each, or why not."""
    cleared = []
    for name, cache in backend_status.caches().items():
        folder = cache.state().folder
        try:
            cleared.append({"backend": name, "folder": folder, "files": cache.clear(), "trouble": ""})
        except OSError as error:
            cleared.append({"backend": name, "folder": folder, "files": 0, "trouble": str(error)})
    return cleared


def report() -> dict[str, Any]:
    """Return the report as JSON values."""
    states = backend_status.availabilities()
    cost, libraries = blas_overrides.cost(), installed_packages.versions()
    caches = {name: asdict(cache.state()) for name, cache in backend_status.caches().items()}
    return {
        "bpengine": version("bpengine"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "backends": _states(states),
        "libraries": libraries,
        "extras": installed_packages.extras(libraries),
        "cpu": hardware.cpu(),
        "memory": hardware.memory(),
        "blas": blas.library(),
        "blas_libraries": _states(backend_class("numpy").blas_libraries()),
        "forced": None if cost is None else {"variables": cost.forced, "ratio": cost.ratio, "failure": cost.failure},
        "thread_limits": hardware.thread_limits(),
        "load": busy.load(),
        "mpi": mpi_library.facts(),
        "caches": caches,
        "shared": reuse.limits(),
        "warnings": _warnings(cost) + _cache_warnings(caches, states),
    }


def _states(states: Mapping[str, Availability]) -> dict[str, dict[str, Any]]:
    return {
        name: {"ready": state.ready, "reason": state.reason, "detail": state.detail, "cure": state.cure}
        for name, state in states.items()
    }


def _warnings(cost: blas_overrides.OverrideCost | None) -> list[str]:
    forced = [] if cost is None or cost.harmless else [cost.warning()]
    usable = int(hardware.cpu()["usable"])
    limits = [
        f"{name}={value} keeps libraries to {value} of {usable} cores. Cure, unless it is meant: unset {name}"
        for name, value in hardware.thread_limits().items()
        if value.isdecimal() and int(value) < usable
    ]
    busy_cores = busy.load_warning(blas.library()["threads"])
    return forced + limits + ([busy_cores] if busy_cores else [])


def _cache_warnings(caches: Mapping[str, dict[str, Any]], states: Mapping[str, Availability]) -> list[str]:
    return [
        f"backend {name!r} keeps nothing of what it compiles, so every process compiles it again: {cache['trouble']}. "
        f"Cure: {cache['cure']}"
        for name, cache in caches.items()
        if cache["trouble"] and states[name].ready
    ]


def _print(facts: dict[str, Any]) -> None:
    for title, rows in _sections(facts).items():
        if not rows:
            continue
        show(Text(title, style="bold"), key_value_table([(f"  {name}", *cells) for name, *cells in rows]), "")
    show(Text("Warnings" if facts["warnings"] else "No warnings.", style="bold"))
    for warning in facts["warnings"]:
        show(key_value_table([("  !", warning)]))


def _sections(facts: dict[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    return {
        f"bpengine {facts['bpengine']}": [
            ("Python", facts["python"]),
            ("system", facts["system"]),
        ],
        "Packages, by the extra that brings them": installed_packages.rows(facts),
        "Backends": [
            (name, state["reason"], f"{state['detail']} {state['cure']}".strip())
            for name, state in facts["backends"].items()
        ],
        "Machine": _machine_rows(facts),
        "Compiled steps on disk": [*_cache_rows(facts), *_cleared_rows(facts)],
        "Shared by the models of a process": [
            (name, f"at most {most}; bp.clear_caches() empties them") for name, most in facts["shared"].items()
        ],
    }


def _cache_rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, cache in facts["caches"].items():
        size = f"{count_of(cache['files'], 'file')}, {cache['size'] / 2**20:.1f} of at most {cache['limit'] >> 20} MiB"
        state = "cannot be written" if cache["trouble"] else "can be written"
        rows.append((name, f"{size}, {state}: {cache['folder'] or 'no folder'}"))
        rows += [(f"{name}, {subject}", verdict) for subject, verdict in cache["notes"]]
    return rows


def _cleared_rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"{one['backend']}, removed",
            f"not all: {one['trouble']}" if one["trouble"] else count_of(one["files"], "file"),
        )
        for one in facts.get("cleared", [])
    ]


def _mpi(mpi: dict[str, str | None]) -> str:
    """Return the available MPI for training on several processes, or how to install one."""
    if mpi["library"] is None:
        return f"none for Python. For several processes: {install_command('mpi', 'mpich')}"
    return f"{mpi['library']}, {mpi['mpiexec'] or 'no mpiexec found. On one machine: pip install mpich'}"


def _machine_rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    cpu, memory, blas = facts["cpu"], facts["memory"], facts["blas"]
    limits = ", ".join(f"{name}={value}" for name, value in facts["thread_limits"].items())
    return [
        ("CPU", f"{cpu['model']}, {count_of(cpu['cores'], 'core')}, {cpu['usable']} usable"),
        ("memory", f"{hardware.gib(memory['total'])}, {hardware.gib(memory['available'])} available"),
        ("BLAS", f"{blas['name']} {blas['version']}"),
        ("BLAS kernel", f"{blas['kernel'] or 'unknown'}, {blas['threads'] or 'unknown'} threads"),
        *[
            (f"blas={name!r}", f"{state['detail']} {state['cure']}".strip())
            for name, state in facts["blas_libraries"].items()
        ],
        ("load", "unknown" if facts["load"] is None else f"{facts['load']:.2f} runnable threads for each core"),
        ("MPI", _mpi(facts["mpi"])),
        ("thread limits", limits or f"none set ({', '.join(hardware.THREAD_LIMITS)})"),
    ]
