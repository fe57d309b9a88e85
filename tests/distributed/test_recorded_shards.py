"""Shards in a compiled step: a loop over them, whose record does not grow with their number, in the order of the tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bpengine_numpy.llvm_target import compiled_step
from bpengine_numpy.recorded_shards import turns_of
from bpengine_steps.ir import ZEROS, Addition, RecordedStep, ShardLoop
from bpengine_steps.signature import Signature

import bpengine as bp
from bpengine.backend import get_backend
from bpengine.distributed import Cut, Solo, Tree
from bpengine.training.optimizers import SGD
from bpengine.training.step import StepPlan, init_state, make_step

ROWS = 3001  # of a batch that is divided by none of the numbers of shards below
NETWORK = bp.Network(6, [bp.Dense(5, "tanh"), bp.Dropout(0.3), bp.Dense(3)], "softmax_cross_entropy")


def sums_of_the_tree(cut: Cut) -> list[str]:
    """Return what a process adds up, written out, one text for each root."""
    tree = Tree(lambda a, b: f"({a}+{b})")
    for shard in cut.own:
        tree.push(shard, 1, str(cut.start(shard)) if cut.length(shard) else "0")
    return [tree.total()] if cut.own == range(cut.shards) else [root.value for root in tree.roots]


def sums_of_the_turns(cut: Cut) -> list[str]:
    """Return what the turns of a loop leave in the lines of the result, written out."""
    alone = cut.own == range(cut.shards)
    buffers = {ZEROS: "0"}
    for turn in turns_of(cut, alone=alone):
        if isinstance(turn, Addition):
            value, *others = (buffers[source] for source in turn.sources)
            for left in others:
                value = f"({left}+{value})"
            buffers[turn.target] = value
        else:
            assert turn.begin == turn.first - cut.start(cut.own.start)
            buffers[turn.target] = str(turn.first)
    return [buffers[line] for line in range(len(sums_of_the_tree(cut)))]


@pytest.mark.parametrize("batch", [640, 77, 20])  # even, uneven, with empty shards
def test_loop_adds_shards_in_the_order_of_the_tree(batch: int) -> None:
    for shards in (2, 3, 5, 8, 12, 16, 29, 64):
        for size in (1, 2, 3, 5):
            for rank in range(min(size, shards)):
                cut = Cut.of(batch, shards, rank, min(size, shards))
                assert sums_of_the_turns(cut) == sums_of_the_tree(cut), cut


def recorded(shards: int) -> Any:
    """Return a compiled step of a batch in so many shards."""
    backend, cut = get_backend("numpy"), Cut.of(ROWS, shards)
    ops, (params, running) = backend.ops(), NETWORK.init(seed=0)
    params = {name: array.astype(np.float32) for name, array in params.items()}
    plan = StepPlan(optimizer=SGD(0.1), trained=tuple(params), update="simultaneous", track_step_size=False, cut=cut)
    step = make_step(NETWORK, plan, ops, add_up=backend.adder(cut, Solo()))
    state = init_state(ops, plan, params, running, np.zeros(2, np.uint32))
    data = (np.zeros((ROWS, 6), np.float32), np.zeros((ROWS, 3), np.float32))
    return compiled_step(step, state, Signature.of(state, data, None, np.ones(1, np.float32)))


def loops(executable: Any) -> list[ShardLoop]:
    singles = (group.nodes[0] for group in executable.plan.groups if group.kind == "single")
    return [node.info for node in singles if node.op == "loop"]


def size_of(step: RecordedStep) -> int:
    return len(step.inputs) + len(step.outputs)


def test_size_of_the_record_does_not_depend_on_the_number_of_shards() -> None:
    sizes = []
    for shards in (16, 64, 512):
        executable = recorded(shards)
        (loop,) = loops(executable)
        assert sorted(loop.bodies) == [ROWS // shards, ROWS // shards + 1]
        assert sum(not isinstance(turn, Addition) for turn in loop.turns) == shards
        (plan,) = executable._shards.values()
        sizes.append((len([*executable.plan.groups]), len([*plan.groups]), plan.bodies[ROWS // shards].memory.size))
    assert sizes[0][:2] == sizes[1][:2] == sizes[2][:2]
    assert sizes[0][2] > sizes[1][2] > sizes[2][2]  # memory is that of one shard


def test_sums_in_memory_at_a_time_are_as_many_as_the_tree_has_levels() -> None:
    (loop,) = loops(recorded(512))
    assert {turn.target for turn in loop.turns if isinstance(turn, Addition)} == set(range(8))  # besides two shards
