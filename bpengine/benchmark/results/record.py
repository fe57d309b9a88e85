"""The record of a run: all that is needed to check or repeat it, as JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bpengine.benchmark.contender_results import ContenderResult, disagreements, speed_ratio
from bpengine.benchmark.floors.roofline import Limits
from bpengine.benchmark.measurements import RunMeasurements, Trial
from bpengine.benchmark.results.fit_record import fit_work
from bpengine.benchmark.runner import Plan
from bpengine.benchmark.workloads import GROUP_OF, Workload
from bpengine.output.writing import write_whole

SCHEMA = 1
# the others are compared with the first valid one of these
YARDSTICKS = (
    "jax-scan",
    "numpy",
    "cupy",
    "jax",
)
Record = dict[str, Any]


def make(plan: Plan, outcome: RunMeasurements, about: Mapping[str, Any]) -> Record:
    """Return the record of a run; `about` holds the caller's data: machine, command, variables that force BLAS."""
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "device": plan.device,
        "rounds": plan.rounds,
        "extra_rounds": plan.extra_rounds,
        "turn_seconds": plan.turn_seconds,
        "contenders": outcome.about,
        "missing": outcome.missing,
        "left_out": outcome.left_out,
        "fits": [fit_work(trial) for trial in outcome.fits.values()],
        "fit_contenders": {name: about for trial in outcome.fits.values() for name, about in trial.about.items()},
        "limits": {precision: limits.to_dict() for precision, limits in outcome.limits.items()},
        "workloads": [_workload(trial, outcome.limits, plan.device) for trial in outcome.trials.values()],
    }


def sound(record: Record) -> bool:
    """Return whether no contender failed, and all reached the same loss."""
    return all(
        not work["failures"] and all(result["valid"] for result in work["results"].values())
        for work in [*record.get("fits", []), *record["workloads"]]
    )


def _workload(trial: Trial, limits: Mapping[str, Limits], device: str) -> Record:
    work, cost = trial.workload, trial.cost
    wrong = disagreements(list(trial.results.values()), work.dtype)
    yardstick = next((name for name in YARDSTICKS if name in trial.results and name not in wrong), None)
    floors = {precision: known.floors(cost) for precision, known in limits.items()}
    return {
        **work.to_dict(),
        "group": GROUP_OF.get(work.name),
        "rows": work.rows,
        "steps": trial.steps,
        "flops": cost.flops,
        "product_flops": cost.product_flops,
        "bytes": cost.bytes,
        "memory_needed": {**vars(cost.memory), "total": cost.memory.total},
        "floor_ms": {name: 1e3 * seconds for name, seconds in floors.get(work.dtype, {}).items()},
        "yardstick": yardstick,
        "results": {
            name: {
                **_result(result, work.batch),
                "valid": name not in wrong,
                "why_not": wrong.get(name),
                "times_yardstick": speed_ratio(result, trial.results[yardstick]) if yardstick else None,
                "share_of_floor": {
                    floor: seconds / result.shortest_step
                    for floor, seconds in floors.get(_multiplies_in(result, work), {}).items()
                },
                "memory": _memory(trial, name, device),
                "launches": trial.launches.get(name),
            }
            for name, result in trial.results.items()
        },
        "failures": trial.failures,
        "clocks": trial.clocks,
    }


def _multiplies_in(result: ContenderResult, work: Workload) -> str:
    return work.dtype if result.precision == "full" else result.precision


def _result(result: ContenderResult, batch: int) -> Record:
    seconds, held = result.step_seconds, [size for size in result.resident if size is not None]
    by_events = result.device_step_seconds
    return {
        "precision": result.precision,
        "device_us_per_step": None if by_events is None else 1e6 * by_events,
        "loss": result.loss,
        "seconds": result.seconds,
        "ms_per_step": 1e3 * seconds,
        "samples_per_second": batch / seconds,
        "spread": result.spread,
        "first_seconds": result.first_seconds,
        "idle_cpu_seconds": result.idle_cpu_seconds,
        "resident_growth": held[-1] - held[0] if held else None,
    }


def _memory(trial: Trial, name: str, device: str) -> Record | None:
    """Return the bytes that training used, and their ratio to the least bytes of a step; None if memory was not watched.

    On the CPU it is the growth of the process, on a GPU the peak that the library counts there.
    """
    watched = trial.memory.get(name)
    if watched is None:
        return None
    taken = watched["device"].get("peak") if device == "gpu" else watched["growth"]
    return {**watched, "times_needed": None if taken is None else taken / trial.cost.memory.total}


def write(record: Record, path: Path) -> None:
    """Write a record as JSON, whole or not at all; raise WriteError."""
    write_whole(path, f"{json.dumps(record, indent=1, allow_nan=False)}\n".encode())


def read(path: Path) -> Record:
    """Read a record."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record
