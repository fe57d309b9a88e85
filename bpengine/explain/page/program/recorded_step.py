"""A training step recorded as operations, twice and with different numbers: what differs between the two is not followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bpengine.backend import HostArray, State
from bpengine.explain.page.content import Content
from bpengine.explain.page.packing import array_text
from bpengine.explain.page.program.activations import Swappable
from bpengine.explain.page.program.follower import Follower, input_tree
from bpengine.explain.page.program.sources import Sources, Untraced, leaves
from bpengine.explain.terms.sums import as_float64
from bpengine.explain.trace.recorder import KernelOps
from bpengine.explain.trace.steps import traced_step
from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS
from bpengine.network import Network, last_activation
from bpengine.system.quiet import Quiet
from bpengine.training.step import StepPlan

LARGEST = 720_000  # bytes of a state and its rows in a page, so that it stays below a megabyte


@dataclass(frozen=True)
class StepRecord:
    """The operations of a step as plain values for the page, or why there are none: `trouble` (kind, what)."""

    program: dict[str, Any] | None
    trouble: tuple[str, str] | None = None


def record_step(trace: Trace, content: Content) -> StepRecord:
    """Return the operations of the traced step, and of everything that the page shows of it."""
    size = sum(len(array_text(array)["text"]) for array in _arrays(trace))
    if size > LARGEST:
        return StepRecord(None, ("too_many", f"{size / 1000:,.0f}"))
    swappable = Swappable(trace.dtype)
    program, other = (_recorded(each, content, swappable) for each in (trace, _otherwise(trace)))
    if isinstance(program, tuple):
        return StepRecord(None, program)
    return StepRecord(program) if program == other else StepRecord(None, ("depends", ""))


def state_of(trace: Trace) -> State:
    """Return the training state that a traced step began from."""
    return {
        "params": dict(trace.parameters), "running": dict(trace.running), "slots": dict(trace.slots), "counter": trace.counter,
    }  # fmt: skip


def _arrays(trace: Trace) -> Iterator[HostArray]:
    yield from (array for _, array in leaves(state_of(trace)))
    yield from (array for array in (trace.x, trace.target, trace.weights) if array is not None)


def _otherwise(trace: Trace) -> Trace:
    """Return the same step with other numbers: rows in another order, and every float moved."""

    def moved(array: HostArray) -> HostArray:
        return (array * array.dtype.type(1.03) + array.dtype.type(0.01)) if array.dtype.kind == "f" else array

    return replace(
        trace,
        parameters={name: moved(array) for name, array in trace.parameters.items()},
        running={name: moved(array) for name, array in trace.running.items()},
        slots={name: [moved(array) for array in arrays] for name, arrays in trace.slots.items()},
        x=moved(trace.x),
        target=np.roll(trace.target, 1, axis=0),
        weights=None if trace.weights is None else np.roll(trace.weights, 1, axis=0),
        learning_rate=trace.learning_rate * 1.1,
    )


def _recorded(trace: Trace, content: Content, swappable: Swappable) -> dict[str, Any] | tuple[str, str]:
    """Return the operations of one step, or the reason why there are none."""
    follower = Follower(trace.dtype, swappable)
    operations = follower.operations
    rows = [array for array in (trace.x, trace.target, trace.weights) if array is not None]
    state, state_inputs = input_tree(operations, state_of(trace))
    arrays, row_inputs = input_tree(operations, tuple(rows))
    rate, (rate_input,) = input_tree(operations, np.array([trace.learning_rate], dtype=trace.dtype))
    plan = StepPlan(
        optimizer=trace.optimizer, trained=tuple(trace.parameters), update="simultaneous", track_step_size=False
    )
    with Quiet():
        again, after, loss = traced_step(
            trace.network, follower, KernelOps(follower), plan, state, arrays, rate
        )  # fmt: skip
        again = replace(again, loss=loss, learning_rate=as_float64(rate)[0])
        finder = Sources(content, operations, swappable.names)
        try:
            shown = finder.of(again)
            following = [finder.number(array) for _, array in leaves(after)]
        except Untraced:
            return "no_operation", operations.trouble
    if operations.broken:
        return "looks", operations.broken
    return {
        "operations": operations.list,
        "state": [[*path, place] for (path, _), place in zip(leaves(state), state_inputs, strict=True)],
        "after": following, "rows": row_inputs, "rate": rate_input, "loss": finder.number(loss), "shown": shown,
        "activations": swappable.lists, "patterns": finder.patterns, "uses": _uses(again, follower, trace.network),
    }  # fmt: skip


def _uses(trace: Trace, follower: Follower, network: Network) -> list[dict[str, Any]]:
    """Return for each exchangeable activation its place, its name, and the activations that can replace it there.

    The last one must fit the loss: it must give probabilities for a loss on probabilities, and none for a loss on logits.
    """
    places = {}
    for call in trace.forward:
        if (
            call.function.endswith("_fwd")
            and call.kernel.kind == "activation"
            and call.kernel.name in follower.swappable.names
        ):
            step = follower.operations.list[call.result[0].number]
            if step[0] == "activation":
                places[step[4]] = call.place
    last, wants = last_activation(network.layers), network.loss.kernel.output
    last_place = str(len(network.layers) - 1)
    return [
        {
            "place": places.get(use, ""), "key": key,
            "choices": _suiting(follower.swappable.names, wants) if last and places.get(use) == last_place else None,
        }
        for use, key in enumerate(follower.uses)
    ]  # fmt: skip


def _suiting(names: Sequence[str], wants: str) -> list[str]:
    if wants == "any":
        return list(names)
    return [name for name in names if (KERNELS[name].output == "probabilities") == (wants == "probabilities")]
