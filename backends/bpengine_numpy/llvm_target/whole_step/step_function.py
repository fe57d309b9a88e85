"""Decide whether a step is small enough to be one function, and whether a call table is the one for which it was made."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from bpengine_steps.adaptive import Beside, CompilingJob, Pieces
from bpengine_steps.ir import FusionGroup, HostArray, StepNode, axes
from bpengine_steps.plan import ExecutionPlan

from bpengine_numpy.llvm_target.codegen import Loop
from bpengine_numpy.llvm_target.interpreter import NUMPY_LOOP, ROW, functions
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses, on_disk
from bpengine_numpy.llvm_target.products.product_orders import MOST, ProductForm, is_known, order_of
from bpengine_numpy.llvm_target.row_reductions import row_length
from bpengine_numpy.llvm_target.rows.row_width import adds_in_this_order
from bpengine_numpy.llvm_target.whole_step import exponential
from bpengine_numpy.llvm_target.whole_step.step_text import StepText

LARGEST = 64  # the most elements of an array of such a step: with more, calls are a small part of a step
LONGEST = 64  # the most calls of such a step
WORTH = 0.25  # seconds of native work after which the function is compiled, which takes about as long
ANY = -1  # in place of an address: any function that the table calls there


class StepFunction:
    """The function of a step: its text, and the calls that a table must have, row by row. Created when it is needed."""

    def __init__(self, plan: ExecutionPlan, loops: Mapping[FusionGroup, Loop]) -> None:
        self._plan, self._loops = plan, loops
        self._written: WrittenStep | None = None
        self._address, self._spent = 0, 0.0
        self._job: CompilingJob | None = None

    @property
    def source(self) -> str:
        """The function's text; NumPy's products are tested for it unless they were tested before."""
        self._written = self._written or _StepWriter(self._plan, self._loops).written()
        return self._written.source

    def compile(self) -> None:
        """Compile the function now."""
        (self._address,) = addresses(self.source)

    def pieces(self) -> Pieces:
        """Compile the function, in one piece."""
        self.compile()
        yield None

    def spend(self, seconds: float, beside: Beside) -> None:
        """Add to the time of native work without the function; once that is enough, compile `beside` the fit."""
        self._spent += seconds
        if not self._address and self._job is None and self._spent >= WORTH:
            self._job = beside.start(self.pieces())

    def load(self) -> None:
        """Load the function into the process if it was compiled before."""
        nodes = [group.nodes[0] for group in self._plan.groups if group.kind == "single"]
        forms = [form for node in nodes if (form := _tiny_form(node))]
        tested = all(map(is_known, forms)) and (exponential.is_known() or not any(map(_is_exponential, nodes)))
        if tested and on_disk(self.source):
            self.compile()

    def runs(self, table: HostArray, loops: Mapping[Loop, int]) -> int:
        """Return the address of the function if it may run this table, else 0."""
        if not self._address or not self._written or len(table) != len(self._written.expected):
            return 0
        wanted = [call if isinstance(call, int) else loops[call] for call in self._written.expected]
        same = (call in (ANY, function) for call, function in zip(wanted, table[:, 0].tolist(), strict=True))
        return self._address if all(same) else 0


def step_function(plan: ExecutionPlan, loops: Mapping[FusionGroup, Loop]) -> StepFunction | None:
    """Return the function of a step, None for one that is too large, calls the host or loops over shards."""
    groups = [group for group in plan.groups if group.kind != "tail"]
    nodes = [node for group in groups for node in (*group.nodes, *group.reads)]
    single = [group.nodes[0] for group in groups if group.kind == "single"]
    if (
        len(groups) > LONGEST
        or any(n.base.size > LARGEST for n in nodes)
        or any(n.op in ("outside", "loop") for n in single)
    ):
        return None
    return StepFunction(plan, loops)


class WrittenStep(NamedTuple):
    """A step's function as text, and the call that a table must have in each row: an address, a loop, or ANY."""

    source: str
    expected: list[int | Loop]


class _StepWriter:
    """Writes the calls of a step in the order of `CallTable`, and the required call of each row."""

    def __init__(self, plan: ExecutionPlan, loops: Mapping[FusionGroup, Loop]) -> None:
        self._plan, self._loops, self._text = plan, loops, StepText()
        self._expected: list[int | Loop] = []

    def written(self) -> WrittenStep:
        """Return the function."""
        step = self._plan.step
        for _ in step.rows if self._plan.ordered else ():
            self._other()
        self._number(step.rate, functions().take_rows, brings=True)
        for group in self._plan.groups:
            self._group(group)
        for node in step.reports.values():
            self._number(node, functions().put_report, brings=False)
        return WrittenStep(str(self._text), self._expected)

    def _group(self, group: FusionGroup) -> None:
        if group.kind == "pass":
            self._loop(self._loops[group])
        elif group.kind == "copy":
            self._other()
        elif group.kind == "single":
            self._single(group.nodes[0])

    def _loop(self, loop: Loop) -> None:
        if loop.words >= ROW:  # a pass whose arguments are in separate memory
            self._other()
            return
        self._text.loop(loop.source, loop.rows, loop.columns, loop.columns)
        self._expected.append(loop)

    def _single(self, node: StepNode) -> None:
        if node.op in ("matmul", "ufunc", "plus"):
            self._numpys(node)
            return
        if _is_total(node) and adds_in_this_order(node.dtype, row_length(node)):
            self._text.total(node.dtype, row_length(node))
            self._expected.append(ANY)
            return
        for _ in node.inputs if node.op == "concat" else (node,):
            self._other()

    def _numpys(self, node: StepNode) -> None:
        """Write an operation as instructions if they are known to give NumPy's bits; otherwise call NumPy's loop."""
        form = _tiny_form(node)
        order = order_of(form) if form else ""
        if form and order:
            self._text.product(form, order)
        elif _is_exponential(node) and exponential.is_numpys():
            columns = (axes(node.shape) or (1,))[-1] if len(axes(node.shape)) > 1 else 1
            self._text.exponentials(node.size // columns, columns)
        else:
            self._text.numpys()
        self._expected.append(ANY if node.op == "matmul" else NUMPY_LOOP)

    def _number(self, node: StepNode, function: int, *, brings: bool) -> None:
        """Write the copy of a single number; anything else is copied by the function that the table calls."""
        if node.size == 1:
            self._text.number(node.dtype.itemsize, brings=brings)
            self._expected.append(function)
        else:
            self._other()

    def _other(self) -> None:
        self._text.other()
        self._expected.append(ANY)


def _tiny_form(node: StepNode) -> ProductForm | None:
    """Return the form of a product that can be written as instructions, else None."""
    form = ProductForm.of(node) if node.op == "matmul" else None
    return form if form and prod(form.sizes) <= MOST else None


def _is_exponential(node: StepNode) -> bool:
    """Tell whether a node is exp of float32 numbers, element by element."""
    single = node.op == "ufunc" and node.info == "exp" and node.dtype == np.dtype(np.float32)
    return single and node.inputs[0].size == node.size


def _is_total(node: StepNode) -> bool:
    """Tell whether a node is the sum of all numbers of an array."""
    known = node.dtype.itemsize in (4, 8) and node.dtype.isnative
    return node.op == "reduce" and node.info == ("add", "all") and known
