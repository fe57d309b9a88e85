"""`bpengine doctor --cuda-source`: the CUDA program of a network's training step, for reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray, ProgramCall, ProgramListing, backend_class
from bpengine.cli import network_options
from bpengine.cli.output import print_json, put, say
from bpengine.cli.whole_numbers import whole
from bpengine.errors import ConfigError
from bpengine.i18n.language import localized
from bpengine.losses import Loss
from bpengine.ops import Ops
from bpengine.text_table import text_table
from bpengine.training import Optimizer
from bpengine.training.step import StepPlan, init_state, make_step

LOSS = "softmax_cross_entropy"
HEADS = ("call", "form", "blocks", "threads", "KB moved", "Mop", "least us", "registers", "shared B", "spilled B")


def print_cuda_source(net: str, batch: int, optimizer: str, dtype: str, *, as_json: bool) -> None:
    """Print the calls of a training step in CUDA, and its source text; raise ConfigError for a step without one."""
    if batch < 1:
        raise ConfigError(f"--batch-size requires at least 1 row, got {batch}.")
    network = _network(net)
    program = program_of(network, batch, network_options.optimizer(optimizer, 0.01), dtype)
    if as_json:
        print_json({**asdict(program), "network": net, "batch_size": batch, "optimizer": optimizer, "dtype": dtype})
        return
    put("\n".join([*_table(program), ""]))
    say("\n".join([*program.notes, ""]))
    put(program.source)


def program_of(network: bp.Network, batch: int, optimizer: Optimizer, dtype: str) -> ProgramListing:
    """Return the CUDA program of a training step on batches of `batch` rows, taken from data by number as `fit` takes them."""
    model, ops = network_options.model(network, "numpy", dtype, 0), Ops(np)
    plan = StepPlan(optimizer=optimizer, trained=tuple(model.parameters), update="simultaneous", track_step_size=False)
    params, running = ({k: np.array(v) for k, v in tree.items()} for tree in (model.parameters, model.running))
    state = init_state(ops, plan, params, running, np.zeros(2, np.uint32))
    data = np.zeros((batch, network.inputs), dtype), _targets(network.loss, batch, network.outputs, dtype)
    order = np.arange(batch, dtype=np.int32)[np.newaxis]
    step = make_step(network, plan, ops)
    return backend_class("cupy").listing(step, state, data, order, np.full(1, 0.01, dtype))


def _network(net: str) -> bp.Network:
    """Return the network of a model file, or of sizes such as "784-128-10"."""
    sizes = net.split("-")
    if len(sizes) < 2 or not all(size.isdecimal() for size in sizes):
        if not Path(net).suffix:
            raise ConfigError(f"--cuda-source requires sizes such as 784-128-10, or a model file, got {net!r}.")
        return bp.load(net).network
    inputs, *hidden, outputs = [whole(size, "the network's sizes") for size in sizes]
    layers = [*(bp.Dense(units, "relu") for units in hidden), bp.Dense(outputs)]
    return bp.Network(inputs, layers, LOSS if outputs > 1 else "sigmoid_cross_entropy")


def _targets(loss: Loss, batch: int, outputs: int, dtype: str) -> HostArray:
    return np.zeros(batch, np.int64) if loss.target == "classes" else np.zeros((batch, outputs), dtype)


def _table(program: ProgramListing) -> list[str]:
    """Return the lines of a table of calls; the description of each comes last, in full length."""
    rows = []
    for call in program.calls:
        taken = map(_known, (call.registers, call.shared, call.spilled))
        rows.append((call.name, call.form, *map(_known, (call.blocks, call.threads)), *_costs([call]), *taken))
    rows.append(("all", f"{len(program.calls)} calls", "-", "-", *_costs(program.calls), "-", "-", "-"))
    works = [localized("what it does"), *(localized(call.work) for call in program.calls), ""]
    lines = text_table(list(map(localized, HEADS)), [list(map(localized, row)) for row in rows], str.rjust)
    return [f"{line}  {work}".rstrip() for line, work in zip(lines, works, strict=True)]


def _costs(calls: Sequence[ProgramCall]) -> tuple[str, str, str]:
    """Return kilobytes, million operations and microseconds of calls."""
    moved, operations = sum(call.bytes for call in calls), sum(call.operations for call in calls)
    return f"{moved / 1e3:,.1f}", f"{operations / 1e6:,.2f}", f"{sum(call.seconds for call in calls) * 1e6:.2f}"


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)
