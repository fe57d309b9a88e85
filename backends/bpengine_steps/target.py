"""Target: the interface through which planning queries the machine for which a step is compiled and its code generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bpengine_steps.ir import FusionGroup, RecordedStep, StepGraph, StepNode


class Target(Protocol):
    """Decisions about single nodes and groups; this package derives the plan of a step from them, for all targets alike."""

    @property
    def two_stage_sums(self) -> bool:
        """Whether sums over rows are computed by many blocks at once, as "partial" and "finish"."""

    @property
    def resident(self) -> bool:
        """Whether state, rows and constants are in the plan's memory block (a device's), or in separate arrays."""

    @property
    def reuses_operands(self) -> bool:
        """Whether a pass may write a result over an operand of the same shape and dtype that nothing reads later."""

    @property
    def alignment(self) -> int:
        """The alignment of places in memory, in bytes."""

    @property
    def queues(self) -> int:
        """The number of queues of calls: 2 where a product may run beside other calls."""

    def lower(self, graph: StepGraph, node: StepNode, inputs: Sequence[StepNode]) -> StepNode | None:
        """Return the replacement of a recorded `node` in `graph`, computed from these inputs; None for the same operation."""

    def finished(self, step: RecordedStep) -> RecordedStep:
        """Return a lowered step after this target's changes to it as a whole; the step itself where it changes nothing."""

    def require(self, node: StepNode) -> None:
        """Raise Untraceable for a node of a lowered step that the target cannot compute."""

    def sum_lines(self, rows: int, width: int) -> int:
        """Return the number of lines of results in the first stage of sums over so many rows.

        `width` is that of the widest array with so many rows. Called where sums have two stages.
        """

    def elementwise(self, node: StepNode) -> bool:
        """Tell whether the node is computed element by element inside of a pass."""

    def fuses(self, node: StepNode) -> bool:
        """Tell whether the node can be part of a pass: elementwise, or a reduction that a pass accumulates."""

    def fuses_sum(self, node: StepNode) -> bool:
        """Tell whether the node is a sum over rows that a pass accumulates, and whose result is ready when the pass ends."""

    def follows(self, node: StepNode) -> bool:
        """Tell whether the node is computed together with its operand, however late its users come: a second form of it."""

    def joins(self, operand: StepNode, node: StepNode) -> bool:
        """Tell whether `node` can read the numbers of `operand`, or of the array it is a view of, from registers."""

    def at_end(self, node: StepNode) -> bool:
        """Tell whether a single number that only reports need can be computed in the tail."""

    def early(self, group: FusionGroup) -> bool:
        """Tell whether a pass can run in the head, together with fetching the step's rows and rate."""

    def shares(self, groups: Sequence[FusionGroup]) -> bool:
        """Tell whether these groups may be one call, in which they run at the same time."""

    def writes_over(self, group: FusionGroup, new: StepNode) -> bool:
        """Tell whether the group can write `new` over the old state while it runs.

        A pass reads the old state there element by element, if at all; any other group does not read it.
        """
