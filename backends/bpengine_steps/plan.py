"""ExecutionPlan: a recorded step lowered for a target, cut into groups, ordered, and laid out in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpengine_steps.fusion import fuse
from bpengine_steps.ir import FusionGroup, RecordedStep
from bpengine_steps.lowering import lower
from bpengine_steps.memory_plan import MemoryPlan, plan_memory
from bpengine_steps.ordering import PlanStage, make_stages
from bpengine_steps.target import Target


@dataclass(frozen=True, eq=False)
class ExecutionPlan:
    """The input of a target's code generator: the lowered step, its stages in order, and the place of every array.

    `ordered`: the rows of each step are selected from the data by row numbers.
    """

    step: RecordedStep
    stages: list[PlanStage]
    memory: MemoryPlan
    ordered: bool

    @property
    def groups(self) -> Iterator[FusionGroup]:
        """The groups of all stages, in order."""
        return (group for stage in self.stages for group in stage.groups)


def make_plan(recorded: RecordedStep, target: Target, *, ordered: bool) -> ExecutionPlan:
    """Plan a recorded step for a target; raise Untraceable for an operation that it does not support."""
    step = lower(recorded, target)
    stages, in_place = make_stages(step, fuse(step, target), target)
    memory = plan_memory(step, stages, in_place, target, ordered=ordered)
    return ExecutionPlan(step, stages, memory, ordered)
